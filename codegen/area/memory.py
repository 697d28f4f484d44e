"""What lies in a function's arguments and variables, byte by byte, and where a pointer points."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bfp.errors import BfpError
from codegen.area.ir import Array, Integer, Module, Struct, offset, size, split


@dataclass(frozen=True)
class Byte:
    """Eight bits of a wire from bit ``low`` on; of the constant ``low`` where wire is None."""

    wire: str | None
    low: int


@dataclass(frozen=True)
class Step:
    """An index that is not known: its wire, bytes from one element to the next, and their number."""

    wire: str
    bytes: int
    count: int


@dataclass(frozen=True)
class Place:
    """Where a pointer points: ``at`` bytes into an object, and by how many elements further."""

    object: str
    at: int = 0
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One of two pointers, by a wire."""

    condition: str
    yes: Place | Choice
    no: Place | Choice


def moved(place: Place | Choice, by: int, steps: tuple[Step, ...]) -> Place | Choice:
    """A pointer that points further."""
    if isinstance(place, Choice):
        return Choice(place.condition, moved(place.yes, by, steps), moved(place.no, by, steps))
    return replace(place, at=place.at + by, steps=place.steps + steps)


def positions(steps: tuple[Step, ...]) -> list[tuple[tuple[int, ...], int]]:
    """All values of the indices, and how many bytes further each of them points."""
    found: list[tuple[tuple[int, ...], int]] = [((), 0)]
    for step in steps:
        found = [((*i, n), at + n * step.bytes) for i, at in found for n in range(step.count)]
    return found


def joined(parts: list[Byte], names: dict[str, int]) -> str:
    """Verilog of bytes, the lowest first. names: width of each wire."""
    pieces: list[str] = []
    at = 0
    while at < len(parts):
        first, end = parts[at], at + 1
        while end < len(parts) and parts[end] == Byte(first.wire, first.low + 8 * (end - at)) and first.wire:
            end += 1
        if first.wire is None:
            pieces.append(f"8'd{first.low}")
        elif first.low == 0 and names[first.wire] == 8 * (end - at):
            pieces.append(first.wire)
        else:
            pieces.append(f"{first.wire}[{first.low + 8 * (end - at) - 1}:{first.low}]")
        at = end
    return pieces[0] if len(pieces) == 1 else "{" + ", ".join(reversed(pieces)) + "}"


def constant_bytes(module: Module, text: str) -> list[Byte]:
    """The bytes of a constant's initialiser, which stands behind its type."""
    return [Byte(None, value) for value in _bytes(module, *_typed(text))]


def _typed(text: str) -> tuple[str, str]:
    """Type and value of ``type value``."""
    text, depth, quoted = text.strip(), 0, False
    for at, c in enumerate(text):
        quoted ^= c == '"'
        depth += (c in "[{") - (c in "]}") if not quoted else 0
        if c == " " and depth == 0 and not quoted:
            return text[:at], text[at + 1 :].strip()
    raise BfpError(f"the constant {text[:60]} has no value that is known here")


def _bytes(module: Module, kind: str, value: str) -> list[int]:
    of = module.type_of(kind)
    if value in ("zeroinitializer", "undef", "poison"):
        return [0] * size(of)
    if isinstance(of, Integer):
        number = {"true": 1, "false": 0}.get(value)
        number = int(value) if number is None else number
        return list((number % (1 << 8 * size(of))).to_bytes(size(of), "little"))
    if isinstance(of, Array) and value.startswith('c"'):
        return _characters(value[2:-1])
    parts = [_bytes(module, *_typed(part)) for part in split(value[1:-1])]
    if isinstance(of, Array):
        return [byte for part in parts for byte in part]
    if isinstance(of, Struct):
        found = [0] * size(of)
        for index, part in enumerate(parts):
            found[offset(of, index) : offset(of, index) + len(part)] = part
        return found
    raise BfpError(f"a constant of type {kind} is not known here")


def _characters(text: str) -> list[int]:
    found, at = [], 0
    while at < len(text):
        if text[at] == "\\":
            found.append(0x5C if text[at + 1] == "\\" else int(text[at + 1 : at + 3], 16))
            at += 2 if text[at + 1] == "\\" else 3
        else:
            found.append(ord(text[at]))
            at += 1
    return found


Index = tuple[int | None, str]  # its value, None where that is unknown, and then its wire


def pointed(module: Module, kind: str, indices: list[Index], room: int) -> tuple[int, tuple[Step, ...]]:
    """Bytes and unknown indices of a getelementptr. room: bytes from its base on."""
    of: object = module.type_of(kind)
    at, steps = 0, []
    for number, (value, wire) in enumerate(indices):
        if number == 0:
            each, count = size(of), max(1, room // size(of))
        elif isinstance(of, Array):
            of, count = of.element, of.count
            each = size(of)
        elif isinstance(of, Struct) and value is not None:
            at, of = at + offset(of, value), of.members[value]
            continue
        else:
            raise BfpError(f"an address into {kind} is not known here")
        if value is None:
            steps.append(Step(wire, each, count))
        else:
            at += value * each
    return at, tuple(steps)

