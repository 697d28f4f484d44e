"""The HLS pragmas that are known.

Names, options and values are those of the Vitis HLS user guide (UG1399, "HLS
pragmas", 2022.1 to 2025.2), as far as this project has use for them. The
compiler itself ignores what it does not know, or takes it for something else.
"""

from __future__ import annotations

from dataclasses import dataclass

CONSTANT = "a whole constant"
NAME = "a name"
VARIABLE = "a variable"


@dataclass(frozen=True)
class Known:
    """What a pragma takes: options with a value (CONSTANT, NAME, VARIABLE or the allowed words), and bare words.

    needs: options that must be there. first: one of which must come first. place: where it may stand: "function",
    "loop", "top" (the top function), "any" (function, loop or block).
    """

    options: dict[str, str | tuple[str, ...]]
    words: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    place: tuple[str, ...] = ("any",)
    first: tuple[str, ...] = ()


_MODES = ("m_axi", "s_axilite", "axis", "ap_none", "ap_vld", "ap_hs", "ap_memory", "bram", "ap_fifo")
_CONTROL = ("ap_ctrl_hs", "ap_ctrl_chain", "ap_ctrl_none")
_PARTITIONS = ("complete", "block", "cyclic")
_RAMS = ("ram_1p", "ram_1wnr", "ram_2p", "ram_s2p", "ram_t2p", "rom_1p", "rom_2p", "rom_np", "fifo")
_OPERATIONS = ("mul", "add", "sub")

# Of INTERFACE, besides mode and port, by mode.
MODE_OPTIONS = {
    "m_axi": (
        "bundle",
        "offset",
        "depth",
        "latency",
        "num_read_outstanding",
        "num_write_outstanding",
        "max_read_burst_length",
        "max_write_burst_length",
        "max_widen_bitwidth",
    ),
    "s_axilite": ("bundle", "offset"),
}

KNOWN: dict[str, Known] = {
    "INTERFACE": Known(
        {
            "mode": _MODES + _CONTROL,
            "port": NAME,
            "bundle": NAME,
            "offset": ("off", "direct", "slave"),
            "depth": CONSTANT,
            "latency": CONSTANT,
            "num_read_outstanding": CONSTANT,
            "num_write_outstanding": CONSTANT,
            "max_read_burst_length": CONSTANT,
            "max_write_burst_length": CONSTANT,
            "max_widen_bitwidth": CONSTANT,
        },
        ("register",),
        ("mode", "port"),
        ("top",),
        ("mode",),
    ),
    "PIPELINE": Known({"II": CONSTANT, "style": ("stp", "frp", "flp")}, ("off", "rewind"), (), ("function", "loop")),
    "UNROLL": Known({"factor": CONSTANT}, ("skip_exit_check",), (), ("loop",)),
    "DATAFLOW": Known({}, ("disable_start_propagation",), (), ("function", "loop")),
    "INLINE": Known({}, ("off", "recursive"), (), ("function",)),
    "LOOP_TRIPCOUNT": Known({"min": CONSTANT, "max": CONSTANT, "avg": CONSTANT}, (), ("max",), ("loop",)),
    "LOOP_FLATTEN": Known({}, ("off",), (), ("loop",)),
    "ALLOCATION": Known(
        {"instances": NAME, "limit": CONSTANT},
        ("function", "operation"),
        ("instances", "limit"),
        ("function",),
        ("function", "operation"),
    ),
    "EXPRESSION_BALANCE": Known({}, ("off",)),
    "LATENCY": Known({"min": CONSTANT, "max": CONSTANT}),
    "ARRAY_PARTITION": Known(
        {"variable": VARIABLE, "type": _PARTITIONS, "factor": CONSTANT, "dim": CONSTANT}, _PARTITIONS, ("variable",)
    ),
    "ARRAY_RESHAPE": Known(
        {"variable": VARIABLE, "type": _PARTITIONS, "factor": CONSTANT, "dim": CONSTANT}, _PARTITIONS, ("variable",)
    ),
    "AGGREGATE": Known({"variable": VARIABLE, "compact": ("bit", "byte", "none", "auto")}, (), ("variable",)),
    "DISAGGREGATE": Known({"variable": VARIABLE}, (), ("variable",)),
    "STABLE": Known({"variable": VARIABLE}, (), ("variable",)),
    "BIND_STORAGE": Known(
        {"variable": VARIABLE, "type": _RAMS, "impl": ("bram", "lutram", "uram", "srl", "auto"), "latency": CONSTANT},
        (),
        ("variable", "type"),
    ),
    "BIND_OP": Known(
        {"variable": VARIABLE, "op": _OPERATIONS, "impl": ("dsp", "fabric", "auto"), "latency": CONSTANT},
        (),
        ("variable", "op"),
    ),
    "DEPENDENCE": Known(
        {
            "variable": VARIABLE,
            "class": ("array", "pointer"),
            "type": ("inter", "intra"),
            "direction": ("RAW", "WAR", "WAW"),
            "distance": CONSTANT,
        },
        ("inter", "intra", "RAW", "WAR", "WAW", "true", "false"),
        ("variable",),
    ),
    "STREAM": Known(
        {"variable": VARIABLE, "depth": CONSTANT, "type": ("fifo", "pipo", "shared", "unsync")},
        (),
        ("variable", "depth"),
    ),
}
