"""What a synthesis must show before hours of implementation follow: the II of every loop, DSPs, the clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bfp.errors import BfpError
from codegen.performance.board import Board
from codegen.performance.ranges import Area, Resource
from codegen.vendor.reports import CsynthReport
from codegen.vendor.results import Loop, Modelled

LABEL = re.compile(r"^\s*([A-Z][A-Z0-9_]*):\s*$")
PIPELINE = re.compile(r"^\s*#pragma HLS PIPELINE\b(.*)$")
PERIOD_ROUNDING = 0.0051  # ns; the report has two decimals


def modelled(built: Area) -> Modelled:
    """The model's figures of what is synthesised to RTL: the engine, without what is drawn around it."""
    return Modelled(*(built.engine().total(resource) for resource in (Resource.DSP, Resource.BRAM36, Resource.LUT)))


def loop_targets(sources: Iterable[Path]) -> dict[str, int | None]:
    """Labelled loops of the sources, with the II that their PIPELINE pragma asks for; None for those without one.

    Raises BfpError for a label that two loops bear, or an II that is no number.
    """
    targets: dict[str, int | None] = {}
    for source in sources:
        lines = source.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            label = LABEL.match(line)
            if not label:
                continue
            if label[1] in targets:
                raise BfpError(f"{source}, line {number + 1}: a second loop bears the label {label[1]}; rename one")
            targets[label[1]] = _target(source, number + 1, lines[number + 1 :])
    return targets


def _target(source: Path, number: int, lines: list[str]) -> int | None:
    """The II of the loop whose header these lines begin with."""
    body = next((n for n, line in enumerate(lines) if line.rstrip().endswith("{")), len(lines))
    for line in lines[body + 1 :]:
        text = line.strip()
        if text and not text.startswith(("#pragma", "//", "static_assert")):
            return None
        pipeline = PIPELINE.match(line)
        if pipeline:
            found = re.search(r"\bII\s*=\s*(\d+)\b", pipeline[1])
            if not found:
                raise BfpError(f"{source}, line {number}: the loop's PIPELINE pragma names no II by a number")
            return int(found[1])
    return None


def innermost_label(name: str, targets: dict[str, int | None]) -> str | None:
    """The label of the loop that a report calls ``name``: its own, or the last of those that were flattened into it.

    A further copy of a loop, of a function that is built twice, may bear a number behind its label.
    """
    if name in targets:
        return name
    for label in targets:
        if re.fullmatch(rf"{label}_?\d+", name):
            return label
        flattened = re.match(rf"{label}(_?\d+)?_(?=[A-Z])", name)
        inner = innermost_label(name[flattened.end() :], targets) if flattened else None
        if inner is not None:
            return inner
    return None


def with_targets(loops: Iterable[Loop], targets: dict[str, int | None]) -> tuple[Loop, ...]:
    """The report's loops, each with the II that its pragma asks for."""
    named = ((loop, innermost_label(loop.name, targets)) for loop in loops)
    return tuple(replace(loop, wanted_ii=targets[label] if label else None) for loop, label in named)


def missing_loops(loops: Iterable[Loop], targets: dict[str, int | None]) -> tuple[str, ...]:
    """Labels of pipelined loops that no loop of the report is: those that the network does not need are not built."""
    there = {innermost_label(loop.name, targets) for loop in loops}
    return tuple(label for label, ii in targets.items() if ii is not None and label not in there)


def check_report(report: CsynthReport, path: Path, top: str, board: Board) -> None:
    """Raise BfpError for a report of something else than was asked for: another top, part or clock."""
    for what, says, wanted in (("top", report.top, top), ("part", report.part.lower(), board.part.lower())):
        if says != wanted:
            raise BfpError(f"report {path} is of {what} {says}, not {wanted}; run the step again")
    if abs(report.target_ns - 1000 / board.clock_mhz) > PERIOD_ROUNDING:
        raise BfpError(
            f"report {path} is for a clock of {report.target_ns} ns, not {1000 / board.clock_mhz:.3f} ns; "
            "run the step again"
        )


def _wrong_interval(loop: Loop, targets: dict[str, int | None]) -> str | None:
    """What is wrong with a loop's II: above what its pragma asks for, or not what the compiler was asked for."""
    what, wanted = f"loop {loop.name} in {loop.module}", loop.wanted_ii
    if wanted is None:
        if (loop.ii or 0) > 1 and innermost_label(loop.name, targets) is None:
            return f"{what} has II={loop.ii}, and bears no label of the sources that would say what was asked for"
        return None
    if loop.ii is None:
        return f"{what} is not pipelined, its pragma asks for II={wanted}"
    if loop.ii > wanted:
        return f"{what} has II={loop.ii}, its pragma asks for II={wanted}"
    if loop.aimed_ii not in (None, wanted):
        return f"{what} was scheduled for II={loop.aimed_ii}, its pragma asks for II={wanted}"
    return None


def findings(
    report: CsynthReport,
    loops: Iterable[Loop],
    targets: dict[str, int | None],
    slow: Sequence[str],
    model: Modelled,
) -> tuple[str, ...]:
    """What is wrong with a synthesis, one sentence each.

    slow: modules whose estimated clock is above its target. Raises BfpError for reports that name no pipelined loop.
    """
    loops = list(loops)
    if not any(loop.wanted_ii is not None for loop in loops):
        raise BfpError("csynth.xml names none of the engine's pipelined loops; it is of a version that is not known")
    found = [*report.refused, *(sentence for loop in loops if (sentence := _wrong_interval(loop, targets)))]
    # LUTs are compared in vendor.md only: synthesis to RTL is known to estimate up to 3.5 times what is placed
    if report.used.dsp not in model.dsp:
        found.append(
            f"{report.used.dsp} DSPs are off the model's {model.dsp.likely} ({model.dsp.low} to {model.dsp.high} agree)"
        )
    for what, used, there in (
        ("DSPs", report.used.dsp, report.available.dsp),
        ("block RAMs of 18 kbit", report.used.bram18, report.available.bram18),
    ):
        if used > there:
            found.append(f"{used} {what} are more than the {there} of the chip")
    if report.estimated_ns > report.target_ns:
        found.append(f"the estimated clock of {report.estimated_ns} ns is above the target of {report.target_ns} ns")
    if slow:
        more = f" and {len(slow) - 1} more modules" if len(slow) > 1 else ""
        found.append(f"the estimated clock of {slow[0]}{more} is above the target")
    return tuple(found)
