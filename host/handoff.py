"""What the hardware handoff (.hwh) beside a bitstream says of the engine, checked before any register is touched.

PYNQ reads the same file, but keeps what it read of the bitstream before: addresses that are stale hang the bus. So
what PYNQ says is compared with what is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from bfp.errors import BfpError
from bfp.files import read_file
from bfp.names import COMMAND
from host import hwh

AGAIN = f"put the .bit and .hwh there that `{COMMAND} build-bitstream` made of this network"
NEEDED = (
    "CTRL",
    "GIER",
    "IP_IER",
    "IP_ISR",
    *(f"{pointer}_{half}" for pointer in hwh.POINTERS for half in (1, 2)),
    *hwh.SCALARS_IN,
    *hwh.SCALARS_OUT,
)


@dataclass(frozen=True)
class ProcessingSystem:
    """Of a family of chips. windows: addresses, half open, at which the programmable logic may have registers.
    interrupts: number at the interrupt controller of each input of the logic's first interrupt."""

    windows: tuple[tuple[int, int], ...]
    interrupts: Mapping[str, int]


# AMD UG1085 (system addresses, interrupts) and UG585
SYSTEMS = {
    "zynq_ultra_ps_e": ProcessingSystem(
        ((0x8000_0000, 0xC000_0000), (0x4_0000_0000, 0x6_0000_0000), (0x10_0000_0000, 0x80_0000_0000)),
        {"pl_ps_irq0": 121},
    ),
    "processing_system7": ProcessingSystem(((0x4000_0000, 0xC000_0000),), {"IRQ_F2P": 61}),
}


@dataclass(frozen=True)
class Handoff:
    """The engine in a block design.

    base, span: first address and number of bytes of its registers. offsets: of each register from there, by name.
    interrupt: number at the processor's interrupt controller, None where the engine's interrupt is not wired to it.
    system: name of the processing system's block.
    """

    base: int
    span: int
    offsets: dict[str, int]
    interrupt: int | None
    system: str


def read_handoff(path: Path, ip: str) -> Handoff:
    """Read the handoff of the engine ``ip``.

    Raises BfpError where the file cannot be read, has no such engine or one with other registers, or puts them where
    an access would hang the bus.
    """
    try:
        root = ET.fromstring(read_file(path, "hardware handoff", AGAIN))
    except ET.ParseError as error:
        raise BfpError(f"hardware handoff {path} is damaged ({error}); {AGAIN}") from None
    modules = {module.get("INSTANCE", ""): module for module in root.iter("MODULE")}
    if ip not in modules:
        raise BfpError(f"{path} has no IP {ip!r}; {AGAIN}")
    systems = [m.get("MODTYPE", "") for m in modules.values() if m.get("MODTYPE") in SYSTEMS]
    if len(systems) != 1:
        raise BfpError(f"{path} has {len(systems)} processing systems of {' or '.join(SYSTEMS)}, not one; {AGAIN}")
    try:
        base, span = _addresses(root, ip)
        offsets = _offsets(modules[ip])
    except (TypeError, ValueError):
        raise BfpError(f"hardware handoff {path} is damaged: the addresses of {ip!r} are no numbers; {AGAIN}") from None
    handoff = Handoff(base, span, offsets, _interrupt(modules[ip], modules, SYSTEMS[systems[0]]), systems[0])
    _check(handoff, ip, path)
    return handoff


def compare(handoff: Handoff, said: Mapping, path: Path) -> None:
    """Raise BfpError unless PYNQ says of the engine what its handoff says. said: PYNQ's entry in ``ip_dict``."""
    registers = {name: r["address_offset"] for name, r in said.get("registers", {}).items()}
    theirs = (said.get("phys_addr"), said.get("addr_range"), *(registers.get(name) for name in NEEDED))
    if theirs != (handoff.base, handoff.span, *(handoff.offsets[name] for name in NEEDED)):
        raise BfpError(
            f"PYNQ has stale metadata of another bitstream: it says that the engine of {path} is at "
            f"{theirs[0] if theirs[0] is None else hex(theirs[0])}, the file says {handoff.base:#x}; "
            "call pynq.PL.reset(), and open the accelerator again"
        )


def _addresses(root: ET.Element, ip: str) -> tuple[int, int]:
    """First address and size of the engine's registers."""
    for entry in root.iter("MEMRANGE"):
        if entry.get("INSTANCE") == ip and entry.get("MEMTYPE") == "REGISTER":
            base = int(entry.get("BASEVALUE", ""), 16)
            return base, int(entry.get("HIGHVALUE", ""), 16) + 1 - base
    raise ValueError("no address")


def _offsets(module: ET.Element) -> dict[str, int]:
    found = {}
    for register in module.iter("REGISTER"):
        values = {p.get("NAME"): p.get("VALUE", "") for p in register.findall("PROPERTY")}
        found[register.get("NAME", "")] = int(values["ADDRESS_OFFSET"], 0) if "ADDRESS_OFFSET" in values else -1
    return found


def _interrupt(module: ET.Element, modules: Mapping[str, ET.Element], system: ProcessingSystem) -> int | None:
    """Number of the line that the engine's interrupt is wired to, None where it is to none that is known."""
    for port in module.iter("PORT"):
        if port.get("NAME") == hwh.INTERRUPT:
            for end in port.iter("CONNECTION"):
                other = modules.get(end.get("INSTANCE", ""))
                if other is not None and other.get("MODTYPE") in SYSTEMS:
                    return system.interrupts.get(end.get("PORT", ""))
    return None


def _check(handoff: Handoff, ip: str, path: Path) -> None:
    """Raise BfpError for registers that are missing, or lie where nothing answers."""
    missing = [name for name in NEEDED if name not in handoff.offsets]
    if missing:
        raise BfpError(
            f"IP {ip!r} of {path} has no register {missing[0]!r}; it is not this project's engine, or an older one: "
            f"{AGAIN}"
        )
    end = handoff.base + handoff.span
    if not any(low <= handoff.base < end <= high for low, high in SYSTEMS[handoff.system].windows):
        raise BfpError(
            f"{path} puts the engine at {handoff.base:#x} to {end:#x}, where the programmable logic has no registers "
            f"and an access would hang the bus; {AGAIN}"
        )
    for name in NEEDED:
        offset = handoff.offsets[name]
        if offset % 4 or not 0 <= offset <= handoff.span - 4:
            raise BfpError(
                f"{path} puts register {name!r} at offset {offset:#x}, outside the {handoff.span:#x} bytes of the "
                f"engine, where an access would hang the bus; {AGAIN}"
            )
