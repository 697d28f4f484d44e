"""Synthesis of the engine to RTL, and its co-simulation, by whichever program of the vendor's there is.

    OUT/vendor/csynth/     project, csynth.xml and exported IP      OUT/vendor/csynth.log, .sh
    OUT/vendor/cosim/      project, golden data, report             OUT/vendor/cosim.log, .sh
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_text
from codegen.identity import HLS, OWN_HEADER, engine_sources, kernel_digest
from codegen.render import BENCH_HEADERS, environment
from codegen.vendor.checks import check_report, findings, loop_targets, missing_loops, with_targets
from codegen.vendor.process import Command, run, write_script
from codegen.vendor.reports import COSIM, CSYNTH, find_report, read_cosim, read_csynth
from codegen.vendor.request import TEMPLATE, TOP, Request, engine_values, inputs_digest, kernel_headers
from codegen.vendor.results import Cosim, Csynth, Modelled, read_results, write_results
from codegen.vendor.schedules import find_schedules, read_schedule, slow_modules, with_schedules
from codegen.vendor.tools import Tool, check_wanted, find_hls, find_simulator

SCRIPT = HLS / "tcl" / "hls.tcl"
DRY_TOOL = "vitis_hls"  # shown by a dry run that names none


def hls_commands(request: Request, tool: Tool, step: str, steps: str, simulator: str) -> list[Command]:
    """The command lines of a step; for v++, which takes no Tcl, its configuration file is written.

    steps: of hls/tcl/hls.tcl, in order. simulator: the program that co-simulates what v++ has compiled.
    """
    work = request.vendor / step
    values = engine_values(request, work, steps)
    component, config = work / "engine", work / "hls.cfg"
    if tool.kind == "v++":
        context = {name.removeprefix("SBFP_").lower(): value for name, value in values.items()}
        write_text(config, environment().get_template(TEMPLATE.name).render(context))
    mode, target = ["--mode", "hls"], ["--config", str(config), "--work_dir", str(component)]
    lines = {
        "vitis_hls": [[tool.path, "-f", str(SCRIPT)]],
        "vitis-run": [[tool.path, *mode, "--tcl", str(SCRIPT)]],
        "v++": [[tool.path, "-c", *mode, *target]],
    }[tool.kind]
    if tool.kind == "v++" and "cosim" in steps.split():
        lines.append([simulator, *mode, "--cosim", *target])
    logs = [request.vendor / f"{step}.log", request.vendor / f"{step}_simulation.log"]
    seconds = request.options.timeout_s(step)
    return [Command(line, values, work, log, seconds) for line, log in zip(lines, logs)]


def show(commands: list[Command]) -> None:
    """A dry run: write the commands as scripts, and print them."""
    for command in commands:
        command.folder.mkdir(parents=True, exist_ok=True)
        print(f"would run, in {command.folder}, as {write_script(command)}:", " ".join(command.words), sep="\n    ")


def dry_tool(request: Request) -> Tool:
    """The program that a dry run shows: none has to be there."""
    kind = check_wanted(request.options.tool or DRY_TOOL)
    return Tool(kind, kind)


def csynth_digest(request: Request) -> str:
    """Digest of what synthesis depends on: the kernel, however it is commented on, and how the tool is called."""
    kernel = kernel_digest(kernel_headers(request.folder), engine_sources())
    return inputs_digest(request, [SCRIPT, TEMPLATE], "csynth", kernel)


def ip_repository(folder: Path, log: Path) -> Path:
    """Folder of the exported IP, wherever the version puts it below the step's folder. Raises BfpError for none."""
    found = sorted(folder.rglob("component.xml"))
    if not found:
        raise BfpError(f"HLS ended without an exported IP below {folder}; see {log}")
    return found[0].parent


def synthesis_is_current(request: Request) -> bool:
    """Whether ``vendor.json`` has the synthesis of exactly these inputs, and its IP is still there."""
    results = read_results(request.folder)
    if results is None or results.csynth is None or results.csynth.inputs != csynth_digest(request):
        return False
    return any((request.vendor / "csynth").rglob("component.xml"))


def synthesise(request: Request, model: Callable[[], Modelled]) -> Csynth | None:
    """Synthesise and export the engine, unless the same inputs were; returns what the report says, None for a dry run.

    model: the project's own figures, asked for when they are needed. Raises BfpError naming the missing tool, the
    tool's first error and its log, or what the report lacks.
    """
    if request.options.dry_run:
        show(hls_commands(request, dry_tool(request), "csynth", "csynth export", ""))
        return None
    if synthesis_is_current(request):
        return read_results(request.folder).csynth
    tool, work = find_hls(request.options.tool), request.vendor / "csynth"
    figures, digest = model(), csynth_digest(request)
    shutil.rmtree(work, ignore_errors=True)  # nothing of an earlier run may be taken for this one's
    write_results(request.folder, request.name, request.board.name, csynth=None, implementation=None)
    (command,) = hls_commands(request, tool, "csynth", "csynth export", "")
    run(command)
    if csynth_digest(request) != digest:
        raise BfpError(f"the sources of {request.name} were changed while they were synthesised; run the step again")
    path = find_report(work, CSYNTH, "HLS", command.log)
    report = read_csynth(path)
    check_report(report, path, TOP, request.board)
    ip_repository(work, command.log)
    schedules = [read_schedule(path) for path in find_schedules(work, command.log)]
    targets = loop_targets(source for source in engine_sources() if source.parent == HLS)
    loops = with_targets(with_schedules(report.loops, schedules), targets)
    csynth = Csynth(
        inputs=digest,
        tool=tool.label,
        report_version=report.version,
        clock_mhz=request.board.clock_mhz,
        target_ns=report.target_ns,
        estimated_ns=report.estimated_ns,
        uncertainty_ns=report.uncertainty_ns,
        latency=report.latency,
        used=report.used,
        available=report.available,
        model=figures,
        loops=loops,
        missing=missing_loops(loops, targets),
        findings=findings(report, loops, targets, slow_modules(schedules), figures),
    )
    write_results(request.folder, request.name, request.board.name, csynth=csynth)
    return csynth


def accept(request: Request, csynth: Csynth) -> None:
    """Raise BfpError for a synthesis that does not show what it must, unless the build is forced."""
    if csynth.findings and not request.options.force:
        more = f" (and {len(csynth.findings) - 1} more)" if len(csynth.findings) > 1 else ""
        raise BfpError(
            f"synthesis of {request.name} is not what it must be: {csynth.findings[0]}{more}; see "
            f"{request.folder / 'vendor.md'}; force=1 goes on all the same"
        )


def cosim_digest(request: Request) -> str:
    """Digest of what co-simulation depends on: the synthesis', its test bench and the data."""
    benches = sorted([*(HLS / "testbench").glob("*.?pp"), *(HLS / "csim").glob("*.h*")])
    benches += [request.folder / "generated" / name for name in (OWN_HEADER, *BENCH_HEADERS)]
    data = [request.folder / name for name in request.deployment.all_references]
    return inputs_digest(request, [*benches, *(path for path in data if path.is_file())], csynth_digest(request))


def cosimulation_is_current(request: Request) -> bool:
    """Whether ``vendor.json`` has the co-simulation of exactly these inputs."""
    results = read_results(request.folder)
    return results is not None and results.cosim is not None and results.cosim.inputs == cosim_digest(request)


def cosimulate(request: Request, write_golden: Callable[[Path], None]) -> Cosim | None:
    """Simulate the RTL of one image against the golden model, unless the same inputs were; None for a dry run.

    write_golden: writes the golden model's tensors of one image to a file. What hangs is ended at the step's time
    limit. Raises BfpError as ``synthesise`` does, and where the simulation does not pass.
    """
    work = request.vendor / "cosim"
    if request.options.dry_run:
        write_golden(work / "golden.bin")
        show(hls_commands(request, dry_tool(request), "cosim", "csynth cosim", "vitis-run"))
        return None
    if cosimulation_is_current(request):
        return read_results(request.folder).cosim
    tool = find_hls(request.options.tool)
    simulator = find_simulator().path if tool.kind == "v++" else ""
    digest = cosim_digest(request)
    shutil.rmtree(work, ignore_errors=True)
    write_results(request.folder, request.name, request.board.name, cosim=None)
    write_golden(work / "golden.bin")
    commands = hls_commands(request, tool, "cosim", "csynth cosim", simulator)
    for command in commands:
        run(command)
    latency = read_cosim(find_report(work, COSIM, "Co-simulation", commands[-1].log))
    cosim = Cosim(digest, tool.label, request.board.clock_mhz, latency)
    write_results(request.folder, request.name, request.board.name, cosim=cosim)
    return cosim
