"""The engine's interrupt: waited for where the system gives it, and not needed where it does not come."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pynq.interrupt
import pytest
from support import toy_board as toy
from support.driven import board, deploy, library, random_mantissas

from host import engine, hwh
from host.driver import Accelerator
from host.faults import Faults, SimulatedInterrupt
from host.handoff import read_handoff
from host.interrupt import UioInterrupt, open_interrupt
from host.simulated_board import SimulatedBoard

LATE_S = 0.1


@pytest.fixture
def late(library, deploy):
    """A board whose engine takes its time."""
    return SimulatedBoard(library, deploy, faults=Faults(finishes_late_s=LATE_S))


def looks(monkeypatch):
    """Counts how often the control register is looked at by whoever waits."""
    count = [0]
    real = engine.Engine.finished

    def counted(self):
        count[0] += 1
        return real(self)

    monkeypatch.setattr(engine.Engine, "finished", counted)
    return count


def test_a_run_waits_for_the_interrupt_and_hardly_looks(late, deploy, monkeypatch):
    with Accelerator(deploy, device=late) as accelerator:
        count = looks(monkeypatch)
        for seed in range(3):
            accelerator.run_mantissas(random_mantissas(seed))
        # once before, once after, and once whenever an interrupt would be lost
        assert count[0] <= 3 * (3 + LATE_S / engine.LOST_S)
        assert late._interrupt is not None and not late._interrupt.closed
    assert late._interrupt.closed


def test_the_interrupt_comes_when_the_engine_ends(late, deploy, monkeypatch):
    """Not only when a lost one is looked for."""
    monkeypatch.setattr(engine, "LOST_S", 60.0)
    with Accelerator(deploy, device=late) as accelerator:
        started = time.monotonic()
        first = accelerator.run_mantissas(random_mantissas())
        np.testing.assert_array_equal(accelerator.run_mantissas(random_mantissas()), first)
        assert 2 * LATE_S <= time.monotonic() - started < 30


def test_no_warning_where_interrupts_come(late, deploy):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with Accelerator(deploy, device=late) as accelerator:
            for seed in range(3):
                accelerator.run_mantissas(random_mantissas(seed))


def test_a_lost_interrupt_is_told_once_and_then_polled(library, deploy):
    board = SimulatedBoard(library, deploy, faults=Faults(finishes_late_s=0.05, loses_interrupt=True))
    with pytest.warns(RuntimeWarning, match="ended without its interrupt, so it is polled from now on"):
        accelerator = Accelerator(deploy, device=board)
        first = accelerator.run_mantissas(random_mantissas())
    with accelerator, warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(accelerator.run_mantissas(random_mantissas()), first)


def test_an_interrupt_that_comes_just_after_the_time_is_no_lost_one():
    line = SimulatedInterrupt(loses=False)
    line.arm()

    class Late(threading.Event):
        """Waits in vain, and is set before whoever waits has done anything else."""

        def wait(self, timeout=None):
            came = super().wait(timeout)
            line.level(True)
            return came

    line._came = Late()
    assert line.wait(0) is False
    assert line.wait(0) is True


def test_polling_makes_no_run_much_longer(monkeypatch):
    """Looks are apart by a share of the time that has passed, and by a millisecond at most."""
    now, pauses = [0.0], []

    def sleep(seconds):
        pauses.append((now[0], seconds))
        now[0] += seconds

    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    polled = engine.Engine(SimpleNamespace(read=lambda offset: engine.AP_START), dict.fromkeys(["CTRL"], 0))
    assert polled.wait(0.5) is False and now[0] == pytest.approx(0.5)
    assert all(20e-6 <= seconds <= max(20e-6, passed / 16) + 1e-12 for passed, seconds in pauses[:-1])
    assert max(seconds for _, seconds in pauses) == 1e-3


def test_a_handoff_without_the_wire_is_polled(board, deploy):
    handoff = board.bitfile.with_suffix(".hwh")
    text = handoff.read_text().replace('NAME="interrupt"', 'NAME="other"', 1).replace('PORT="interrupt"', 'PORT="other"')
    handoff.write_text(text)
    assert read_handoff(handoff, "sbfp_engine_0").interrupt is None
    with Accelerator(deploy, device=board) as accelerator:
        accelerator.run_mantissas(random_mantissas())
    assert board._interrupt is None


def test_after_a_reload_interrupts_come_again(library, deploy, monkeypatch):
    monkeypatch.setattr(engine, "LOST_S", 60.0)
    board = SimulatedBoard(library, deploy, timeout_s=0.2, faults=Faults(never_finishes=True))
    with Accelerator(deploy, device=board) as accelerator:
        with pytest.raises(Exception, match="did not finish"):
            accelerator.run_mantissas(random_mantissas())
        accelerator.timeout_s = 30
        board.faults = Faults(finishes_late_s=LATE_S)
        started = time.monotonic()
        accelerator.run_mantissas(random_mantissas())
        assert board.loads == 2 and time.monotonic() - started < 10


# Linux's side


def test_a_uio_device_is_armed_waited_for_and_closed():
    ours, theirs = socket.socketpair()
    line = UioInterrupt(os.dup(ours.fileno()))
    ours.close()
    assert line.wait(0.01) is False
    line.arm()
    assert struct.unpack("=i", theirs.recv(4)) == (1,)
    threading.Timer(0.05, lambda: theirs.send(struct.pack("=i", 1))).start()
    assert line.wait(10) is True and line.wait(0) is False
    assert line.fileno() >= 0
    line.close()
    line.close()
    assert theirs.recv(4) == b""
    theirs.close()


def test_pynq_says_which_device_a_line_has(monkeypatch, tmp_path):
    device = tmp_path / "uio4"
    device.write_bytes(b"")
    asked = []
    monkeypatch.setattr(pynq.interrupt, "get_uio_irq", lambda number: asked.append(number) or str(device))
    line = open_interrupt(121, None)
    assert asked == [121] and isinstance(line, UioInterrupt)
    line.close()
    for found in (None, str(tmp_path / "none")):
        monkeypatch.setattr(pynq.interrupt, "get_uio_irq", lambda number: found)
        assert open_interrupt(121, None) is None
    assert open_interrupt(None, None) is None
