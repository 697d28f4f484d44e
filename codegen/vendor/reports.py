"""Reads what the vendor's tools report: csynth.xml, the report of co-simulation, and what vivado.tcl writes.

A report without what is looked for, truncated or of an unknown form, is refused; nothing is taken to be zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bfp.errors import BfpError
from bfp.files import read_file
from bfp.names import is_name, printable
from codegen.vendor.results import Loop, Resources

MOST_REPORT = 1 << 28  # bytes
CSYNTH, COSIM = "csynth.xml", "*_cosim.rpt"
UNKNOWN = ("?", "undef", "-", "NA")


@dataclass(frozen=True)
class CsynthReport:
    """csynth.xml as it is. Periods in ns, latency in cycles; loops without what their pragmas ask for.

    refused: pragmas that the compiler did not take as they stand, a sentence each.
    """

    version: str
    top: str
    part: str
    target_ns: float
    uncertainty_ns: float
    estimated_ns: float
    latency: tuple[int, int] | None
    used: Resources
    available: Resources
    loops: tuple[Loop, ...]
    refused: tuple[str, ...] = ()


def refuse(path: Path, reason: str) -> BfpError:
    """The refusal of a report."""
    return BfpError(f"report {path} {reason}; it is truncated, or of a version of the tools that is not known")


def find_report(folder: Path, pattern: str, what: str, log: Path) -> Path:
    """The report below a folder, wherever the version puts it: the one that is the least deep.

    Raises BfpError where there is none.
    """
    found = sorted(folder.rglob(pattern), key=lambda path: (len(path.parts), str(path)))
    if not found:
        raise BfpError(f"{what} ended without a report {pattern} below {folder}; see {log}")
    return found[0]


def _root(path: Path) -> ElementTree.Element:
    raw = read_file(path, "report", "run the step again", most=MOST_REPORT)
    try:
        return ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        raise refuse(path, f"is no XML ({error})") from None


def _text(path: Path, parent: ElementTree.Element, key: str) -> str:
    found = parent.findtext(key)
    if found is None or not found.strip():
        raise refuse(path, f"has no {key}")
    return found.strip()


def _number(path: Path, parent: ElementTree.Element, key: str) -> float:
    text = _text(path, parent, key)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < 1e6:
        raise refuse(path, f"has {key} {printable(text)!r}, which is no number that it could be")
    return value


def count(path: Path, text: str, what: str) -> int:
    """A count as a report has it. Raises BfpError for anything else."""
    if not re.fullmatch(r"\d{1,18}", text):
        raise refuse(path, f"has {what} {printable(text)!r}, which is no count")
    return int(text)


def span(path: Path, ends: list[str], what: str) -> tuple[int, int] | None:
    """Least and most of a count, None where one of the ends is unknown. Raises BfpError for what is no count."""
    ends = [end.strip() for end in ends]
    if any(end in UNKNOWN for end in ends):
        return None
    counts = [count(path, end, what) for end in ends]
    return min(counts), max(counts)


def _span(path: Path, element: ElementTree.Element | None, what: str) -> tuple[int, int] | None:
    """Least and most of a count that stands as ``7``, as ``1 ~ 32``, as a <range>, or is unknown."""
    if element is None:
        return None
    within = element.find("range")
    if within is not None:
        return span(path, [within.findtext("min", "?"), within.findtext("max", "?")], what)
    return span(path, (element.text or "?").split("~"), what)


def _single(path: Path, element: ElementTree.Element | None, what: str) -> int | None:
    span = _span(path, element, what)
    return None if span is None else span[1]


def _resources(path: Path, root: ElementTree.Element, key: str) -> Resources:
    area = root.find(f"AreaEstimates/{key}")
    if area is None:
        raise refuse(path, f"has no AreaEstimates/{key}")
    counts = {name: count(path, _text(path, area, tag), tag) for name, tag in TAGS.items()}
    return Resources(**counts)


TAGS = {"dsp": "DSP", "bram18": "BRAM_18K", "uram": "URAM", "lut": "LUT", "ff": "FF"}
OF_A_LOOP = ("TripCount", "PipelineII", "IterationLatency", "PipelineDepth")  # whatever has one of these is a loop


def _loops(path: Path, parent: ElementTree.Element, module: str) -> Iterator[Loop]:
    """The loops below an element, the outer one before those inside it."""
    for element in parent:
        if not any(element.find(key) is not None for key in OF_A_LOOP):
            continue
        name = (element.findtext("Name") or element.tag).strip()
        for word in (name, module):
            if not is_name(word):
                raise refuse(path, f"names a loop or module {printable(word)!r}")
        yield Loop(
            name=name,
            module=module,
            trips=_span(path, element.find("TripCount"), f"the trip count of {name}"),
            latency=_span(path, element.find("Latency"), f"the latency of {name}"),
            ii=_single(path, element.find("PipelineII"), f"the II of {name}"),
            depth=_single(path, element.find("PipelineDepth"), f"the depth of {name}"),
        )
        yield from _loops(path, element, module)


def _refused_pragmas(path: Path, root: ElementTree.Element) -> Iterator[str]:
    """Every pragma of the report that is not valid: the compiler goes on without it, and ends with status 0."""
    for pragma in root.iterfind("PragmaReport/Pragma"):
        status = pragma.get("status", "")
        if not status:
            raise refuse(path, "has a pragma without a status")
        if status != "valid":
            keys = ("type", "options", "location", "parentFunction", "message")
            kind, options, place, function, message = (pragma.get(key, "") for key in keys)
            reason = f" ({message})" if message else ""
            yield printable(f"pragma {kind.upper()} {options} at {place} in {function} is {status}, not valid{reason}")


def read_csynth(path: Path) -> CsynthReport:
    """csynth.xml of a synthesis. Raises BfpError where something that is needed is missing, or is nonsense."""
    root = _root(path)
    assigned, estimates = root.find("UserAssignments"), root.find("PerformanceEstimates")
    if root.tag != "profile" or assigned is None or estimates is None:
        raise refuse(path, "is no profile with UserAssignments and PerformanceEstimates")
    top = _text(path, assigned, "TopModelName")
    latency = estimates.find("SummaryOfOverallLatency")
    if latency is None:
        raise refuse(path, "has no SummaryOfOverallLatency")
    ends = [_span(path, latency.find(key), key) for key in ("Best-caseLatency", "Worst-caseLatency")]
    parts = [(top, estimates)]
    for module in root.iterfind("ModuleInformation/Module"):
        name, inside = _text(path, module, "Name"), module.find("PerformanceEstimates")
        if name != top and inside is not None:
            parts.append((name, inside))
    loops = []
    for name, part in parts:
        summary = part.find("SummaryOfLoopLatency")
        loops += _loops(path, summary, name) if summary is not None else ()
    return CsynthReport(
        version=_text(path, root, "ReportVersion/Version"),
        top=top,
        part=_text(path, assigned, "Part"),
        target_ns=_number(path, assigned, "TargetClockPeriod"),
        uncertainty_ns=_number(path, assigned, "ClockUncertainty"),
        estimated_ns=_number(path, estimates, "SummaryOfTimingAnalysis/EstimatedClockPeriod"),
        latency=(ends[0][0], ends[1][1]) if ends[0] and ends[1] else None,
        used=_resources(path, root, "Resources"),
        available=_resources(path, root, "AvailableResources"),
        loops=tuple(loops),
        refused=tuple(_refused_pragmas(path, root)),
    )


def read_cosim(path: Path) -> tuple[int, int] | None:
    """Least and most cycles of a transaction, of a co-simulation that passed. Raises BfpError where it did not."""
    text = read_file(path, "report", "run the step again", most=MOST_REPORT).decode("utf-8", "replace")
    rows = re.findall(r"(?m)^\|\s*(VHDL|Verilog)\s*\|\s*(\w+)\s*\|\s*(\S+)\s*\|\s*(\S+)\s*\|\s*(\S+)\s*\|", text)
    ran = [row for row in rows if row[1] != "NA"]
    if not ran:
        raise refuse(path, "has no row of a simulation that ran")
    for language, status, *_ in ran:
        if status != "Pass":
            raise BfpError(f"co-simulation of the {language} did not pass, its report {path} says {status}")
    least, _, most = ran[0][2:]
    if least in UNKNOWN or most in UNKNOWN:
        return None
    return count(path, least, "a latency"), count(path, most, "a latency")


@dataclass(frozen=True)
class ImplementationReport:
    """What vivado.tcl wrote: the clock that the processing system gives, and the run that it took."""

    clock_mhz: float
    setup_ns: float
    hold_ns: float
    strategy: str
    board_part: str
    used: Resources


# Names of the sites differ by family: UltraScale+ has CLBs. A row: | name | used | fixed | ... | available | per cent |
SITES = {
    "dsp": "DSPs",
    "bram18": "Block RAM Tile",
    "uram": "URAM",
    "lut": r"(?:CLB|Slice) LUTs",
    "ff": r"(?:CLB|Slice) Registers",
}


def read_utilisation(path: Path) -> Resources:
    """Counts of report_utilization; a chip without URAM has no row of it.

    Raises BfpError where another row is missing.
    """
    text = read_file(path, "report", "run the step again", most=MOST_REPORT).decode("utf-8", "replace")
    counts = {}
    for name, site in SITES.items():
        row = re.search(rf"(?m)^\|\s*{site}\*?\s*\|\s*(\d+(?:\.\d+)?)\s*\|", text)
        if row is None and name != "uram":
            raise refuse(path, f"has no row {site!r}")
        value = float(row[1]) if row else 0.0
        counts[name] = round(2 * value) if name == "bram18" else round(value)  # half a tile is one BRAM18
    return Resources(**counts)


def read_implementation(folder: Path) -> ImplementationReport:
    """implementation.txt and utilization.rpt of vivado.tcl. Raises BfpError where something is missing or no number."""
    path = folder / "implementation.txt"
    lines = read_file(path, "report", "run the step again").decode("utf-8", "replace").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    values = {}
    for key in ("clock_mhz", "setup_ns", "hold_ns"):
        if not re.fullmatch(r"-?\d{1,6}(\.\d{1,20})?", found.get(key, "")):
            raise refuse(path, f"has {key} {found.get(key)!r}, which is no number")
        values[key] = float(found[key])
    for key in ("strategy", "board_part"):
        if not found.get(key):
            raise refuse(path, f"has no {key}")
        values[key] = printable(found[key])
    return ImplementationReport(**values, used=read_utilisation(folder / "utilization.rpt"))
