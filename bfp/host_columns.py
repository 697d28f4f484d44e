"""What the host computes of some indices of an axis, as a detector does that decodes its own boxes.

The first three numbers of each step are the axis, the first index and the one behind the last. Constants are the bits of
float32 as whole numbers; they may differ along one axis, by a table whose entries come round, or on a grid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]  # of one image's values, the batch axis 1 included
MOST_TABLE = 9  # entries of a table of constants
MOST_NUMBERS = 5 + MOST_TABLE  # of a step


def bits_of(value: float) -> int:
    """A constant as a number of a step; the inverse of ``values_of``."""
    return int(np.float32(value).view(np.uint32))


def values_of(bits: tuple[int, ...]) -> np.ndarray:
    """The constants, float64, that ``bits_of`` wrote."""
    return np.array(bits, np.uint32).view(np.float32).astype(np.float64)


def some_fit(shape: Shape, axis: int, start: int, stop: int) -> Shape | None:
    """The shape, where it has these indices of the axis."""
    return shape if 0 < axis < len(shape) and 0 <= start < stop <= shape[axis] else None


def table_fits(shape: Shape, *numbers: int) -> Shape | None:
    """The shape, where a table of constants fits it."""
    if not 6 <= len(numbers) <= MOST_NUMBERS:
        return None
    axis, start, stop, along, run, *table = numbers
    return some_fit(shape, axis, start, stop) if _constants(shape, along, run, table) else None


def grid_fits(shape: Shape, axis: int, start: int, stop: int, along: int, run: int, count: int, *ends: int) -> Shape | None:
    """The shape, where a grid fits it."""
    fits = count > 0 and _constants(shape, along, run, ends)
    return some_fit(shape, axis, start, stop) if fits else None


def _constants(shape: Shape, along: int, run: int, bits: tuple[int, ...]) -> bool:
    """Whether constants along an axis are finite, and the axis is there."""
    good = all(n < 2**32 for n in bits) and np.isfinite(values_of(tuple(bits))).all()
    return bool(good and 0 < along < len(shape) and run > 0)


def some(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """A function of every value for itself, of some indices of an axis."""

    def compute(x: np.ndarray, axis: int, start: int, stop: int) -> np.ndarray:
        """The function of every value, at some indices of an axis."""
        found = x.astype(np.float64)
        part = np.moveaxis(found, axis, 0)[start:stop]
        with np.errstate(over="ignore"):
            part[...] = function(part)
        return found

    return compute


def _with(function: np.ufunc, x: np.ndarray, span: tuple[int, int, int], along: int, constants: Callable) -> np.ndarray:
    """``function`` of some indices of an axis and constants that differ along another (or the same): constants(indices)."""
    axis, start, stop = span
    found = x.astype(np.float64)
    chosen = [slice(None)] * x.ndim
    chosen[axis] = slice(start, stop)
    part = found[tuple(chosen)]
    sizes = [1] * x.ndim
    sizes[along] = part.shape[along]
    function(part, constants(np.arange(part.shape[along])).reshape(sizes), out=part)
    return found


def by_table(function: np.ufunc) -> Callable[..., np.ndarray]:
    """``function`` of some indices and constants: index i along an axis takes entry ``i // run`` of a table that comes round."""

    def compute(x: np.ndarray, axis: int, start: int, stop: int, along: int, run: int, *bits: int) -> np.ndarray:
        """Constants of a table, at some indices of an axis."""
        table = values_of(bits)
        return _with(function, x, (axis, start, stop), along, lambda at: table[at // run % len(table)])

    return compute


def add_grid(x: np.ndarray, axis: int, start: int, stop: int, along: int, run: int, count: int, *ends: int) -> np.ndarray:
    """Add a grid's places: index i along an axis is at ``first + step * (i // run % count)``; ends: first and step."""
    low, width = values_of(ends)
    return _with(np.add, x, (axis, start, stop), along, lambda at: low + width * (at // run % count))
