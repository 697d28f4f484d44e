"""The engine's registers: what is written to start it, and what is read to see where it stands."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from host import hwh

AP_START, AP_DONE, AP_IDLE = 0x1, 0x2, 0x4
INTERRUPT_ON_DONE = 0x1
# between two looks at an engine that is polled, the share of the time so far: a run seems so much longer at most
PAUSE_SHARE, SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1 / 16, 20e-6, 1e-3
LOST_S = 0.02  # after which an interrupt that has not come is looked for


@dataclass(frozen=True)
class State:
    """Registers at one moment. layer: that the engine computes, None for none. addresses: of memories, by pointer."""

    control: int
    begin: int
    end: int
    layer: int | None
    addresses: dict[str, int]


class Engine:
    """The registers of one engine.

    mmio: with PYNQ's ``read(offset)`` and ``write(offset, value)``. offsets: bytes, by register. interrupt: None, or
    with ``arm()`` and ``wait(timeout_s)``.
    """

    def __init__(self, mmio: Any, offsets: Mapping[str, int], interrupt: Any = None):
        self._mmio, self._offsets = mmio, offsets
        self.interrupt = interrupt

    def enable_interrupt(self) -> None:
        """Let the engine raise its interrupt when it has finished; needed once after each loading."""
        if self.interrupt is not None:
            self._write("GIER", 1)
            self._write("IP_IER", INTERRUPT_ON_DONE)

    def identity(self) -> str:
        """Of the kernel, 16 hexadecimal digits; zeros before it has run at all."""
        return f"{self._read('identity_high') << 32 | self._read('identity_low'):016x}"

    def idle(self) -> bool:
        """Whether the engine can be started."""
        return bool(self._read("CTRL") & AP_IDLE)

    def point(self, addresses: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Set the addresses of the memories, bytes, by pointer. before: what the registers hold, as far as it is known."""
        for name, address in addresses.items():
            known = before.get(name)
            if known is None or known & 0xFFFF_FFFF != address & 0xFFFF_FFFF:
                self._write(f"{name}_1", address & 0xFFFF_FFFF)
            if known is None or known >> 32 != address >> 32:
                self._write(f"{name}_2", address >> 32)

    def addresses(self) -> dict[str, int]:
        """What the address registers hold."""
        return {name: self._read(f"{name}_2") << 32 | self._read(f"{name}_1") for name in hwh.POINTERS}

    def state(self) -> State:
        """All registers that tell where the engine stands. Takes nothing from whoever waits for it."""
        progress = self._read("progress")
        return State(
            control=self._read("CTRL"),
            begin=self._read("layer_begin"),
            end=self._read("layer_end"),
            layer=progress - 1 if progress else None,
            addresses=self.addresses(),
        )

    def start(self, begin: int, end: int) -> None:
        """Start layers [begin, end)."""
        self._write("layer_begin", begin)
        self._write("layer_end", end)
        if self.interrupt is not None:
            self._write("IP_ISR", self._read("IP_ISR"))  # each bit that is written changes: what is set is cleared
            self.interrupt.arm()
        self._write("CTRL", AP_START)

    def wait(self, timeout_s: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the engine has finished what was started; False where it has not within the time, or is given up."""
        started = time.monotonic()
        came = True
        while not self.finished():
            passed = time.monotonic() - started
            left = timeout_s - passed
            if left <= 0 or given_up():
                return False
            if self.interrupt is not None:
                came = self.interrupt.wait(min(left, LOST_S))
            else:
                time.sleep(min(max(PAUSE_SHARE * passed, SHORTEST_PAUSE_S), LONGEST_PAUSE_S, left))
        if not came and not self.interrupt.wait(LOST_S):  # it may have ended since the last look
            self._lose_interrupt()
        return True

    def finished(self) -> bool:
        """Whether what was started has ended. ``ap_done`` clears when it is read, so that idleness counts as well."""
        control = self._read("CTRL")
        return bool(control & AP_DONE or control & AP_IDLE and not control & AP_START)

    def close(self) -> None:
        """Give the interrupt back."""
        if self.interrupt is not None:
            self.interrupt.close()
            self.interrupt = None

    def _lose_interrupt(self) -> None:
        """The engine has ended, and its interrupt never came: it is polled from now on."""
        self.close()
        warnings.warn(
            "the engine ended without its interrupt, so it is polled from now on; see whether /proc/interrupts has it",
            RuntimeWarning,
            stacklevel=2,
        )

    def _read(self, name: str) -> int:
        return int(self._mmio.read(self._offsets[name]))

    def _write(self, name: str, value: int) -> None:
        self._mmio.write(self._offsets[name], value)
