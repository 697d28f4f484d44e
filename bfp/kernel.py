"""What a bitstream holds of a network, and how it was made: the parts of a manifest that belong to the hardware."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.fields import FLAG, TEXT, checked, hexadecimal, mapping, number, record, tuple_of, whole
from bfp.limits import MAX_ALIGN_SHIFT, MAX_NODES

CLOCK = number(1, 2000)  # MHz
DIGEST = hexadecimal(16)


@dataclass(frozen=True)
class Implementation:
    """How the bitstream of the folder was made.

    clock_mhz: of the engine, as the handoff sets it; setup_slack_ns: the worst one at that clock, hold_slack_ns: the
    worst one. strategy: of the vendor's implementation that was taken. tools: name and version of each program.
    note: what the user should know of it, one line, or empty. scripts: digest of those that called the tools and drew the
    block design, or empty where it is not known.
    """

    clock_mhz: float = checked(CLOCK)
    setup_slack_ns: float = checked(number(-1000, 1000))
    hold_slack_ns: float = checked(number(-1000, 1000))
    strategy: str = checked(TEXT)
    tools: dict[str, str] = checked(mapping(TEXT, 8))
    note: str = checked(TEXT, default="")
    scripts: str = checked(hexadecimal(16, empty=True), default="")


@dataclass(frozen=True)
class KernelLayer:
    """One layer of the engine's schedule, as the bitstream holds it.

    name: for people. aligned: whether its weights come with alignment shifts. constants: digest of its shapes, widths,
    tiles and addresses; shifts: of its static shifts and limits. Neither depends on a name or on a weight.
    """

    name: str = checked(TEXT)
    aligned: bool = checked(FLAG)
    constants: str = checked(DIGEST)
    shifts: str = checked(DIGEST)


@dataclass(frozen=True)
class Kernel:
    """What the bitstream was built for.

    align_bits: of the largest alignment shift that the array takes. layers: in the order of the schedule.
    """

    align_bits: int = checked(whole(0, MAX_ALIGN_SHIFT.bit_length()))
    layers: tuple[KernelLayer, ...] = checked(tuple_of(record(KernelLayer), 1, MAX_NODES))

    def difference(self, other: Kernel) -> str:
        """In which layer another kernel differs first, and in what, for people; the engine itself, where in none."""
        for own, its in zip(self.layers, other.layers):
            if own.shifts != its.shifts:
                return f"layer {its.name} has other shifts or limits"
            if own.constants != its.constants or own.aligned != its.aligned:
                return f"layer {its.name} has other shapes, widths, tiles or addresses"
        if len(self.layers) != len(other.layers):
            return f"it has {len(other.layers)} layers, not {len(self.layers)}"
        return "the engine itself is another: its options, its sources, or what its array takes"
