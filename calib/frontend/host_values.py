"""Values that the host computes behind the engine's part of a network: each one made of others (bfp.joined, bfp.combinations).

A value is of one image. Its shape is torch's, without the batch axis where it has one; NumPy has the images along axis 0
either way, so that axis n of the shape is its axis n + 1, and a number is a list of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from torch.fx import Node as FxNode

from bfp.combinations import CONCAT, CONSTANT, TAKE
from bfp.host_columns import bits_of
from bfp.host_operators import MOST_AXES
from bfp.joined import text_of
from bfp.limits import MAX_HOST_CONSTANT
from calib.frontend.host_tail import moved_axes, written

MOST_EXACT = 2**24  # whole numbers below it are exact in float32
Shape = tuple[int, ...]


class NoHost(Exception):
    """The host has no way to compute something."""


@dataclass(frozen=True, eq=False)
class HostValue:
    """One value. shape: of one image; batched: whether torch's value has a batch axis in front of it.

    parts, how, axis: as of bfp.joined.JoinedOutput, the axis NumPy's; of one part alone ``how`` is CONCAT. steps: behind it.
    source: a value that the engine ends with, which has no parts. data: of a constant.
    """

    shape: Shape
    batched: bool = True
    parts: tuple[HostValue, ...] = ()
    how: str = CONCAT
    axis: int = 1
    steps: tuple[str, ...] = ()
    source: FxNode | None = None
    data: str = ""

    @property
    def held(self) -> Shape:
        """The shape of NumPy's array behind its images."""
        return self.shape or (1,)


def stepped(x: HostValue, steps: tuple[str, ...], shape: Shape | None = None) -> HostValue:
    """A value after steps, of the same shape where none is given."""
    return HostValue(x.shape if shape is None else shape, x.batched, (x,), steps=steps)


def with_bits(x: HostValue, name: str, *constants: float) -> HostValue:
    """A value after a step with constants."""
    with np.errstate(over="ignore"):
        if not np.isfinite(np.array(constants, np.float32)).all():
            raise NoHost(f"the constant {constants} is no finite number")
    return stepped(x, written(name, *(bits_of(c) for c in constants)))


def reshaped(x: HostValue, shape: Shape, batched: bool | None = None) -> HostValue:
    """The same elements in another shape."""
    batched = x.batched if batched is None else batched
    same = (shape or (1,)) == x.held
    if len(shape) >= MOST_AXES:
        raise NoHost(f"a value of {len(shape)} axes is not supported")
    return HostValue(shape, batched, (x,), steps=() if same else written("reshape", *(shape or (1,))))


def constant(values: np.ndarray) -> HostValue:
    """Numbers that do not depend on the image, float64 of any shape, as if they had no batch axis."""
    if values.size > MAX_HOST_CONSTANT or not np.isfinite(values).all() or not values.size:
        raise NoHost(f"a constant of {values.size} numbers is not supported, or they are not finite")
    with np.errstate(over="ignore"):
        held = values.astype(np.float32)
    if not np.isfinite(held).all():
        raise NoHost("a constant beyond float32 is not supported")
    return HostValue(values.shape, False, how=CONSTANT, data=text_of(held))


def single(values: np.ndarray) -> float | None:
    """The one number that all of a constant's are, None where they differ."""
    first = values.reshape(-1)[0] if values.size else np.nan
    return float(first) if (values == first).all() else None


def aligned(operands: Sequence[HostValue]) -> tuple[list[HostValue], bool]:
    """Operands with as many axes each, as torch repeats them to one shape; and whether what is made of them has a batch axis."""
    ranks = [len(x.shape) + x.batched for x in operands]
    rank = max(ranks)
    full = [(1,) * (rank - n) + (1,) * x.batched + x.shape for x, n in zip(operands, ranks)]
    first = max((shape[0] for shape in full), default=1) if rank else 1
    batched = rank > 0 and first == 1 and any(x.batched and n == rank for x, n in zip(operands, ranks))
    return [reshaped(x, shape[batched:]) if x.shape != shape[batched:] else x for x, shape in zip(operands, full)], batched


def combined(how: str, *operands: HostValue) -> HostValue:
    """What is computed of each element of several values, repeated to one shape."""
    same, batched = aligned(operands)
    return HostValue(tuple(np.broadcast_shapes(*(x.shape for x in same))), batched, tuple(same), how)


def expanded(x: HostValue, shape: Shape) -> HostValue:
    """A value repeated along axes of one index; shape has as many axes."""
    if x.shape == shape:
        return x
    if len(x.shape) != len(shape):
        x = reshaped(x, (1,) * (len(shape) - len(x.shape)) + x.shape)
    return stepped(x, written("expand", *shape), shape)


def side_by_side(parts: Sequence[HostValue], axis: int) -> HostValue:
    """Values along an axis, which is one of their shape."""
    batched = any(p.batched for p in parts)
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    return HostValue(tuple(shape), batched, tuple(parts), CONCAT, axis + 1)


def moved(x: HostValue, index: np.ndarray, shape: Shape, batched: bool, border: float = 0.0) -> HostValue:
    """The elements of a value whose numbers an index says, int64, in a shape; -1 for the number ``border``."""
    count = prod(x.shape)
    index = index.reshape(shape)
    if index.size == count and np.array_equal(index.reshape(-1), np.arange(count)):
        return reshaped(x, shape, batched)
    found = _box(x, index) if index.size and index.min() >= 0 else None
    if found is not None:
        return HostValue(shape, batched, (found,), steps=written("reshape", *(shape or (1,))))
    if index.min() < 0:
        around = HostValue((1,), x.batched, (constant(np.full(1, border)),))
        x = side_by_side([reshaped(x, (count,)), around], 0)
        index = np.where(index < 0, count, index)
    if index.max() >= MOST_EXACT:
        raise NoHost(f"elements of a value of {count} cannot be taken")
    places = constant(index.reshape(-1).astype(np.float64))
    return HostValue(shape, batched, (x, places), TAKE, steps=written("reshape", *(shape or (1,))))


def _box(x: HostValue, index: np.ndarray) -> HostValue | None:
    """Adjacent indices of each axis, the axes in any order, in some shape of as many elements; None where it is no such."""
    places = np.unravel_index(index.reshape(-1), x.held)
    low, high = [int(p.min()) for p in places], [int(p.max()) + 1 for p in places]
    sizes = tuple(b - a for a, b in zip(low, high))
    if prod(sizes) != index.size:
        return None
    inside = np.ravel_multi_index([p - a for p, a in zip(places, low)], sizes)
    order = axes_of(inside.reshape(index.shape), sizes)
    if order is None:
        return None
    for axis, (start, stop) in enumerate(zip(low, high)):
        if stop - start != x.held[axis]:
            shape = (*x.held[:axis], stop - start, *x.held[axis + 1 :])
            x = stepped(x, written("part", axis + 1, start, stop), shape)
    return stepped(x, order, sizes) if order else x


def axes_of(index: np.ndarray, sizes: Shape) -> tuple[str, ...] | None:
    """The steps that bring elements, all in a shape of these sizes, into the order of an index; None where no permutation does."""
    if np.array_equal(index.reshape(-1), np.arange(index.size)):
        return ()
    return moved_axes(index)
