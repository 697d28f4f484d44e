"""A simulated board whose engine has its result at once, and says that it has ended when its time is over."""

from __future__ import annotations

import time

from host.engine_thread import Job
from host.faults import SimulatedInterrupt
from host.simulated_board import SimulatedBoard


class WaitingBoard(SimulatedBoard):
    """latency_s: from the start of a run of layers to its end, seconds."""

    latency_s = 0.0
    _ends_at: float = 0.0
    _running: tuple[Job, int | None] | None = None

    def _begin(self, job: Job) -> None:
        self._running = (job, job.work())
        self._ends_at = time.monotonic() + self.latency_s

    def read_registers(self, address: int, length: int) -> bytes:
        self.catch_up()
        return super().read_registers(address, length)

    def open_interrupt(self, number: int) -> SimulatedInterrupt:
        self._interrupt = _Alarm(self)
        return self._interrupt

    def left_s(self) -> float:
        """Seconds to the end of the run."""
        return self._ends_at - time.monotonic()

    def catch_up(self) -> None:
        """Let the run have ended where its time is over."""
        if self._running is not None and self.left_s() <= 0:
            (job, identity), self._running = self._running, None
            job.end(job, identity)


class _Alarm(SimulatedInterrupt):
    """Comes when the run ends; who waits for it is woken by the system, as by an interrupt."""

    def __init__(self, board: WaitingBoard):
        super().__init__(loses=False)
        self._board = board

    def wait(self, timeout_s: float) -> bool:
        """As of any interrupt."""
        time.sleep(max(0.0, min(self._board.left_s(), timeout_s)))
        self._board.catch_up()
        return super().wait(0)
