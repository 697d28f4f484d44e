"""From generated sources to a bitstream, with the vendor's tools where they are installed.

    OUT/vendor/hls/       HLS project and exported IP
    OUT/vendor/vivado/    Vivado project
    OUT/vendor/*.log      everything the tools said
    OUT/deploy/NAME.bit   bitstream
    OUT/deploy/NAME.hwh   hardware handoff, under the same name
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bfp.deployment import WEIGHTS, Deployment, add_files, read_deployment
from bfp.errors import BfpError
from bfp.files import copy_file, write_text
from bfp.names import printable
from codegen.performance.board import Board
from codegen.performance.timing import Timing
from codegen.render import environment

HLS = Path(__file__).resolve().parents[2] / "hls"
STEPS = ("csim", "csynth", "export")
UNSAFE = re.compile(r"[^A-Za-z0-9_.+@=,~/-]")
PROCESSING_SYSTEM = "zynq_ultra_ps_e"  # whose ports and clocks hls/tcl/vivado.tcl connects


@dataclass(frozen=True)
class Tool:
    """A program found on PATH; kind is its name."""

    kind: str
    path: str


def find_hls() -> Tool:
    """The HLS compiler on PATH: vitis_hls (to 2024.2), vitis-run (from 2023.1), or v++ alone.

    Versions overlap, so the programs are probed and no version is parsed.
    """
    return _find(("vitis_hls", "vitis-run", "v++"), "Vitis HLS")


def find_vivado() -> Tool:
    """Vivado on PATH."""
    return _find(("vivado",), "Vivado")


def _find(programs: tuple[str, ...], what: str) -> Tool:
    for program in programs:
        path = shutil.which(program)
        if path:
            return Tool(program, path)
    raise BfpError(
        f"{what} is not installed or not on PATH (looked for {', '.join(programs)}); "
        "install Vitis and source its settings64.sh, or use the simulated board"
    )


def run_hls(network_dir: Path, board: Board, steps: tuple[str, ...] = ("csynth", "export")) -> Path:
    """Run HLS steps (of csim, csynth, export) on a network's generated sources; returns the HLS folder.

    csim takes the golden file of `doit csim`. Raises BfpError naming the
    missing tool or file, or the tool's first error and its log.
    """
    network_dir = Path(network_dir).resolve()
    _check_board(board)
    deployment = _deployment(network_dir, board)
    for step in steps:
        if step not in STEPS:
            raise BfpError(f"HLS step {step!r} is unknown; choose from {', '.join(STEPS)}")
    tool = find_hls()
    work = network_dir / "vendor" / "hls"
    golden = network_dir / "csim" / "golden.bin"
    if "csim" in steps:
        if tool.kind == "v++":
            raise BfpError("v++ alone has no C simulation; put vitis_hls or vitis-run on PATH, or use `doit csim`")
        if not golden.is_file():
            raise BfpError(f"{golden} does not exist; run `doit csim` first")
    work.mkdir(parents=True, exist_ok=True)
    if "export" in steps:  # an IP of an earlier run must not be taken for this one's
        for old in work.rglob("component.xml"):
            old.unlink()
    values = {
        "SBFP_HLS": HLS,
        "SBFP_GENERATED": network_dir / "generated",
        "SBFP_WORK": work,
        "SBFP_PART": board.part,
        "SBFP_CLOCK_MHZ": board.clock_mhz,
        "SBFP_LANES": deployment.lanes,
        "SBFP_MEMORY_LATENCY": Timing().memory_latency,
        "SBFP_STEPS": " ".join(steps),
        "SBFP_WEIGHTS": network_dir / "deploy" / WEIGHTS,
        "SBFP_GOLDEN": golden,
        "SBFP_RESULT": work / "csim.json",
    }
    _run(_hls_command(tool, values), values, work, network_dir / "vendor" / "hls.log")
    return work


def _hls_command(tool: Tool, values: dict[str, object]) -> list[str]:
    """The command line of an HLS compiler; writes the configuration file of the one that takes no Tcl."""
    script, work = str(HLS / "tcl" / "hls.tcl"), values["SBFP_WORK"]
    commands = {
        "vitis_hls": ["-f", script],
        "vitis-run": ["--mode", "hls", "--tcl", script],
        "v++": ["-c", "--mode", "hls", "--config", f"{work}/hls.cfg", "--work_dir", f"{work}/engine"],
    }
    if tool.kind == "v++":
        context = {name.removeprefix("SBFP_").lower(): value for name, value in values.items()}
        write_text(Path(f"{work}/hls.cfg"), environment().get_template("hls.cfg.j2").render(context))
    return [tool.path, *commands[tool.kind]]


def ip_repository(hls_dir: Path) -> Path:
    """Folder of the IP that the export left below the HLS folder; where exactly differs by version."""
    found = sorted(hls_dir.rglob("component.xml"))
    if not found:
        raise BfpError(f"HLS ended without an exported IP below {hls_dir}; see {hls_dir.parent / 'hls.log'}")
    return found[0].parent


def build_bitstream(network_dir: Path, board: Board, jobs: int = 2) -> tuple[Path, Path]:
    """HLS synthesis, block design, bitstream; returns NAME.bit and NAME.hwh, side by side in OUT/deploy.

    network_dir is the folder that codegen.generate wrote, for this board. jobs:
    processes of Vivado. Raises BfpError before anything runs if a tool or file is
    missing, and afterwards with the tool's first error and its log.
    """
    network_dir = Path(network_dir).resolve()
    _check_board(board)
    deployment = _deployment(network_dir, board)
    find_hls()
    vivado = find_vivado()
    repository = ip_repository(run_hls(network_dir, board))
    vendor, deploy = network_dir / "vendor", network_dir / "deploy"
    out = vendor / "out"
    shutil.rmtree(out, ignore_errors=True)
    name = deployment.network
    values = {
        "SBFP_WORK": vendor,
        "SBFP_OUT": out,
        "SBFP_NAME": name,
        "SBFP_IP_REPO": repository,
        "SBFP_IP": deployment.ip,
        "SBFP_PART": board.part,
        "SBFP_BOARD_PART": board.board_part,
        "SBFP_BOARD_CONNECTIONS": board.board_connections,
        "SBFP_PROCESSING_SYSTEM": board.processing_system,
        "SBFP_MEMORY_PORTS": board.memory_ports,
        "SBFP_MEMORY_PORT_BITS": board.memory_port_bits,
        "SBFP_CLOCK_MHZ": board.clock_mhz,
        "SBFP_JOBS": jobs,
    }
    script = HLS / "tcl" / "vivado.tcl"
    command = [vivado.path, "-mode", "batch", "-nojournal", "-nolog", "-notrace", "-source", str(script)]
    _run(command, values, vendor, vendor / "vivado.log")
    files = [out / f"{name}.bit", out / f"{name}.hwh"]
    for path in files:
        if not path.is_file():
            raise BfpError(f"Vivado ended without {path}; see {vendor / 'vivado.log'}")
    _check_handoff(files[1], deployment.ip)
    for path in files:
        copy_file(path, deploy / path.name)
    add_files(deploy, [path.name for path in files])
    return deploy / files[0].name, deploy / files[1].name


def _check_board(board: Board) -> None:
    """Raise BfpError where the scripts cannot make a design for this board."""
    if board.processing_system != PROCESSING_SYSTEM:
        raise BfpError(f"the block design is for Zynq UltraScale+; {board.name} has an {board.part}: draw its own design")
    if not 10 <= board.clock_mhz <= 600:
        raise BfpError(f"a clock of {board.clock_mhz:g} MHz is out of range; choose 10 to 600")


def check_paths(*paths: Path) -> None:
    """Raise BfpError for a path that the vendor's tools would take apart.

    They split flags at spaces, hand them to make and a shell, and read a configuration file line by line.
    """
    for path in paths:
        stray = UNSAFE.search(str(path))
        if stray:
            raise BfpError(
                f"the vendor's tools cannot take {stray[0]!r} in the path {printable(str(path))}; "
                "move it where folders are named by letters, digits and any of _ . + @ = , ~ -"
            )


def _deployment(network_dir: Path, board: Board) -> Deployment:
    """The deployment of a generated network. Raises BfpError where there is none, or one of another board."""
    again = f"run `doit codegen board={board.word}`"
    if not (network_dir / "deploy").is_dir() or not (network_dir / "generated" / "config.hpp").is_file():
        raise BfpError(f"{network_dir} holds no generated network; {again} first")
    check_paths(network_dir, HLS)
    deployment = read_deployment(network_dir / "deploy", again)
    made_for = f"{deployment.board} at {deployment.clock_mhz} MHz"
    wanted = f"{board.name} at {board.clock_mhz} MHz"
    if made_for != wanted:
        raise BfpError(f"{network_dir} was generated for {made_for}, not for {wanted}; {again}")
    return deployment


def _check_handoff(path: Path, ip: str) -> None:
    try:
        instances = [m.get("INSTANCE") for m in ElementTree.parse(path).iter("MODULE")]
    except ElementTree.ParseError as error:
        raise BfpError(f"{path} is no hardware handoff ({error}); see vivado.log") from None
    if ip not in instances:
        raise BfpError(f"{path} has no IP {ip!r}, so the driver could not find the engine")


def _run(command: list[str], values: dict[str, object], folder: Path, log: Path) -> None:
    """Run a tool with the values in its environment and its output in a log; shows the time on stderr."""
    log.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    name = Path(command[0]).name
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **{k: str(v) for k, v in values.items()}},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                print(f"\r{name}: {time.monotonic() - started:.0f} s, log {log}", end="", file=sys.stderr, flush=True)
                try:
                    status = process.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    pass
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            print(file=sys.stderr)
    if status:
        text = log.read_text(errors="replace")
        first = next((line for line in text.splitlines() if line.startswith(("ERROR", "CRITICAL ERROR"))), "no message")
        raise BfpError(f"{name} failed with status {status}: {first.strip()}; the log is {log}")
