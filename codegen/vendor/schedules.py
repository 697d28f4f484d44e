"""Reads the schedule reports of a synthesis, one a module: what csynth.xml leaves out, the II that was aimed at.

They say how each module was scheduled: its estimated clock, and of every loop the II that the compiler aimed at, which
is what it made of the pragma, beside the II that it achieved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import open_file
from bfp.names import is_name, printable
from codegen.vendor.reports import UNKNOWN, count, refuse, span
from codegen.vendor.results import Loop

# The compiler's own for every module, and the same head in the report that is documented
PATTERNS = ("*.verbose.sched.rpt", "*_csynth.rpt")
HEAD = 1 << 22  # bytes of a report in which the tables stand; every operation of every state follows
NUMBER = r"(\d{1,6}(?:\.\d{1,6})?) ns"
COLUMNS = ["Loop Name", "min", "max", "Latency", "achieved", "target", "Count", "Pipelined"]


@dataclass(frozen=True)
class Schedule:
    """One module's. target_ns, estimated_ns: of its clock. loops: without what their pragmas ask for, and without depth."""

    module: str
    target_ns: float
    estimated_ns: float
    loops: tuple[Loop, ...]


def find_schedules(folder: Path, log: Path) -> list[Path]:
    """The schedule reports below a folder, wherever the version puts them. Raises BfpError where there are none."""
    for pattern in PATTERNS:
        found = sorted(folder.rglob(pattern))
        if found:
            return found
    raise BfpError(f"HLS ended without a schedule report ({' or '.join(PATTERNS)}) below {folder}; see {log}")


def read_schedule(path: Path) -> Schedule:
    """A schedule report. Raises BfpError where something that is needed is missing, or is nonsense."""
    with open_file(path, "report", "run the step again") as file:
        text = file.read(HEAD).decode("utf-8", "replace")
    title = re.search(r"(?m)^== Vitis HLS Report for '([^']*)'\s*$", text)
    if title is None or not is_name(title[1]):
        raise refuse(path, "names no module in its title")
    clock = re.search(rf"(?m)^\s*\|\s*\w+\s*\|\s*{NUMBER}\s*\|\s*{NUMBER}\s*\|\s*{NUMBER}\s*\|\s*$", text)
    if clock is None:
        raise refuse(path, "has no row of a clock")
    return Schedule(title[1], float(clock[1]), float(clock[2]), tuple(_loops(path, text, title[1])))


def _loops(path: Path, text: str, module: str) -> Iterator[Loop]:
    """The rows of the table of loops; a module without loops says N/A in its place."""
    section = re.search(r"(?m)^\s*\* Loop:\s*\n\s*(N/A\s*$|\+-.*$)", text)
    if section is None:
        raise refuse(path, "has no table of loops")
    if section[1].startswith("N/A"):
        return
    rulers, titles = 1, None
    for line in text[section.end() :].splitlines():
        cells = [cell.strip() for cell in line.strip().split("|")[1:-1]]
        if line.strip().startswith("+-"):
            rulers += 1
            if rulers == 3:
                break
        elif rulers == 1 and cells:
            titles = cells  # of the two lines of the head, the second
        elif rulers == 2 and titles == COLUMNS and len(cells) == len(COLUMNS):
            yield _loop(path, cells, module)
        elif line.strip():
            raise refuse(path, f"has a table of loops with a line {printable(line.strip())!r}")
    if rulers != 3 or titles != COLUMNS:
        raise refuse(path, "has a table of loops that does not end, or of other columns")


def _loop(path: Path, cells: list[str], module: str) -> Loop:
    name = re.sub(r"^(-|\++|o)\s+", "", cells[0])  # how deep the loop lies
    if not is_name(name):
        raise refuse(path, f"names a loop {printable(name)!r}")
    achieved, aimed = (
        None if cell in UNKNOWN else count(path, cell, f"the II of {name}") for cell in (cells[4], cells[5])
    )
    latency = span(path, cells[1:3], f"the latency of {name}")
    return Loop(name, module, span(path, cells[6].split("~"), f"the trip count of {name}"), latency, achieved, aimed_ii=aimed)


def with_schedules(loops: Iterable[Loop], schedules: Iterable[Schedule]) -> tuple[Loop, ...]:
    """The loops of csynth.xml with what the schedules add to them, and after them those that only the schedules name.

    Of two IIs of a loop the greater is taken.
    """
    scheduled: dict[tuple[str, str], Loop] = {}
    for loop in (loop for schedule in schedules for loop in schedule.loops):
        key = (loop.module, loop.name)
        scheduled[key] = _worse(scheduled.get(key, loop), loop)
    loops = list(loops)
    named = {(loop.module, loop.name) for loop in loops}
    joined = [_worse(loop, scheduled.get((loop.module, loop.name), loop)) for loop in loops]
    return *joined, *(loop for key, loop in scheduled.items() if key not in named)


def _worse(loop: Loop, other: Loop) -> Loop:
    """A loop with the greater of two IIs, achieved and aimed at."""
    return replace(loop, ii=_greater(loop.ii, other.ii), aimed_ii=_greater(loop.aimed_ii, other.aimed_ii))


def _greater(one: int | None, other: int | None) -> int | None:
    return max((ii for ii in (one, other) if ii is not None), default=None)


def slow_modules(schedules: Iterable[Schedule]) -> tuple[str, ...]:
    """Modules whose estimated clock is above its target, the slowest first."""
    slow = [s for s in schedules if s.estimated_ns > s.target_ns]
    return tuple(s.module for s in sorted(slow, key=lambda s: (-s.estimated_ns, s.module)))
