"""What must hold of a board before a layer runs: enough contiguous memory, and the clock that was asked for."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from bfp.errors import BfpError

MEMINFO = Path("/proc/meminfo")
PAGE = 4096
CLOCK_TOLERANCE = 0.01  # of the clock: what divisors of a source that is not quite round give
CLOCK_REGISTERS, FIRST_CLOCK = 0xFF5E_0000, 0xC0  # CRL_APB and in it PL0_REF_CTRL of Zynq UltraScale+, AMD UG1087
CLOCK_ACTIVE = 1 << 24


def check_memory(sizes: list[int], network: str, device: Any) -> None:
    """Raise BfpError where the system has less contiguous memory (CMA) than buffers of these sizes, bytes, take.

    Systems that do not say how much they have are not asked.
    """
    path = getattr(device, "meminfo", MEMINFO)
    free, total = (meminfo_bytes(path, field) for field in ("CmaFree", "CmaTotal"))
    needed = sum(-(-size // PAGE) * PAGE for size in sizes)
    if free is not None and free < needed:
        most = "" if total is None else f" of {total >> 20}"
        # some of it is always in use
        enough = -(-((total or 0) - free + needed) // (1 << 20)) + 16
        raise BfpError(
            f"network {network} takes {needed / 2**20:.1f} MB of contiguous memory, and {free >> 20}{most} MB are "
            f"free; free other buffers, or start Linux with the kernel argument cma={enough}M"
        )


def meminfo_bytes(path: Path | None, field: str) -> int | None:
    """A figure of /proc/meminfo in bytes, None where it is not there."""
    try:
        text = "" if path is None else path.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"^{field}:\s*(\d+) kB$", text, re.MULTILINE)
    return 1024 * int(found.group(1)) if found else None


def check_clock(actual_mhz: float, wanted_mhz: float, network: str) -> None:
    """Raise BfpError where the engine's clock is another than the one that its bitstream was made for."""
    if abs(actual_mhz - wanted_mhz) > CLOCK_TOLERANCE * wanted_mhz:
        raise BfpError(
            f"the engine of {network} has a clock of {actual_mhz:.6g} MHz and was built for {wanted_mhz:.6g}; "
            "deploy .bit and .hwh of one build, and let no other program set the clocks"
        )


def stop_clock(pynq: Any, system: str, device: Any) -> bool:
    """Stop the engine's clock, where it can be stopped: an engine without a clock writes no more. Loading starts it.

    system: of the handoff. False for systems whose clocks cannot be switched off.
    """
    if system != "zynq_ultra_ps_e":
        return False
    registers = pynq.MMIO(CLOCK_REGISTERS, 0x100, device=device)
    registers.write(FIRST_CLOCK, int(registers.read(FIRST_CLOCK)) & ~CLOCK_ACTIVE)
    return True


def load_stamp(device: Any) -> object:
    """What changes when any program on the board loads a bitstream through PYNQ: when its record was written.

    Compare it with an earlier one. A device that counts its loads itself is asked (``loads``).
    """
    loads = getattr(device, "loads", None)
    if loads is not None:
        return loads
    from pynq.pl_server import global_state

    folder = os.path.dirname(global_state.__file__)
    names = ("global_pl_state.json", "global_pl_state_.json", f"global_pl_state_{device.tag}.json")
    return [_written(os.path.join(folder, name)) for name in names]


def _written(path: str) -> int | None:
    """When a file was written last, None where there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
