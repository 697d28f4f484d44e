"""What one package does with every operator, or with every activation: tables that are checked when they are made.

A record says what an operator *is* (bfp.operators, bfp.activations); a table
says what a package *does* with it. A table that lacks an operator cannot be
imported, and asking a table for an operator that came later is an error that
names both. Nothing falls through.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from bfp.activations import ACTIVATIONS
from bfp.errors import BfpError
from bfp.operators import OPERATORS, Join, Operator

T = TypeVar("T")


class Table(Mapping, Generic[T]):
    """A complete table. what: whose it is, for messages; kind: of what; known: the names it must have, exactly."""

    def __init__(self, what: str, kind: str, known: Iterable[Hashable], entries: Mapping[Hashable, T]) -> None:
        self.what, self.kind, self._entries = what, kind, dict(entries)
        known = list(known)
        for name in known:
            if name not in self._entries:
                raise BfpError(f"{what} has no entry for {kind} {_shown(name)}; add one to its table")
        for name in self._entries:
            if name not in known:
                raise BfpError(f"{what} has an entry for {_shown(name)}, which is none of its {kind}s; take it out")

    def __getitem__(self, name: Hashable) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise BfpError(f"{self.what} has no entry for {self.kind} {_shown(name)}; add one to its table") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _shown(name: Hashable) -> str:
    """A name, or a member of an enumeration by its name, in quotes."""
    return repr(getattr(name, "name", name))


def operator_table(
    what: str, entries: Mapping[str, T], of: Callable[[Operator], bool] = lambda operator: True
) -> Table[T]:
    """One entry for each operator that ``of`` holds for. Raises BfpError naming the first that is missing."""
    return Table(what, "operator", [name for name, o in OPERATORS.items() if of(o)], entries)


def activation_table(what: str, entries: Mapping[str, T]) -> Table[T]:
    """One entry for each activation. Raises BfpError naming the first that is missing."""
    return Table(what, "activation", list(ACTIVATIONS), entries)


def join_table(what: str, entries: Mapping[Join, T]) -> Table[T]:
    """One entry for each way in which a shortcut joins. Raises BfpError naming the first that is missing."""
    return Table(what, "a shortcut that makes", Join, entries)


def runs_alone(operator: Operator) -> bool:
    """Whether the engine has a layer for it: it computes, and is no table, which is read behind what indexes it."""
    return operator.computes and not operator.has_function


def computes(operator: Operator) -> bool:
    """Whether it has an accumulator, and so an entry in what computes."""
    return operator.computes
