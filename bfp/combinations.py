"""What the host makes of several values at once, in float64: one entry for each way (bfp.joined).

Values are arrays [N, ...] of N images, constants among them. Comparisons give one where they hold, else zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from bfp.host_columns import Shape
from bfp.limits import MAX_ENDS, MAX_HOST_VALUES

CONCAT, CONSTANT, TAKE = "concat", "constant", "take"


@dataclass(frozen=True)
class Combination:
    """compute(values, axis): of arrays [N, ...]; shape(shapes, axis): of what becomes of them, the batch axis 1 included, None
    where they do not fit each other; least, most: how many values."""

    compute: Callable[[Sequence[np.ndarray], int], np.ndarray]
    shape: Callable[[Sequence[Shape], int], Shape | None]
    least: int
    most: int


def concatenate(values: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Side by side along an axis."""
    return np.concatenate(values, axis)


def side_by_side(shapes: Sequence[Shape], axis: int) -> Shape | None:
    """The shape of values side by side; their other axes are equal."""
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(others) != 1 or any(axis >= len(shape) for shape in shapes) or axis < 1:
        return None
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def of_elements(function: Callable[..., np.ndarray], said: str) -> Callable[[Sequence[np.ndarray], int], np.ndarray]:
    """A function of values of one shape, or of shapes that can be repeated to one."""

    def compute(values: Sequence[np.ndarray], axis: int) -> np.ndarray:
        with np.errstate(all="ignore"):
            return function(*values).astype(np.float64)

    compute.__doc__ = said
    return compute


def broadcast(shapes: Sequence[Shape], axis: int) -> Shape | None:
    """The one shape that all can be repeated to."""
    try:
        found = np.broadcast_shapes(*shapes)
    except ValueError:
        return None
    same = len({len(shape) for shape in shapes}) == 1
    return tuple(found) if same and prod(found) <= MAX_HOST_VALUES else None


def matrix_product(values: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """The product of the matrices in the last two axes."""
    return np.matmul(*values)


def product_shape(shapes: Sequence[Shape], axis: int) -> Shape | None:
    """The shape of a product of matrices."""
    a, b = shapes
    if len(a) != len(b) or len(a) < 3 or a[-1] != b[-2]:
        return None
    outer = broadcast((a[:-2], b[:-2]), axis)
    return None if outer is None or prod(outer) * a[-2] * b[-1] > MAX_HOST_VALUES else (*outer, a[-2], b[-1])


def gather(values: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """What lies along an axis at indices that are values themselves; an index beyond the end is the last one."""
    x, at = values
    with np.errstate(invalid="ignore"):
        index = np.clip(np.nan_to_num(at), 0, x.shape[axis] - 1).astype(np.int64)
    return np.take_along_axis(x, index, axis)


def gathered(shapes: Sequence[Shape], axis: int) -> Shape | None:
    """The shape of the indices, whose other axes are those of the value or have one index."""
    x, at = shapes
    if len(x) != len(at) or not 0 < axis < len(x):
        return None
    outer = broadcast(((*x[:axis], 1, *x[axis + 1 :]), (*at[:axis], 1, *at[axis + 1 :])), axis)
    found = None if outer is None else (*outer[:axis], at[axis], *outer[axis + 1 :])
    return found if found and prod(found) <= MAX_HOST_VALUES else None


def take(values: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """The elements of each image's value whose numbers a constant says."""
    x, at = values
    return x.reshape(len(x), -1)[:, at[0].astype(np.int64)]


def taken(shapes: Sequence[Shape], axis: int) -> Shape | None:
    """The shape of the constant."""
    return shapes[1]


PAIRS: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "add": (np.add, "The sum."),
    "subtract": (np.subtract, "The difference."),
    "multiply": (np.multiply, "The product."),
    "divide": (np.divide, "The quotient."),
    "power": (np.power, "The first to the power of the second."),
    "maximum": (np.maximum, "The larger one."),
    "minimum": (np.minimum, "The smaller one."),
    "arctan2": (np.arctan2, "The angle of the point whose y is the first and whose x the second."),
    "equal": (np.equal, "Whether both are equal."),
    "not_equal": (np.not_equal, "Whether both differ."),
    "greater": (np.greater, "Whether the first is larger."),
    "greater_equal": (np.greater_equal, "Whether the first is no smaller."),
    "less": (np.less, "Whether the first is smaller."),
    "less_equal": (np.less_equal, "Whether the first is no larger."),
    "both": (np.logical_and, "Whether neither is zero."),
    "either": (np.logical_or, "Whether one of both is not zero."),
}
COMBINATIONS: dict[str, Combination] = {
    CONCAT: Combination(concatenate, side_by_side, 1, MAX_ENDS),
    **{name: Combination(of_elements(function, said), broadcast, 2, 2) for name, (function, said) in PAIRS.items()},
    "where": Combination(of_elements(np.where, "The second where the first is not zero, else the third."), broadcast, 3, 3),
    "matmul": Combination(matrix_product, product_shape, 2, 2),
    "gather": Combination(gather, gathered, 2, 2),
    TAKE: Combination(take, taken, 2, 2),
}
