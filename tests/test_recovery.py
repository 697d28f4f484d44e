"""After a run that took too long: what is said, and that the accelerator goes on without a restart."""

from __future__ import annotations

import time

import numpy as np
import pytest
from support import toy_board as toy
from support.driven import deploy, library, random_mantissas

from bfp import layout
from bfp.errors import BfpError
from host.driver import Accelerator
from host.faults import Faults
from host.simulated_board import SimulatedBoard


@pytest.fixture
def hanging(tmp_path, deploy):
    """A board whose engine stands in its first layer until the library's `stop` is set."""
    library = toy.compile_engine(tmp_path, "hanging", hang=True)
    yield SimulatedBoard(library, deploy, timeout_s=0.1), toy.counter(library, "stop")
    toy.counter(library, "stop").value = 1


def test_the_message_says_where_the_engine_stands(hanging, deploy):
    board, _ = hanging
    with Accelerator(deploy, device=board) as accelerator:  # the identity is read without running a layer
        started = time.monotonic()
        with pytest.raises(BfpError) as error:
            accelerator.run_mantissas(random_mantissas())
        assert time.monotonic() - started < 5
        arena, weights = accelerator._arena.device_address, accelerator._opened.weights.device_address
    for words in (
        "layers 0 to 2 of toy did not finish within 0.1 s",
        "the engine stands in layer 0 (layer 0)",
        "control 0x1,",
        "clock 249.998 MHz of 250 MHz",
        f"weights {weights:#x}, fmap_in {arena:#x}, fmap_shortcut {arena:#x}, fmap_out {arena:#x}",
        "check the memory ports of the block design and the clock, or allow more time",
    ):
        assert words in str(error.value)
    assert not board._memories


def test_a_trace_says_which_layer(hanging, deploy):
    board, _ = hanging
    with Accelerator(deploy, device=board) as accelerator:
        with pytest.raises(BfpError, match="layers 0 to 1 of toy did not finish.*stands in layer 0"):
            dict(accelerator.trace_mantissas(random_mantissas()))


def test_an_engine_without_a_clock_has_begun_no_layer(library, deploy, monkeypatch):
    board = SimulatedBoard(library, deploy, timeout_s=0.1)
    with Accelerator(deploy, device=board) as accelerator:
        monkeypatch.setattr(board, "_start", lambda: setattr(board, "_control", 1))
        with pytest.raises(BfpError, match="has begun no layer; .*; check that clock and reset of the programmable"):
            accelerator.run_mantissas(random_mantissas())


def test_an_engine_that_ended_late_is_not_loaded_again(library, deploy):
    board = SimulatedBoard(library, deploy, timeout_s=0.1, faults=Faults(finishes_late_s=0.3))
    with Accelerator(deploy, device=board) as accelerator:
        with pytest.raises(BfpError, match="did not finish"):
            accelerator.run_mantissas(random_mantissas())
        board.faults = Faults()
        time.sleep(0.4)
        first = accelerator.run_mantissas(random_mantissas(1))
        np.testing.assert_array_equal(accelerator.run_mantissas(random_mantissas(1)), first)
        assert board.loads == 1


def test_what_a_late_engine_still_writes_is_not_taken_for_the_next_result(library, deploy, monkeypatch):
    board = SimulatedBoard(library, deploy, timeout_s=0.1, faults=Faults(finishes_late_s=0.2))
    with Accelerator(deploy, device=board) as accelerator:
        stale = accelerator.tensor("last")
        with pytest.raises(BfpError, match="did not finish"):
            accelerator.run_mantissas(random_mantissas())
        board.faults = Faults(writes_elsewhere=True)
        board._job.join()
        real, memory = accelerator._board._recover, board._memories[accelerator._arena.device_address]

        def late() -> None:
            last = accelerator.deployment.tensor("last")
            layout.pack(last, stale, memory.data.reshape(-1, accelerator.deployment.lanes))
            real()

        monkeypatch.setattr(accelerator._board, "_recover", late)
        with pytest.raises(BfpError, match="did not write its result"):
            accelerator.run_mantissas(random_mantissas())


def test_an_engine_that_hangs_is_loaded_again_by_the_next_run(library, deploy):
    board = SimulatedBoard(library, deploy, timeout_s=0.1, faults=Faults(never_finishes=True))
    with Accelerator(deploy, device=board) as accelerator:
        for loads in (1, 2, 3):
            with pytest.raises(BfpError, match="did not finish"):
                accelerator.run_mantissas(random_mantissas(3))
            assert board.loads == loads and len(board._memories) == 3
        board.faults = Faults()
        accelerator.run_mantissas(random_mantissas(1))
        assert board.loads == 4
    assert not board._memories and board.loads == 4


def test_closing_stops_an_engine_that_hangs(hanging, deploy):
    """Its memory is given away: what it writes later must not be seen."""
    board, stop = hanging
    accelerator = Accelerator(deploy, device=board)
    with pytest.raises(BfpError, match="did not finish"):
        accelerator.run_mantissas(random_mantissas())
    accelerator.close()
    assert board.loads == 2 and board._job is None and not board._memories


@pytest.mark.parametrize("again", [False, True])
def test_where_loading_fails_the_clock_is_stopped_and_nothing_is_leaked(library, deploy, again):
    board = SimulatedBoard(library, deploy, timeout_s=0.1, faults=Faults(never_finishes=True, fails_load=1))
    accelerator = Accelerator(deploy, device=board)
    with pytest.raises(BfpError, match="did not finish within"):
        accelerator.run_mantissas(random_mantissas())
    if again:
        with pytest.raises(BfpError, match="cannot be loaded again .*FPGA manager.*; close the accelerator"):
            accelerator.run_mantissas(random_mantissas())
    with pytest.raises(BfpError, match="its clock is stopped, and its buffers are free"):
        accelerator.close()
    assert not board._memories and board._job is None
    accelerator.close()
    board.faults = Faults()
    with Accelerator(deploy, device=board) as opened:
        opened.run_mantissas(random_mantissas())


def test_the_first_error_is_the_one_that_is_seen(library, deploy):
    board = SimulatedBoard(library, deploy, timeout_s=0.1, faults=Faults(never_finishes=True, fails_load=1))
    warned = pytest.warns(RuntimeWarning, match="its buffers are free")
    with warned, pytest.raises(BfpError, match="did not finish within"):
        with Accelerator(deploy, device=board) as accelerator:
            accelerator.run_mantissas(random_mantissas())
    assert not board._memories
