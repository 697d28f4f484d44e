"""Results that are put together of several values at a network's end, where the host does it (bfp.joined)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Union

from torch.fx import Node as FxNode

from calib.frontend.builder import Join
from calib.frontend.decoding import Constants
from calib.frontend.host_tail import Tail, finish, image_shape, tail, written
from calib.frontend.translation import Translation, axis, bind, operator_name, shape_of


@dataclass(frozen=True)
class JoinedTail:
    """A result that is a concatenation, or is made of one. parts: side by side along an axis; steps: the host's behind it."""

    parts: tuple["End", ...]
    axis: int
    steps: tuple[str, ...]


End = Union[Tail, JoinedTail]


def end_of(result: FxNode, known: Constants, joins: bool) -> End:
    """The end of one result. joins: whether the host shall put together whatever a concatenation at its end makes.

    Maps in rows or flattened are the host's to put together anyway: the engine would multiply by a matrix to move them.
    """
    end = tail(result, known)
    first = end.steps[0].operand if end.steps else result
    if operator_name(first) != "aten.cat" or image_shape(first) is None:
        return end
    a = bind(first)
    where = axis(a["dim"], len(shape_of(first)))
    if where == 0 or len(a["tensors"]) < 2 or any(known.value(v) is not None or image_shape(v) is None for v in a["tensors"]):
        return end
    parts = tuple(_on_host(end_of(v, known, joins)) for v in a["tensors"])
    if not joins and not any(_moves_pixels(part) for part in parts):
        return end
    behind = tuple(s for step in end.steps for s in step.steps)
    return JoinedTail(parts, where, written("reshape", *image_shape(first)) + behind)


def _moves_pixels(end: End) -> bool:
    """Whether an end puts a map of several pixels into another order or shape."""
    if isinstance(end, JoinedTail):
        return True
    first = end.steps[0].operand if end.steps else end.result
    shape = shape_of(first)
    return len(shape) > 2 and prod(shape[2:]) > 1 and len(shape_of(end.result)) != len(shape)


def _on_host(end: End) -> End:
    """An end whose steps are all the host's: where it joins anyway, moving elements costs the engine nothing."""
    return replace(end, first=0) if isinstance(end, Tail) else end


def sources(end: End) -> Iterator[FxNode]:
    """The values that the engine's part of a result ends with."""
    if isinstance(end, Tail):
        yield end.source
    else:
        for part in end.parts:
            yield from sources(part)


def finish_all(t: Translation, ends: list[End]) -> None:
    """Give the draft its outputs, the host's steps behind them, and what is joined of them. Raises Refusal."""
    found: list[tuple[str, tuple[str, ...]]] = []
    shared: dict[tuple[str, tuple[str, ...]], int] = {}  # parts that several joins may have
    draft = t.draft

    def add(end: End, part: bool) -> int:
        """Add what an end is made of; the number of its output, or of its join (``builder.Join``)."""
        if isinstance(end, JoinedTail):
            parts = tuple(add(p, True) for p in end.parts)
            draft.joins = (*draft.joins, Join(draft.unique("joined"), parts, end.axis, end.steps))
            return ~(len(draft.joins) - 1)
        tensor, steps = finish(t, end)
        shape = image_shape(end.result) or (1,)
        if not part:
            # a vector is what outputs are; whatever else the network returns has its own shape
            found.append((tensor, steps if steps or len(shape) == 1 else written("reshape", *shape)))
            return len(found) - 1
        entry = tensor, steps or written("reshape", *shape)
        if entry not in shared:
            shared[entry] = len(found)
            found.append(entry)
        return shared[entry]

    draft.results = tuple(add(end, False) for end in ends)
    draft.outputs, draft.host = zip(*found)
