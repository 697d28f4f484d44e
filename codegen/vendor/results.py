"""What the vendor's tools reported of a network: ``vendor.json``, and ``vendor.md``, the same as a table for people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bfp.deployment import CLOCK
from bfp.errors import BfpError
from bfp.fields import (
    NAME, TEXT, Kind, Place, checked, dump, fixed, hexadecimal, number, optional, parse, record, tuple_of, whole,
)  # fmt: skip
from bfp.files import read_file, write_json, write_text
from codegen.performance.ranges import Range

SCHEMA = 2
FILE, TABLE = "vendor.json", "vendor.md"
MOST = 1 << 62  # of any count
MOST_LOOPS = 10_000
COUNT, SPAN = whole(0, MOST), fixed(whole(0, MOST), 2)
HASH = hexadecimal(64)
TIME = number(-1e6, 1e6)  # ns


@dataclass(frozen=True)
class Resources:
    """Counts of a chip's parts. bram18: halves of block RAMs."""

    dsp: int = checked(COUNT)
    bram18: int = checked(COUNT)
    uram: int = checked(COUNT)
    lut: int = checked(COUNT)
    ff: int = checked(COUNT)


@dataclass(frozen=True)
class Modelled:
    """What the project's own model says of the engine, without what is drawn around it (codegen/performance)."""

    dsp: Range = checked(record(Range))
    bram36: Range = checked(record(Range))
    lut: Range = checked(record(Range))


@dataclass(frozen=True)
class Loop:
    """A loop as synthesis scheduled it.

    name: its label, or the labels of those that were flattened into it; module: where it stands. trips and latency:
    least and most, None where the report does not know them. ii: cycles between iterations, None where it is not
    pipelined; wanted_ii: what its pragma asks for, None where it has none. depth: cycles of an iteration. aimed_ii: the
    II that the compiler aimed at, None where no schedule says.
    """

    name: str = checked(NAME)
    module: str = checked(NAME)
    trips: tuple[int, int] | None = checked(optional(SPAN), default=None)
    latency: tuple[int, int] | None = checked(optional(SPAN), default=None)
    ii: int | None = checked(optional(COUNT), default=None)
    wanted_ii: int | None = checked(optional(COUNT), default=None)
    depth: int | None = checked(optional(COUNT), default=None)
    aimed_ii: int | None = checked(optional(COUNT), default=None)


@dataclass(frozen=True)
class Csynth:
    """What synthesis to RTL estimates.

    inputs: digest of what went in (codegen/vendor/request.py). tool: program and version; report_version: as the
    report says. clock_mhz: what it was told; target_ns, estimated_ns, uncertainty_ns: periods, as the report has them.
    latency: least and most cycles of a run, None where unknown. used and available: of the chip. model: the
    project's own figures. missing: labelled, pipelined loops that the report does not name. findings: why the build
    stops before implementation, one sentence each.
    """

    inputs: str = checked(HASH)
    tool: str = checked(TEXT)
    report_version: str = checked(TEXT)
    clock_mhz: float = checked(CLOCK)
    target_ns: float = checked(TIME)
    estimated_ns: float = checked(TIME)
    uncertainty_ns: float = checked(TIME)
    latency: tuple[int, int] | None = checked(optional(SPAN))
    used: Resources = checked(record(Resources))
    available: Resources = checked(record(Resources))
    model: Modelled = checked(record(Modelled))
    loops: tuple[Loop, ...] = checked(tuple_of(record(Loop), 0, MOST_LOOPS))
    missing: tuple[str, ...] = checked(tuple_of(NAME, 0, MOST_LOOPS))
    findings: tuple[str, ...] = checked(tuple_of(TEXT, 0, MOST_LOOPS))


@dataclass(frozen=True)
class Cosim:
    """The co-simulation of the RTL: it ran to its end and agreed. latency: least and most cycles of a transaction."""

    inputs: str = checked(HASH)
    tool: str = checked(TEXT)
    clock_mhz: float = checked(CLOCK)
    latency: tuple[int, int] | None = checked(optional(SPAN))


@dataclass(frozen=True)
class Implemented:
    """What Vivado reported of the bitstream that lies in the deployment folder.

    clock_mhz: what the engine runs at; implemented_mhz: what it was implemented for. setup_ns and hold_ns: worst
    slacks as implemented. used: after placement; bram18 counts a whole block RAM as two.
    """

    inputs: str = checked(HASH)
    tool: str = checked(TEXT)
    board_part: str = checked(TEXT)
    strategy: str = checked(TEXT)
    implemented_mhz: float = checked(CLOCK)
    clock_mhz: float = checked(CLOCK)
    setup_ns: float = checked(TIME)
    hold_ns: float = checked(TIME)
    used: Resources = checked(record(Resources))
    note: str = checked(TEXT)


@dataclass(frozen=True)
class Results:
    """All of a network; a step that has not run, or not to its end, is None."""

    network: str = checked(NAME)
    board: str = checked(TEXT)
    csynth: Csynth | None = checked(optional(record(Csynth)), default=None)
    cosim: Cosim | None = checked(optional(record(Cosim)), default=None)
    implementation: Implemented | None = checked(optional(record(Implemented)), default=None)
    schema: int = checked(whole(SCHEMA, SCHEMA), default=SCHEMA)


RESULTS: Kind = record(Results)


def read_results(folder: Path) -> Results | None:
    """What ``vendor.json`` of a network's folder holds; None where there is none that can be used."""
    path = folder / FILE
    try:
        place = Place(f"results {path}", "run the step again")
        return RESULTS.read(parse(read_file(path, "results", "run the step"), place), place)
    except BfpError:
        return None  # whatever it was: the steps run again


def write_results(folder: Path, network: str, board: str, **steps: object) -> Results:
    """Replace steps of ``vendor.json``; those of another network or board are dropped. Writes ``vendor.md`` as well."""
    older = read_results(folder)
    if older is None or (older.network, older.board) != (network, board):
        older = Results(network, board)
    results = replace(older, **steps)
    write_json(folder / FILE, dump(RESULTS, results, Place(f"results {folder / FILE}", "report this")))
    write_text(folder / TABLE, "\n".join(table(results)) + "\n")
    return results


def _span(span: tuple[int, int] | None) -> str:
    if span is None:
        return "?"
    return str(span[0]) if span[0] == span[1] else f"{span[0]} to {span[1]}"


def table(results: Results) -> list[str]:
    """Lines of Markdown: what was modelled, estimated and implemented, side by side, and every loop."""
    lines = [f"# {results.network} on {results.board}: what the vendor's tools reported", ""]
    csynth, made = results.csynth, results.implementation
    if csynth:
        model = csynth.model
        modelled = {"dsp": model.dsp, "bram18": model.bram36.times(2), "lut": model.lut}
        lines += ["| | modelled | csynth estimates | implemented | on the chip |", "|---|---|---|---|---|"]
        for key, name in (("dsp", "DSP"), ("bram18", "BRAM18"), ("uram", "URAM"), ("lut", "LUT"), ("ff", "FF")):
            placed = getattr(made.used, key) if made else "-"
            lines.append(
                f"| {name} | {modelled.get(key, '-')} | {getattr(csynth.used, key)} | {placed} | "
                f"{getattr(csynth.available, key)} |"
            )
        lines += [
            f"| clock, ns | {1000 / csynth.clock_mhz:.3f} | {csynth.estimated_ns:.3f} | "
            f"{f'{1000 / made.implemented_mhz - made.setup_ns:.3f}' if made else '-'} | - |",
            "",
            f"Synthesis by {csynth.tool}, {_span(csynth.latency)} cycles a run.",
        ]
    if made:
        lines.append(
            f"Implemented by {made.tool} for {made.implemented_mhz:.6g} MHz ({made.strategy}): worst slack "
            f"{made.setup_ns:.3f} ns of setup, {made.hold_ns:.3f} ns of hold; the engine runs at "
            f"{made.clock_mhz:.6g} MHz."
        )
        lines += [made.note] if made.note else []
    if results.cosim:
        lines.append(f"Co-simulated by {results.cosim.tool}: {_span(results.cosim.latency)} cycles a transaction.")
    if csynth:
        if csynth.findings:
            lines += ["", "Findings:", "", *(f"- {finding}" for finding in csynth.findings)]
        if csynth.missing:
            lines += ["", f"The report does not name these pipelined loops: {', '.join(csynth.missing)}."]
        head = "| loop | module | trips | cycles | II | II asked for | II aimed at | depth |"
        lines += ["", head, "|---" * 8 + "|"]
        for loop in csynth.loops:
            cells = (loop.ii, loop.wanted_ii, loop.aimed_ii, loop.depth)
            lines.append(
                f"| {loop.name} | {loop.module} | {_span(loop.trips)} | {_span(loop.latency)} | "
                + " | ".join("-" if cell is None else str(cell) for cell in cells)
                + " |"
            )
    return lines
