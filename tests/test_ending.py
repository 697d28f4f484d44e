"""Interrupted commands: the engine stopped, memory free, the usual exit status, no traceback; a check of nothing."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support import toy_board as toy
from support.boards import BOARD
from support.driven import board, deploy, library, random_mantissas
from support.random_graphs import random_artifact

from bfp.errors import BfpError
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine
from host.check import check
from host.driver import Accelerator
from host.ending import later_signals, run_to_the_end
from host.simulated_board import SimulatedBoard

# the command line on a board whose engine hangs; what is left of it is said at the very end
COMMAND = """
import sys
from host import __main__ as command, simulated_board
from host.faults import Faults
made = []
class Board(simulated_board.SimulatedBoard):
    def __init__(self, library, deploy):
        super().__init__(library, deploy, faults=Faults(never_finishes=True))
        made.append(self)
    def download(self, *words):
        super().download(*words)
        print("loaded", self.loads, flush=True)
    def _start(self):
        super()._start()
        if self._registers.get("layer_end"):
            print("running", flush=True)
simulated_board.SimulatedBoard = Board
status = command.main(["classify", sys.argv[2], sys.argv[3], "--simulate", sys.argv[1]])
print("left", len(made[0]._memories), made[0]._job is None, flush=True)
sys.exit(status)
"""


@pytest.fixture(autouse=True)
def signals_as_at_a_terminal():
    """Whatever ignores them where the suite was started, as nohup does; processes would inherit that."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    inherited = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in inherited.items():
        signal.signal(number, handler)


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    path = tmp_path / "picture.png"
    Image.fromarray(np.zeros((toy.HEIGHT, toy.WIDTH, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("number, word", [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")])
def test_an_interrupted_command_stops_the_engine_and_frees_its_memory(library, deploy, picture, number, word):
    words = [sys.executable, "-c", COMMAND, str(library), str(deploy), str(picture)]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as ending:
        process = ending.enter_context(subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=Path(__file__).parents[1]))
        ending.callback(process.kill)  # what does not end fails, and does not hang
        assert [process.stdout.readline() for _ in range(2)] == ["loaded 1\n", "running\n"]
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)  # an impatient user: closing is not left half done
        out, error = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert out.splitlines() == ["loaded 2", "left 0 True"]
    assert error.splitlines() == [f"{word}: the engine is stopped and its memory is free"]


def test_a_second_signal_does_not_end_the_closing():
    """However early it comes: before anything that is freed has asked for signals to wait."""
    closed = []

    def work():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            closed.append(True)

    assert run_to_the_end(work) == 128 + signal.SIGINT and closed


def test_a_later_signal_acts_where_the_first_was_swallowed(monkeypatch):
    monkeypatch.setattr("host.ending.CLOSING_S", -1)

    def work():
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        return 0

    assert run_to_the_end(work) == 128 + signal.SIGTERM


def test_signals_wait_while_buffers_are_freed():
    seen = []
    with pytest.raises(KeyboardInterrupt):
        with later_signals():
            signal.raise_signal(signal.SIGINT)
            seen.append("freed")
    assert seen == ["freed"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_have_no_signals():
    answers = []

    def work():
        with later_signals():
            answers.append(run_to_the_end(lambda: 3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_handlers_are_as_before(number):
    before = signal.getsignal(number)
    assert run_to_the_end(lambda: 0) == 0 and signal.getsignal(number) is before
    assert run_to_the_end(lambda: signal.raise_signal(number)) == 128 + number
    assert signal.getsignal(number) is before
    try:
        signal.signal(number, signal.SIG_IGN)  # as nohup and shells without job control do
        assert run_to_the_end(lambda: signal.raise_signal(number) or 5) == 5 and signal.getsignal(number) == signal.SIG_IGN
        with later_signals():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_an_interrupt_waits_for_the_end_of_an_import(tmp_path, monkeypatch, capsys):
    """Compiled modules swallow what is raised while they are imported, as this one does."""
    (tmp_path / "swallowing.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    pass\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        import swallowing

        assert swallowing.whole
        time.sleep(30)

    started = time.monotonic()
    assert run_to_the_end(work) == 130 and time.monotonic() - started < 10
    assert capsys.readouterr().err.startswith("interrupted") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_an_interrupt_that_became_another_error_is_one():
    def work():
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            raise BfpError("PYNQ is not installed") from None

    assert run_to_the_end(work) == 130

    def fails():
        raise BfpError("by itself")

    with pytest.raises(BfpError, match="by itself"):
        run_to_the_end(fails)


def test_a_program_that_ends_without_closing_stops_the_engine(library, deploy):
    code = (
        "import sys; from host.driver import Accelerator; from host.faults import Faults\n"
        "from host.simulated_board import SimulatedBoard\n"
        "class Board(SimulatedBoard):\n"
        "    def download(self, *words):\n"
        "        super().download(*words); print('loaded', self.loads, flush=True)\n"
        "board = Board(sys.argv[1], sys.argv[2], timeout_s=0.1, faults=Faults(never_finishes=True))\n"
        "import numpy\n"
        f"image = numpy.zeros(({toy.CHANNELS}, {toy.HEIGHT}, {toy.WIDTH}), numpy.float32)\n"
        "Accelerator(sys.argv[2], device=board).run(image)\n"
    )
    words = [sys.executable, "-c", code, str(library), str(deploy)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60)
    assert done.returncode == 1 and "did not finish within" in done.stderr
    assert done.stdout.splitlines() == ["loaded 1", "loaded 2"]


def test_a_check_of_nothing_is_no_success(tmp_path):
    artifact = random_artifact(0, lanes=16)
    generate([artifact], EngineOptions(), BOARD, tmp_path)
    _, compiled = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O0",))
    with Accelerator(tmp_path / "deploy", device=SimulatedBoard(compiled, tmp_path / "deploy")) as accelerator:
        shape = accelerator.deployment.tensor(accelerator.deployment.input.tensor).shape
        with pytest.raises(BfpError, match="nothing was compared"):
            check(accelerator, artifact, np.zeros((0, *shape), np.float32))
        assert check(accelerator, artifact, np.zeros((1, *shape), np.float32))["values_compared"] > 0
