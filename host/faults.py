"""What can go wrong on a board, for the simulated one: each fault alone, to see what its user would."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """Faults of a simulated board; by default there are none.

    never_finishes: an engine that was started with layers to compute does not end. finishes_late_s: it ends so many
    seconds later. identity: that the kernel reports instead of its own. writes_elsewhere: results do not reach the
    buffer. drops_flush, drops_invalidate: caches that are not synchronised. loses_interrupt: none ever comes.
    fails_allocation: which allocation fails, counted from 0. fails_load: from which loading of the bitstream on it
    fails, counted from 0. clock_mhz: that the engine has, whatever PYNQ sets.
    """

    never_finishes: bool = False
    finishes_late_s: float = 0.0
    identity: int | None = None
    writes_elsewhere: bool = False
    drops_flush: bool = False
    drops_invalidate: bool = False
    loses_interrupt: bool = False
    fails_allocation: int | None = None
    fails_load: int | None = None
    clock_mhz: float | None = None


class SimulatedInterrupt:
    """A line at the simulated processor's interrupt controller; used as ``host.interrupt.UioInterrupt`` is."""

    def __init__(self, loses: bool):
        self._loses = loses
        self._came = threading.Event()
        self._lock = threading.Lock()
        self._armed = self._high = False
        self.closed = False

    def level(self, high: bool) -> None:
        """What the engine drives."""
        with self._lock:
            self._high = high
            self._deliver()

    def arm(self) -> None:
        """Let the line interrupt once more."""
        with self._lock:
            self._armed = True
            self._deliver()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the interrupt comes; False where it did not within the time."""
        came = self._came.wait(max(timeout_s, 0))
        if came:  # one that comes just after the time is kept for the next wait, as Linux keeps it
            self._came.clear()
        return came

    def close(self) -> None:
        """Give the line back."""
        self.closed = True

    def _deliver(self) -> None:
        if self._armed and self._high and not self._loses:
            self._armed = False
            self._came.set()
