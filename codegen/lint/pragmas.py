"""The HLS pragmas that are known.

Names, options and values are those of the Vitis HLS user guide (UG1399, "HLS
pragmas", 2022.1 to 2025.2), as far as this project has use for them. The
compiler itself ignores what it does not know, or takes it for something else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

NAME = "a name"
VARIABLE = "a variable"


@dataclass(frozen=True)
class Whole:
    """A whole constant within bounds."""

    least: int = 0
    most: int = 2**31 - 1


Allowed = str | Whole | tuple[str, ...]
COUNT = Whole(1)


@dataclass(frozen=True)
class Known:
    """What a pragma takes: options with a value (Whole, NAME, VARIABLE or the allowed words), and bare words.

    needs: groups of which one must be there. first: one of which must come first. place: where it may stand: "function",
    "loop", "top" (the top function), "block" (another one in braces). apart: groups of which one may be there at most.
    head: whether it is about all of what it stands in, and stands before the first statement. about: options that tell
    two of them apart in one place; without one, a second of the name says something else of the same.
    """

    options: dict[str, Allowed]
    words: tuple[str, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    place: tuple[str, ...] = ("function", "loop")
    first: tuple[str, ...] = ()
    apart: tuple[tuple[str, ...], ...] = ()
    head: bool = False
    about: tuple[str, ...] = ()


_MODES = ("m_axi", "s_axilite", "axis", "ap_none", "ap_vld", "ap_hs", "ap_memory", "bram", "ap_fifo")
_CONTROL = ("ap_ctrl_hs", "ap_ctrl_chain", "ap_ctrl_none")
_PARTITIONS = ("complete", "block", "cyclic")
_RAMS = ("ram_1p", "ram_1wnr", "ram_2p", "ram_s2p", "ram_t2p", "rom_1p", "rom_2p", "rom_np", "fifo")
OPERATIONS = ("mul", "add", "sub")  # of BIND_OP and ALLOCATION operation, those of whole numbers

# Of INTERFACE, besides mode and port, by mode.
_SCALAR = {"register": (), "depth": COUNT, "latency": Whole()}
_MEMORY = {"depth": COUNT, "latency": Whole()}
MODE_OPTIONS: dict[str, dict[str, Allowed]] = {
    "m_axi": {
        "bundle": NAME,
        "offset": ("off", "direct", "slave"),
        "depth": COUNT,
        "latency": Whole(),
        "num_read_outstanding": COUNT,
        "num_write_outstanding": COUNT,
        "max_read_burst_length": Whole(1, 256),
        "max_write_burst_length": Whole(1, 256),
        "max_widen_bitwidth": Whole(0, 1024),
    },
    "s_axilite": {"bundle": NAME, "offset": Whole()},
    "axis": {"register": (), "depth": COUNT},
    **{mode: _SCALAR for mode in ("ap_none", "ap_vld", "ap_hs", "ap_fifo")},
    **{mode: _MEMORY for mode in ("ap_memory", "bram")},
    **{mode: {} for mode in _CONTROL},
}

_ANYWHERE = ("function", "loop", "block")  # of a variable, where that is declared
_ARRAY = Known(
    {"variable": VARIABLE, "type": _PARTITIONS, "factor": COUNT, "dim": Whole()},
    _PARTITIONS,
    (("variable",), (*_PARTITIONS, "type")),
    _ANYWHERE,
    apart=((*_PARTITIONS, "type"), ("complete", "factor")),
    about=("variable", "dim"),
)
_OF_VARIABLE = Known({"variable": VARIABLE}, (), (("variable",),), _ANYWHERE, about=("variable",))

KNOWN: dict[str, Known] = {
    # what else it takes depends on its mode
    "INTERFACE": Known(
        {"mode": _MODES + _CONTROL, "port": NAME},
        ("register",),
        (("mode",), ("port",)),
        ("top",),
        ("mode",),
        head=True,
        about=("mode", "port"),
    ),
    "PIPELINE": Known(
        {"II": COUNT, "style": ("stp", "frp", "flp")},
        ("off", "rewind"),
        (("II", "off"),),
        apart=(("off", "II"), ("off", "rewind"), ("off", "style")),
        head=True,
    ),
    "UNROLL": Known({"factor": Whole(2)}, ("skip_exit_check",), place=("loop",), head=True),
    "DATAFLOW": Known({}, ("disable_start_propagation",), head=True),
    "INLINE": Known({}, ("off", "recursive"), place=("function",), apart=(("off", "recursive"),), head=True),
    "LOOP_TRIPCOUNT": Known(
        {"min": Whole(), "max": COUNT, "avg": Whole()}, (), (("min",), ("max",)), ("loop",), head=True
    ),
    "LOOP_FLATTEN": Known({}, ("off",), place=("loop",), head=True),
    "ALLOCATION": Known(
        {"instances": NAME, "limit": COUNT},
        ("function", "operation"),
        (("instances",), ("limit",)),
        ("function",),
        ("function", "operation"),
        (("function", "operation"),),
        head=True,
        about=("instances",),
    ),
    "EXPRESSION_BALANCE": Known({}, ("off",), place=("function",), head=True),
    "LATENCY": Known({"min": Whole(), "max": Whole()}, (), (("min", "max"),), head=True),
    "ARRAY_PARTITION": _ARRAY,
    "ARRAY_RESHAPE": _ARRAY,
    "AGGREGATE": replace(_OF_VARIABLE, options={"variable": VARIABLE, "compact": ("bit", "byte", "none", "auto")}),
    "DISAGGREGATE": _OF_VARIABLE,
    # of an argument of the function that is the dataflow region
    "STABLE": replace(_OF_VARIABLE, place=("function",), head=True),
    "BIND_STORAGE": Known(
        {"variable": VARIABLE, "type": _RAMS, "impl": ("bram", "lutram", "uram", "srl", "auto"), "latency": Whole()},
        (),
        (("variable",), ("type",)),
        _ANYWHERE,
        about=("variable",),
    ),
    "BIND_OP": Known(
        {"variable": VARIABLE, "op": OPERATIONS, "impl": ("dsp", "fabric", "auto"), "latency": Whole()},
        (),
        (("variable",), ("op",)),
        _ANYWHERE,
        about=("variable", "op"),
    ),
    "DEPENDENCE": Known(
        {
            "variable": VARIABLE,
            "class": ("array", "pointer"),
            "type": ("inter", "intra"),
            "direction": ("RAW", "WAR", "WAW"),
            "distance": COUNT,
        },
        ("inter", "intra", "RAW", "WAR", "WAW", "true", "false"),
        (("variable",), ("inter", "intra", "type"), ("true", "false")),
        ("loop",),
        apart=(
            ("inter", "intra", "type"),
            ("RAW", "WAR", "WAW", "direction"),
            ("true", "false"),
            ("false", "distance"),
            ("variable", "class"),
        ),
        about=("variable", "type", "inter", "intra", "direction", "RAW", "WAR", "WAW"),
    ),
    # what the project has are objects of hls::stream, which are nothing but FIFOs
    "STREAM": Known(
        {"variable": VARIABLE, "depth": COUNT, "type": ("fifo",)},
        (),
        (("variable",), ("depth",)),
        about=("variable",),
    ),
}


def options_of(name: str, mode: str | None) -> dict[str, Allowed]:
    """The options of a known pragma; of INTERFACE, those of its mode as well."""
    own = KNOWN[name].options
    return {**own, **MODE_OPTIONS.get(mode or "", {})} if name == "INTERFACE" else own
