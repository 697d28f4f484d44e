"""What a step of the vendor flow is asked to do, and what it works on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bfp.deployment import WEIGHTS, Deployment, read_deployment
from bfp.errors import BfpError
from bfp.files import file_digest, read_file
from bfp.names import COMMAND, printable
from codegen.identity import HLS, engine_sources, kernel_identity
from codegen.performance.board import Board
from codegen.performance.timing import Timing
from codegen.render import KERNEL_HEADERS

TEMPLATE = Path(__file__).resolve().parents[1] / "templates" / "hls.cfg.j2"
TOP = "sbfp_engine"
UNSAFE = re.compile(r"[^A-Za-z0-9_.+@=,~/-]")
PROCESSING_SYSTEM = "zynq_ultra_ps_e"  # whose ports and clocks hls/tcl/vivado.tcl connects
HOURS = {"csynth": 8.0, "cosim": 24.0, "implementation": 24.0}  # after which a step is taken to hang


@dataclass(frozen=True)
class FlowOptions:
    """Options of a step.

    tool: which HLS program; None: the first that is there. dry_run: write and show what would run, run nothing.
    force: implement whatever synthesis showed. strict: refuse a bitstream that misses the timing of its clock, instead
    of a lower clock. minimal: neither artifact nor samples in the package. hours: of each program; None: HOURS. jobs:
    processes of Vivado. rebuild: implement although there is a bitstream of the same kernel.
    """

    tool: str | None = None
    dry_run: bool = False
    force: bool = False
    strict: bool = False
    minimal: bool = False
    hours: float | None = None
    jobs: int = 2
    rebuild: bool = False

    def timeout_s(self, step: str) -> float:
        """Seconds after which a step is taken to hang."""
        return 3600 * (HOURS[step] if self.hours is None else self.hours)


@dataclass(frozen=True)
class Request:
    """A generated network, for a board. folder: what codegen.generate wrote, an absolute path."""

    folder: Path
    board: Board
    deployment: Deployment
    options: FlowOptions

    @property
    def vendor(self) -> Path:
        """Folder of everything that the tools write."""
        return self.folder / "vendor"

    @property
    def deploy(self) -> Path:
        """The package for the board."""
        return self.folder / "deploy"

    @property
    def name(self) -> str:
        """The network's name, or that of several together."""
        return self.deployment.name


def open_request(folder: Path, board: Board, options: FlowOptions = FlowOptions()) -> Request:
    """Check that a folder holds a network that was generated for the board.

    Raises BfpError where it does not, where its sources are not those of its manifest, or where the vendor's tools could
    not take its path.
    """
    folder = Path(folder).resolve()
    check_board(board)
    again = f"run `{COMMAND} codegen board={board.word}`"
    if not (folder / "deploy").is_dir() or not (folder / "generated" / "config.hpp").is_file():
        raise BfpError(f"{folder} holds no generated network; {again} first")
    check_paths(folder, HLS)
    deployment = read_deployment(folder / "deploy", again)
    made_for = f"{deployment.board} at {deployment.clock_mhz:.6g} MHz"
    wanted = f"{board.name} at {board.clock_mhz:.6g} MHz"
    if made_for != wanted:
        raise BfpError(f"{folder} was generated for {made_for}, not for {wanted}; {again}")
    if kernel_identity(kernel_headers(folder), engine_sources()) != deployment.identity:
        raise BfpError(f"the sources in {folder / 'generated'} or {HLS} are not those of its manifest; {again}")
    return Request(folder, board, deployment, options)


def kernel_headers(folder: Path) -> dict[str, str]:
    """The generated headers of the kernel, by name. Raises BfpError where one is missing."""
    paths = [folder / "generated" / name for name in KERNEL_HEADERS]
    return {path.name: read_file(path, "source", f"run `{COMMAND} codegen`").decode("utf-8", "replace") for path in paths}


def check_board(board: Board) -> None:
    """Raise BfpError where the scripts cannot make a design for this board."""
    if board.processing_system != PROCESSING_SYSTEM:
        raise BfpError(
            f"the block design is for Zynq UltraScale+; {board.name} has an {board.part}: draw its own design"
        )
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


def engine_values(request: Request, work: Path, steps: str) -> dict[str, object]:
    """Environment of hls/tcl/hls.tcl, and what fills the configuration file's template."""
    return {
        "SBFP_HLS": HLS,
        "SBFP_GENERATED": request.folder / "generated",
        "SBFP_WORK": work,
        "SBFP_TOP": TOP,
        "SBFP_PART": request.board.part,
        "SBFP_CLOCK_MHZ": request.board.clock_mhz,
        "SBFP_LANES": request.deployment.lanes,
        "SBFP_MEMORY_LATENCY": Timing().memory_latency,
        "SBFP_STEPS": steps,
        "SBFP_WEIGHTS": request.deploy / WEIGHTS,
        "SBFP_GOLDEN": work / "golden.bin",
        "SBFP_RESULT": work / "result.json",
    }


def scripts_digest() -> str:
    """Digest, 16 hexadecimal digits, of the scripts that call the tools and draw the block design, but for comments."""
    digest = hashlib.sha256()
    for path in (*sorted((HLS / "tcl").glob("*.tcl")), TEMPLATE):
        lines = read_file(path, "script", "install the project again").decode().splitlines()
        code = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        digest.update("\n".join([path.name, *code, ""]).encode())
    return digest.hexdigest()[:16]


def inputs_digest(request: Request, files: Iterable[Path], *values: object) -> str:
    """SHA-256 of what a step depends on: files, board, and other values. The same digest: nothing is to be done."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {file_digest(path, 'source', 'generate it again')}\n".encode())
    digest.update(repr((request.board, request.options.tool, *values)).encode())
    return digest.hexdigest()
