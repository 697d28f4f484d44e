"""Block design and implementation: from an exported engine to a bitstream, at a clock that it meets.

    OUT/vendor/vivado/      Vivado project                          OUT/vendor/implementation.log, .sh
    OUT/vendor/out/         bitstream, handoff and reports, as Vivado left them
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bfp.errors import BfpError
from bfp.files import read_file, write_text
from bfp.kernel import Implementation
from codegen.clocks import TOLERANCE, divisors, fastest_within, plain, product_for
from codegen.identity import HLS
from codegen.vendor.hls import csynth_digest, ip_repository, show
from codegen.vendor.package import complete_package
from codegen.vendor.process import Command, run
from codegen.vendor.reports import ImplementationReport, read_implementation
from codegen.vendor.request import Request, inputs_digest, scripts_digest
from codegen.vendor.results import Csynth, Implemented, write_results
from codegen.vendor.tools import Tool, find_vivado

SCRIPT = HLS / "tcl" / "vivado.tcl"
STRATEGY = "Performance_ExplorePostRoutePhysOpt"  # the one that is tried where the default one misses timing
PL0 = "PSU__CRL_APB__PL0_REF_CTRL"  # parameters of the engine's clock in the handoff
STAMP = "inputs.txt"  # of what Vivado left: the digest of its inputs, and its version


@dataclass(frozen=True)
class Clock:
    """What the engine runs at after implementation.

    product: of the two divisors. setup_ns: worst slack at that clock. note: why it is not the clock that was asked for,
    empty where it is.
    """

    mhz: float
    product: int
    setup_ns: float
    note: str


def vivado_command(request: Request, vivado: Tool, repository: Path) -> Command:
    """The command line of implementation."""
    board, vendor = request.board, request.vendor
    values = {
        "SBFP_WORK": vendor,
        "SBFP_OUT": vendor / "out",
        "SBFP_NAME": request.name,
        "SBFP_IP_REPO": repository,
        "SBFP_IP": request.deployment.ip,
        "SBFP_PART": board.part,
        "SBFP_BOARD_PART": board.board_part,
        "SBFP_BOARD_CONNECTIONS": board.board_connections,
        "SBFP_PROCESSING_SYSTEM": board.processing_system,
        "SBFP_MEMORY_PORTS": board.memory_ports,
        "SBFP_MEMORY_PORT_BITS": board.memory_port_bits,
        "SBFP_ENGINE_BITS": 8 * request.deployment.lanes,
        "SBFP_CLOCK_MHZ": board.clock_mhz,
        "SBFP_CLOCK_TOLERANCE": TOLERANCE,
        "SBFP_STRATEGY": STRATEGY,
        "SBFP_JOBS": request.options.jobs,
    }
    words = [vivado.path, "-mode", "batch", "-nojournal", "-nolog", "-notrace", "-source", str(SCRIPT)]
    return Command(words, values, vendor, vendor / "implementation.log", request.options.timeout_s("implementation"))


def vivado_digest(request: Request) -> str:
    """Digest of what implementation depends on: the synthesis and the script."""
    return inputs_digest(request, [SCRIPT], csynth_digest(request), request.deployment.ip, request.name)


def _implemented_by(request: Request) -> str | None:
    """The Vivado that left its files for exactly these inputs; None where none did, or where it is to run again."""
    if request.options.rebuild:
        return None
    stamp = request.vendor / "out" / STAMP
    lines = stamp.read_text(encoding="utf-8").splitlines() if stamp.is_file() else []
    return lines[1] if len(lines) == 2 and lines[0] == vivado_digest(request) else None


def show_implementation(request: Request) -> None:
    """A dry run of implementation."""
    show([vivado_command(request, Tool("vivado", "vivado"), request.vendor / "csynth")])


def check_tools(request: Request) -> None:
    """Raise BfpError where implementation has to run, and Vivado is not there."""
    if _implemented_by(request) is None:
        find_vivado()


def implement(request: Request, csynth: Csynth) -> Implementation:
    """Implement the synthesised engine and complete the package. The package changes whole or not at all.

    Raises BfpError with the tool's first error and its log, where timing cannot be met, or where what Vivado left is
    not what was asked for.
    """
    write_results(request.folder, request.name, request.board.name, implementation=None)
    label = _implemented_by(request) or run_vivado(request)
    out = request.vendor / "out"
    report = read_implementation(out)
    handoff = out / request.deployment.handoff
    tree = read_handoff(handoff, request.deployment.ip, report.clock_mhz)
    clock = settle_clock(request, report)
    tools = {"hls": csynth.tool, "vivado": label}
    made = Implementation(
        clock.mhz, clock.setup_ns, report.hold_ns, report.strategy, tools, clock.note, scripts_digest()
    )
    if clock.note:
        set_handoff_clock(tree, handoff, clock)
        text = ElementTree.tostring(tree.getroot(), encoding="UTF-8", xml_declaration=True)
    else:
        text = read_file(handoff, "handoff", "build it again")
    complete_package(request, out / request.deployment.bitfile, text, made)
    implemented = Implemented(
        inputs=vivado_digest(request),
        tool=label,
        board_part=report.board_part,
        strategy=report.strategy,
        implemented_mhz=report.clock_mhz,
        clock_mhz=clock.mhz,
        setup_ns=report.setup_ns,
        hold_ns=report.hold_ns,
        used=report.used,
        note=clock.note,
    )
    write_results(request.folder, request.name, request.board.name, implementation=implemented)
    return made


def run_vivado(request: Request) -> str:
    """Run block design and implementation; returns the program's name and version. Raises BfpError as ``implement``."""
    vivado, vendor = find_vivado(), request.vendor
    repository = ip_repository(vendor / "csynth", vendor / "csynth.log")
    digest, out = vivado_digest(request), vendor / "out"
    for older in (out, vendor / "vivado"):
        shutil.rmtree(older, ignore_errors=True)
    command = vivado_command(request, vivado, repository)
    run(command)
    if vivado_digest(request) != digest:
        raise BfpError(f"the sources of {request.name} were changed while they were implemented; run the step again")
    for name in (request.deployment.bitfile, request.deployment.handoff):
        if not (out / name).is_file() or not (out / name).stat().st_size:
            raise BfpError(f"Vivado ended without {out / name}; see {command.log}")
    write_text(out / STAMP, f"{digest}\n{vivado.label}\n")
    return vivado.label


def settle_clock(request: Request, report: ImplementationReport) -> Clock:
    """The clock that the implemented engine runs at: what was asked for, or the fastest below that meets timing.

    Raises BfpError for a clock that is not what was asked for, for a hold time that is missed, which no clock mends,
    and, where the build is strict, for a setup time.
    """
    board, name = request.board, request.name
    if abs(report.clock_mhz - board.clock_mhz) > TOLERANCE * board.clock_mhz:
        raise BfpError(f"Vivado implemented {name} at {report.clock_mhz:.6g} MHz, not at {board.clock_mhz:.6g}")
    if report.hold_ns < 0:
        raise BfpError(
            f"{name} misses its hold time by {-report.hold_ns:.3f} ns, which no lower clock mends; "
            "see timing.rpt, and try another engine"
        )
    product = product_for(board.clock_source_mhz, board.clock_mhz)
    if report.setup_ns >= 0:
        return Clock(plain(report.clock_mhz), product, report.setup_ns, "")
    needed = 1000 / report.clock_mhz - report.setup_ns  # ns
    missed = f"{name} misses the timing of {report.clock_mhz:.6g} MHz by {-report.setup_ns:.3f} ns"
    # what is really divided: a source of 1,500 MHz is often 1,499.985
    source = report.clock_mhz * product
    lower = fastest_within(source, 1000 / needed)
    if lower is None or request.options.strict:
        advice = "strict=1 takes no lower clock" if lower else "no clock is as low as it needs"
        raise BfpError(f"{missed} with two strategies ({report.strategy}), and {advice}; give clock= or another engine")
    note = f"{missed} ({report.strategy}); it runs at {lower:.6g} MHz, the fastest clock that meets its timing"
    return Clock(lower, product_for(source, lower), 1000 / lower - needed, note)


def read_handoff(path: Path, ip: str, clock_mhz: float) -> ElementTree.ElementTree:
    """The hardware handoff. Raises BfpError where it has not the engine, or another clock than Vivado reported."""
    try:
        tree = ElementTree.parse(path)
    except ElementTree.ParseError as error:
        raise BfpError(f"{path} is no hardware handoff ({error}); see implementation.log") from None
    if ip not in [module.get("INSTANCE") for module in tree.iter("MODULE")]:
        raise BfpError(f"{path} has no IP {ip!r}, so the driver could not find the engine")
    said = _clock_parameters(tree, path)[f"{PL0}__ACT_FREQMHZ"].get("VALUE", "")
    try:
        agrees = abs(float(said) - clock_mhz) < TOLERANCE * clock_mhz
    except ValueError:
        agrees = False
    if not agrees:
        raise BfpError(f"{path} has a clock of {said!r} MHz, Vivado reported {clock_mhz:.6g}; build it again")
    return tree


def _clock_parameters(tree: ElementTree.ElementTree, path: Path) -> dict[str, ElementTree.Element]:
    """The parameters of the engine's clock, from which PYNQ sets it when it loads the bitstream."""
    wanted = {f"{PL0}__{key}" for key in ("ACT_FREQMHZ", "FREQMHZ", "DIVISOR0", "DIVISOR1")}
    found = {p.get("NAME"): p for p in tree.iter("PARAMETER") if p.get("NAME") in wanted}
    missing = sorted(wanted - set(found))
    if missing:
        raise BfpError(f"{path} has no parameter {missing[0]}, so the board could not set the engine's clock")
    return found


def set_handoff_clock(tree: ElementTree.ElementTree, path: Path, clock: Clock) -> None:
    """Give the handoff another clock: PYNQ divides by what stands there."""
    found = _clock_parameters(tree, path)
    first, second = divisors(clock.product)
    values = {"ACT_FREQMHZ": clock.mhz, "FREQMHZ": clock.mhz, "DIVISOR0": first, "DIVISOR1": second}
    for key, value in values.items():
        found[f"{PL0}__{key}"].set("VALUE", str(value))
