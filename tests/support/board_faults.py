"""Each fault of the simulated board: provoked, observed, and written into the table of docs/board-faults.md.

    python tests/support/board_faults.py        writes the table again (with tests/ and the root on the path)
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pynq

from bfp.errors import BfpError
from host import hwh
from host.driver import Accelerator
from host.faults import Faults
from host.simulated_board import SimulatedBoard
from support import toy_board as toy

DOCUMENT = Path(__file__).parents[2] / "docs" / "board-faults.md"
TIMEOUT_S = 0.1
HOLDER = "import fcntl, os, sys; h = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(h, fcntl.LOCK_EX); \
os.write(h, b'process 4711, network other\\n'); print(flush=True); sys.stdin.read()"


@dataclass(frozen=True)
class Case:
    """A fault. what: it is. faults: of the board. later: those that begin once the accelerator is open. act: besides,
    on the board, before the run. locked: another process has the device. works: the answer is right all the same."""

    what: str
    faults: Faults = Faults()
    later: Faults | None = None
    act: Callable[[SimulatedBoard], object] | None = None
    locked: bool = False
    works: bool = False


def _overlay(board: SimulatedBoard) -> None:
    pynq.Overlay(str(board.bitfile), device=board)


def _address(board: SimulatedBoard) -> None:
    offset = next(offset for name, offset, _, _ in hwh.registers() if name == "fmap_in_1")
    board.write_registers(hwh.BASE_ADDRESS + offset, bytes(4))


HANGS = Faults(never_finishes=True)
CASES = (
    Case("the engine never finishes", HANGS),
    Case("the engine finishes after the time limit", Faults(finishes_late_s=3 * TIMEOUT_S)),
    Case("the engine never finishes, and the bitstream cannot be loaded again", replace(HANGS, fails_load=1)),
    Case("the kernel has another identity", Faults(identity=0xFEED)),
    Case("another kernel is there once it is open", later=Faults(identity=0xFEED), act=_overlay),
    Case("results do not reach the memory", Faults(writes_elsewhere=True)),
    Case("a flush has no effect", Faults(drops_flush=True)),
    Case("a flush has no effect any more, once it is open", later=Faults(drops_flush=True)),
    Case("an invalidation has no effect", Faults(drops_invalidate=True)),
    Case("an invalidation has no effect any more, once it is open", later=Faults(drops_invalidate=True)),
    Case("the interrupt is lost", Faults(loses_interrupt=True, finishes_late_s=TIMEOUT_S / 2), works=True),
    Case("the first allocation fails", Faults(fails_allocation=0)),
    Case("the second allocation fails", Faults(fails_allocation=1)),
    Case("the third allocation fails", Faults(fails_allocation=2)),
    Case("the bitstream cannot be loaded", Faults(fails_load=0)),
    Case("the clock is another than asked for", Faults(clock_mhz=100)),
    Case("another process has the device", locked=True),
    Case("another program loads a bitstream", act=_overlay),
    Case("another program changes an address", act=_address),
)


@dataclass(frozen=True)
class Observed:
    """What a user sees of a fault. opening, running, again, closing: the sentence of each step, "" where there is none.
    again: of a second run, on the same board without the fault. answers: whether each result that came was right.
    leaked: buffers that were left. usable: whether an accelerator opened afterwards, without the fault, is right.
    seconds: all of it."""

    opening: str
    running: str
    again: str
    closing: str
    warned: str
    answers: tuple[bool, ...]
    leaked: int
    usable: bool
    seconds: float


def observe(case: Case, library: Path, folder: Path) -> Observed:
    """Provoke a fault on a board of its own, with the toy's network."""
    deploy = toy.write(folder / "deploy")
    lock = folder / "board.lock"
    board = SimulatedBoard(library, deploy, timeout_s=TIMEOUT_S, faults=case.faults, lock_file=lock)
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as caught, _holder(lock if case.locked else None):
        warnings.simplefilter("always")
        sentences, answers = _use(case, board, deploy)
    leaked = len(board._memories)
    board.faults = Faults()
    with Accelerator(deploy, device=board) as accelerator:
        usable = _right(accelerator)
    warned = " ".join(str(w.message) for w in caught if issubclass(w.category, RuntimeWarning))
    return Observed(*sentences, warned, tuple(answers), leaked, usable, time.monotonic() - started)


def _use(case: Case, board: SimulatedBoard, deploy: Path) -> tuple[list[str], list[bool]]:
    """Open, run, run again without the fault, close: the sentence of each, and the answers."""
    answers: list[bool] = []
    accelerator = None

    def opening():
        nonlocal accelerator
        accelerator = Accelerator(deploy, device=board)

    def running():
        board.faults = case.later or board.faults
        if case.act:
            case.act(board)
        answers.append(_right(accelerator))

    def again():
        if case.faults.fails_load is None:
            board.faults = Faults()
        answers.append(_right(accelerator))

    sentences = [_sentence(opening)]
    if accelerator is None:
        return [*sentences, "", "", ""], answers
    sentences += [_sentence(step) for step in (running, again, accelerator.close)]
    return sentences, answers


def _sentence(step: Callable[[], object]) -> str:
    try:
        step()
    except BfpError as error:
        return str(error)
    return ""


def _right(accelerator: Accelerator) -> bool:
    """Whether a run gives the right answer."""
    x = np.random.default_rng(5).integers(-30, 31, (toy.CHANNELS, toy.HEIGHT, toy.WIDTH)).astype(np.int16)
    result = accelerator.run_mantissas(x)
    scale = np.array([2.0**-4, 2.0**-3, 2.0**-3]).reshape(3, 1, 1)
    return bool(np.array_equal(result, ((2 * x + toy.weight_values()) * scale).reshape(-1) * 0.75 + 0.375))


class _holder:
    """Another process that has the device, for as long as the block lasts; none where there is no lock file."""

    def __init__(self, lock: Path | None):
        self._lock = lock

    def __enter__(self) -> None:
        if self._lock is not None:
            words = [sys.executable, "-c", HOLDER, str(self._lock)]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._process.communicate()
            with suppress(OSError):
                self._lock.unlink()


def table(library: Path, folder: Path) -> str:
    """The table of the documentation."""
    lines = ["| fault | what is said | and then, without the fault |", "|---|---|---|"]
    for number, case in enumerate(CASES):
        place = folder / f"case{number}"
        place.mkdir()
        lines.append(row(case, observe(case, library, place), folder))
    return "\n".join(lines) + "\n"


def row(case: Case, seen: Observed, folder: Path) -> str:
    """One fault's line: the sentences, and what works afterwards."""
    said = [f"{when}: {text}" for when, text in (("open", seen.opening), ("run", seen.running)) if text]
    if seen.warned:
        said.append(f"run: right answer; warning: {seen.warned}")
    if seen.opening:
        then = "it can be opened"
    elif seen.again:
        closed = f"<br>close: {seen.closing}" if seen.closing else ""
        then = f"run: {seen.again}{closed}<br>it can be opened again"
    else:
        then = "the next run gives the right answer"
    return f"| {case.what} | {_plain('<br>'.join(said), folder)} | {_plain(then, folder)} |"


def _plain(text: str, folder: Path) -> str:
    """Without what differs from one run to the next."""
    text = re.sub(rf"{re.escape(str(folder))}/case\d+/(deploy/simulated/)?", "", text)
    return re.sub(r"0x8[0-9a-f]{8}", "0x8...", text).replace("|", "\\|")


def written() -> str:
    """The table as the documentation has it."""
    return "".join(line + "\n" for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("|"))


def main() -> None:
    """Write the table into the documentation, in the place of the one that is there."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = table(toy.compile_engine(Path(folder)), Path(folder))
    text = DOCUMENT.read_text(encoding="utf-8")
    before = text[: text.index("|")]
    DOCUMENT.write_text(before + fresh + text[text.rindex("|\n") + 2 :], encoding="utf-8")


if __name__ == "__main__":
    main()
