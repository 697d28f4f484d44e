"""The engine's interrupt, as Linux hands it to a program: a device /dev/uio* of which a read returns when it came.

PYNQ's own class knows lines behind an interrupt controller in the logic only, and is bound to one event loop. A single
line needs neither: it is waited for with a time limit, from any thread.
"""

from __future__ import annotations

import os
import select
import struct
from typing import Any


class UioInterrupt:
    """A line of the processor's interrupt controller. handle: of the open device, closed by close()."""

    def __init__(self, handle: int):
        self._handle = handle

    def fileno(self) -> int:
        """For select, poll and event loops: readable once the interrupt came."""
        return self._handle

    def arm(self) -> None:
        """Let the line interrupt once more. What raised it before must be cleared first."""
        os.write(self._handle, struct.pack("=i", 1))

    def wait(self, timeout_s: float) -> bool:
        """Wait until the interrupt comes; False where it did not within the time."""
        ready, _, _ = select.select([self._handle], [], [], max(timeout_s, 0))
        if ready:
            os.read(self._handle, 4)  # how many came, ever
        return bool(ready)

    def close(self) -> None:
        """Give the device back. A second call does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def open_interrupt(number: int | None, device: Any) -> Any:
    """The interrupt of a line, None where the system gives none: then the engine is polled.

    number: at the interrupt controller. device: one that has an ``open_interrupt`` of its own is asked for it.
    """
    if number is None:
        return None
    own = getattr(device, "open_interrupt", None)
    if own is not None:
        return own(number)
    from pynq.interrupt import get_uio_irq

    try:
        path = get_uio_irq(number)
        return UioInterrupt(os.open(path, os.O_RDWR | os.O_CLOEXEC)) if path else None
    except OSError:  # no such device, another user's, or in use
        return None
