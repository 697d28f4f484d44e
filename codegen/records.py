"""Constants that reach the engine: frozen dataclasses that know the width of each field.

A *record* is a frozen dataclass whose fields are groups; a *group* is a frozen dataclass whose fields are made with
:func:`number` or :func:`choice`, and whose docstring is its comment. The C++ struct and its rows
(codegen/templates/records.j2), the check that values fit, and the bits of a row are all made from these classes, so
that none of them can disagree with another.

A group whose fields all have defaults is *optional*: a record that does not use it holds the defaults. Where no record
of a table uses a group, the group takes no memory: its fields become constants of the C++ type.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import MISSING, dataclass
from enum import Enum
from functools import cached_property, lru_cache
from operator import index
from typing import Any, get_type_hints

from bfp.errors import BfpError

NATIVE_BITS = (8, 16, 32)  # widths of C++ integers; C++ code computes with native integers only
CHOICE_BITS = 32  # of an enumeration


@dataclass(frozen=True)
class Number:
    """A C++ integer of ``bits`` bits, sign included. Raises ValueError for a width that no native integer has."""

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        if self.bits not in NATIVE_BITS:
            raise ValueError(f"no native integer has {self.bits} bits; there are {NATIVE_BITS}")

    @property
    def cpp(self) -> str:
        """Name of the C++ type."""
        return f"{'' if self.signed else 'u'}int{self.bits}_t"

    @cached_property
    def least(self) -> int:
        """The smallest value that the type has."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @cached_property
    def most(self) -> int:
        """The largest value that the type has."""
        return 2 ** (self.bits - 1 if self.signed else self.bits) - 1

    def holds(self, value: int) -> bool:
        """Whether the type has this value. Raises TypeError for what is no whole number."""
        return self.least <= index(value) <= self.most

    def text(self, value: int) -> str:
        """The value in C++; True and False are 1 and 0."""
        return str(index(value))


@dataclass(frozen=True)
class Choice:
    """A C++ enumeration with the name, members and values of a Python one."""

    kind: type[Enum]
    bits: int = CHOICE_BITS

    @property
    def cpp(self) -> str:
        """Name of the C++ type."""
        return self.kind.__name__

    def holds(self, value: Enum) -> bool:
        """True. Raises TypeError for what is no member."""
        if not isinstance(value, self.kind):
            raise TypeError(f"{value!r} is no member of {self.kind.__name__}")
        return True

    def text(self, value: Enum) -> str:
        """The value in C++."""
        return value.name


@dataclass(frozen=True)
class Field:
    """One field of a group, by its name in Python and in C++. about: its comment, or nothing."""

    name: str
    type: Number | Choice
    about: str

    def text(self, values: object) -> str:
        """The field's value in C++, of a group's values."""
        return self.type.text(getattr(values, self.name))


@dataclass(frozen=True)
class Group:
    """One group of a record, by the name of the record's field. about: its comment.

    unused: what the group is in a record that does not use it; None where every record uses it.
    """

    name: str
    about: str
    fields: tuple[Field, ...]
    unused: object | None

    def of(self, record: object) -> object:
        """The group's values in a record."""
        return getattr(record, self.name)


def number(bits: int, about: str = "", *, signed: bool = True, default: object = MISSING) -> Any:
    """A field that holds an integer, or a truth value, in ``bits`` bits."""
    return dataclasses.field(default=default, metadata={"type": Number(bits, signed), "about": about})


def choice(kind: type[Enum], about: str = "", *, default: object = MISSING) -> Any:
    """A field that holds a member of an enumeration."""
    return dataclasses.field(default=default, metadata={"type": Choice(kind), "about": about})


def _group(name: str, kind: type) -> Group:
    declared = dataclasses.fields(kind)
    for f in declared:
        if "type" not in f.metadata:
            raise TypeError(f"{kind.__name__}.{f.name} has no width; make it with number() or choice()")
    fields = tuple(Field(f.name, f.metadata["type"], f.metadata["about"]) for f in declared)
    optional = all(f.default is not MISSING for f in declared)
    return Group(name, " ".join(kind.__doc__.split()), fields, kind() if optional else None)


@lru_cache(maxsize=None)
def groups(record: type) -> tuple[Group, ...]:
    """The groups of a record's class, in order. Raises TypeError for a field without a width, or with another's name."""
    kinds = get_type_hints(record)
    found = tuple(_group(f.name, kinds[f.name]) for f in dataclasses.fields(record))
    names = [field.name for group in found for field in group.fields]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"{record.__name__} has two fields {min(twice)}; they are members of one struct")
    return found


def check_range(record: object, owner: str, table: str, advice: str) -> None:
    """Raise BfpError where a value does not fit its field, and TypeError where it is of another kind.

    owner: whose record it is, such as "layer conv1"; table: what the record is a row of; advice: what to change.
    """
    for group in groups(type(record)):
        values = group.of(record)
        for field in group.fields:
            value = getattr(values, field.name)
            if not field.type.holds(value):
                raise BfpError(
                    f"{owner}: its {field.name} is {value}, and {table} has {field.type.bits} bits for it "
                    f"({field.type.cpp}); {advice}"
                )


@dataclass(frozen=True)
class Layout:
    """How the rows of a table are stored. constant: names of the groups that no row uses."""

    groups: tuple[Group, ...]
    constant: frozenset[str]

    @staticmethod
    def of(record: type, rows: Iterable[object]) -> Layout:
        """The layout of a table with these rows, all of the class ``record``."""
        rows, found = list(rows), groups(record)
        unused = (g.name for g in found if g.unused is not None and all(g.of(row) == g.unused for row in rows))
        return Layout(found, frozenset(unused))

    @property
    def stored(self) -> tuple[Group, ...]:
        """The groups that take memory."""
        return tuple(group for group in self.groups if group.name not in self.constant)

    @property
    def bits(self) -> int:
        """Bits of a row in memory."""
        return sum(field.type.bits for group in self.stored for field in group.fields)

    def varying_bits(self, rows: Iterable[object]) -> int:
        """Bits that the numbers of a row need, of those numbers that are not the same in every row."""
        rows, total = list(rows), 0
        for group in self.stored:
            for field in group.fields:
                if isinstance(field.type, Number):
                    values = {index(getattr(group.of(row), field.name)) for row in rows}
                    total += max(map(abs, values)).bit_length() + (min(values) < 0) if len(values) > 1 else 0
        return total
