"""Constants that reach the engine: frozen dataclasses, whose rows are packed into as few bits as their values need.

A *record* is a frozen dataclass whose fields are groups; a *group* is a frozen dataclass whose fields are made with
:func:`number`, :func:`choice` or :func:`place`, and whose docstring is its comment. The rows of a table are packed:
a field has the bits that the widest of its values needs, none where all are equal, and lies in one of the row's words.
The C++ structs of a row and of a record, the function that takes a row apart, the rows and their bits are all made
from these classes (codegen/templates/records.j2), so that none of them can disagree with another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from operator import index
from typing import Any, get_type_hints

from bfp.errors import BfpError

WORD_BITS = 64  # of the words of a row, native integers of C++
VALUE_BITS = 32  # of a field's value, once it is unpacked; signed


@dataclass(frozen=True)
class Number:
    """An integer, or a truth value."""

    cpp = "int32_t"
    parts = ("",)

    def split(self, value: int, banks: int) -> tuple[int, ...]:
        """Its parts. Raises TypeError for what is no whole number."""
        return (index(value),)


@dataclass(frozen=True)
class Choice:
    """A member of an enumeration, which C++ has with the same name, members and values."""

    kind: type[Enum]
    parts = ("",)

    @property
    def cpp(self) -> str:
        """Name of the C++ type."""
        return self.kind.__name__

    def split(self, value: Enum, banks: int) -> tuple[int, ...]:
        """Its value. Raises TypeError for what is no member."""
        if not isinstance(value, self.kind):
            raise TypeError(f"{value!r} is no member of {self.kind.__name__}")
        return (value.value,)


@dataclass(frozen=True)
class Place:
    """A word of the input buffer, or a distance between two, that C++ has as row and bank (hls/window.hpp)."""

    cpp = "Place"
    parts = (".row", ".bank")

    def split(self, value: int, banks: int) -> tuple[int, ...]:
        """Row and bank. Raises ValueError for a word before the buffer's first."""
        if index(value) < 0:
            raise ValueError(f"word {value} lies before the input buffer")
        return divmod(value, banks)


@dataclass(frozen=True)
class Field:
    """One field of a group, by its name in Python and in C++. about: its comment, or nothing.

    each: name of the C++ constant that says how many values it has, None for a single one.
    """

    name: str
    type: Number | Choice | Place
    about: str
    each: str | None

    def values(self, group: object) -> tuple[Any, ...]:
        """Its values, of a group's."""
        value = getattr(group, self.name)
        return (value,) if self.each is None else tuple(value)


@dataclass(frozen=True)
class Group:
    """One group of a record, by the name of the record's field. about: its comment."""

    name: str
    about: str
    fields: tuple[Field, ...]


def number(about: str = "", *, default: object = dataclasses.MISSING, each: str | None = None) -> Any:
    """A field that holds an integer, or a truth value; each: as many of them as this C++ constant says."""
    return dataclasses.field(default=default, metadata={"type": Number(), "about": about, "each": each})


def choice(kind: type[Enum], about: str = "", *, default: object = dataclasses.MISSING) -> Any:
    """A field that holds a member of an enumeration."""
    return dataclasses.field(default=default, metadata={"type": Choice(kind), "about": about, "each": None})


def place(about: str = "", *, default: object = dataclasses.MISSING, each: str | None = None) -> Any:
    """A field that holds the number of a word of the input buffer, or a distance between two."""
    return dataclasses.field(default=default, metadata={"type": Place(), "about": about, "each": each})


def _group(name: str, kind: type) -> Group:
    declared = dataclasses.fields(kind)
    for f in declared:
        if "type" not in f.metadata:
            raise TypeError(f"{kind.__name__}.{f.name} has no type; make it with number(), choice() or place()")
    fields = tuple(Field(f.name, f.metadata["type"], f.metadata["about"], f.metadata["each"]) for f in declared)
    return Group(name, " ".join(kind.__doc__.split()), fields)


@lru_cache(maxsize=None)
def groups(record: type) -> tuple[Group, ...]:
    """The groups of a record's class, in order. Raises TypeError for a field without a type, or with another's name."""
    kinds = get_type_hints(record)
    found = tuple(_group(f.name, kinds[f.name]) for f in dataclasses.fields(record))
    names = [field.name for group in found for field in group.fields]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"{record.__name__} has two fields {min(twice)}; they are members of one struct")
    return found


@dataclass(frozen=True)
class Slot:
    """Where a part of a field lies in a row. path: the part in C++, such as ``start.row`` or ``first_x[2]``.

    word, shift, bits: of the row; no bits: all rows have the value ``low``. low, high: the least and largest value.
    """

    path: str
    type: Number | Choice | Place
    word: int
    shift: int
    bits: int
    low: int
    high: int


def _bits(low: int, high: int) -> int:
    if low == high:
        return 0
    return high.bit_length() if low >= 0 else max(high.bit_length(), (-low - 1).bit_length()) + 1


@dataclass(frozen=True)
class Packing:
    """How the rows of a table are stored. words: so many of 64 bits each row has; slots: of all parts, in order.

    bounds: of every number, by its name: the largest value of any row, over all its values.
    """

    groups: tuple[Group, ...]
    slots: tuple[Slot, ...]
    bounds: dict[str, int]
    words: int
    banks: int

    @staticmethod
    def of(record: type, rows: Sequence[object], banks: int) -> Packing:
        """The packing of a table with these rows, all of the class ``record``; at least one.

        banks: of the input buffer. Raises BfpError where a value needs more than 32 bits.
        """
        found, slots, bounds = groups(record), [], {}
        word, used = 0, 0
        columns = list(zip(*(_parts(found, row, banks) for row in rows)))
        for (path, field), values in zip(_paths(found, rows[0]), columns):
            low, high = min(values), max(values)
            if low < -(2 ** (VALUE_BITS - 1)) or high >= 2 ** (VALUE_BITS - 1):
                raise BfpError(
                    f"the schedule's {field.name} would go from {low} to {high}, and the engine computes with "
                    f"{VALUE_BITS} bits; use more lanes, or a smaller network or input"
                )
            bits = _bits(low, high)
            if used + bits > WORD_BITS:
                word, used = word + 1, 0
            slots.append(Slot(path, field.type, word, used, bits, low, high))
            bounds[field.name] = max(high, bounds.get(field.name, 0))
            used += bits
        return Packing(found, tuple(slots), bounds, word + 1, banks)

    @property
    def bits(self) -> int:
        """Bits of a row in memory: those that are not the same in every row."""
        return sum(slot.bits for slot in self.slots)

    def row(self, record: object) -> tuple[int, ...]:
        """The words of a row."""
        words = [0] * self.words
        for slot, value in zip(self.slots, _parts(self.groups, record, self.banks)):
            words[slot.word] |= (value & ((1 << slot.bits) - 1)) << slot.shift
        return tuple(words)


def _paths(found: Iterable[Group], record: object) -> list[tuple[str, Field]]:
    """The parts of a record's fields in C++, in order."""
    paths = []
    for group in found:
        values = getattr(record, group.name)
        for field in group.fields:
            for n in range(len(field.values(values))):
                member = field.name if field.each is None else f"{field.name}[{n}]"
                paths += [(member + part, field) for part in field.type.parts]
    return paths


def _parts(found: Iterable[Group], record: object, banks: int) -> list[int]:
    """The values of these parts."""
    return [
        part
        for group in found
        for field in group.fields
        for value in field.values(getattr(record, group.name))
        for part in field.type.split(value, banks)
    ]
