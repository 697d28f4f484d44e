"""What the host computes behind the last stored tensor, in float64: one entry for each operator.

A step is a name and whole numbers behind it, with dots between: ``softmax.1``, ``permute.0.2.3.1``. Axes and shapes
count the batch as axis 0, which stays. The same code runs in the golden model, in evaluation and in the driver.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from bfp.errors import BfpError
from bfp.host_columns import MOST_NUMBERS, add_grid, by_table, grid_fits, some, some_fit, table_fits
from bfp.host_functions import ALONG_AXIS, ELEMENTWISE, POOL_NUMBERS, along_axis, average_pool, constants_fit, cumulative_sum
from bfp.host_functions import expand, expanded, flip, max_pool, one_by_one, one_left, pooled
from bfp.limits import MAX_SIDE, MAX_VALUES
from bfp.names import shown

MOST_AXES = 8
TINY = 1e-12  # below it a vector's length does not divide


def reshape(x: np.ndarray, *sizes: int) -> np.ndarray:
    """The values of each image in another shape."""
    return x.reshape(len(x), *sizes)


def permute(x: np.ndarray, *axes: int) -> np.ndarray:
    """The axes in another order; the batch stays first."""
    return x.transpose(axes)


def part(x: np.ndarray, axis: int, start: int, stop: int) -> np.ndarray:
    """Some indices of an axis, from start to before stop."""
    return x[(slice(None),) * axis + (slice(start, stop),)]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-x))``, without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1 + e)


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    return np.tanh(x)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """The logarithms of the softmax along an axis."""
    below = x - x.max(axis, keepdims=True)
    return below - np.log(np.exp(below).sum(axis, keepdims=True))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """Positive values along an axis whose sum is one."""
    return np.exp(log_softmax(x, axis))


def normalise(x: np.ndarray, axis: int) -> np.ndarray:
    """Vectors along an axis, divided by their length."""
    return x / np.maximum(np.sqrt((x * x).sum(axis, keepdims=True)), TINY)


def argmax(x: np.ndarray, axis: int, kept: int) -> np.ndarray:
    """The index of the largest value along an axis, the first of equal ones, as a number; kept: whether the axis stays."""
    found = x.argmax(axis).astype(np.float64)
    return np.expand_dims(found, axis) if kept else found


def largest(x: np.ndarray, count: int, axis: int) -> np.ndarray:
    """The so many largest values along an axis, the largest first."""
    return np.take_along_axis(x, _order(x, count, axis), axis)


def largest_at(x: np.ndarray, count: int, axis: int) -> np.ndarray:
    """The indices of the so many largest values along an axis, as numbers; the first of equal ones comes first."""
    return _order(x, count, axis).astype(np.float64)


def nearest(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps [N, C, H, W] in another size, each pixel the one of the old map that it lies in."""
    rows, columns = (np.arange(new) * old // new for new, old in ((height, x.shape[2]), (width, x.shape[3])))
    return x[:, :, rows][:, :, :, columns]


def bilinear(x: np.ndarray, height: int, width: int, corners: int) -> np.ndarray:
    """Maps [N, C, H, W] in another size, weighted means of neighbours; corners: whether the outermost pixels meet."""
    for axis, new in ((2, height), (3, width)):
        old = x.shape[axis]
        if corners:
            place = np.arange(new) * ((old - 1) / max(new - 1, 1))
        else:
            place = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
        low = np.minimum(place.astype(np.int64), old - 1)
        share = (place - low).reshape(-1, *(1,) * (3 - axis))
        x = np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, old - 1), axis) * share
    return x


def _order(x: np.ndarray, count: int, axis: int) -> np.ndarray:
    return np.take(np.argsort(-x, axis, kind="stable"), range(count), axis)


Shape = tuple[int, ...]  # of one image's values, the batch axis 1 included


def kept_shape(shape: Shape, *numbers: int) -> Shape | None:
    """The shape of what is computed one by one, or along an axis."""
    return shape if not numbers or 0 < numbers[0] < len(shape) else None


def reshaped(shape: Shape, *sizes: int) -> Shape | None:
    """The shape that is asked for, of as many values."""
    return (1, *sizes) if 0 not in sizes and prod(sizes) == prod(shape) else None


def permuted(shape: Shape, *axes: int) -> Shape | None:
    """The sizes in the order that is asked for."""
    return tuple(shape[n] for n in axes) if axes[0] == 0 and sorted(axes) == list(range(len(shape))) else None


def without_axis(shape: Shape, axis: int, kept: int) -> Shape | None:
    """The shape without the axis, or with one value along it."""
    if not (0 < axis < len(shape) and kept in (0, 1) and len(shape) > 2 - kept):
        return None
    return (*shape[:axis], *((1,) if kept else ()), *shape[axis + 1 :])


def part_of(shape: Shape, axis: int, start: int, stop: int) -> Shape | None:
    """The shape with these indices of the axis alone."""
    return None if some_fit(shape, axis, start, stop) is None else (*shape[:axis], stop - start, *shape[axis + 1 :])


def shortened(shape: Shape, count: int, axis: int) -> Shape | None:
    """The shape with so many values along the axis."""
    fits = 0 < axis < len(shape) and 1 <= count <= shape[axis]
    return (*shape[:axis], count, *shape[axis + 1 :]) if fits else None


def resized(shape: Shape, height: int, width: int, corners: int = 0) -> Shape | None:
    """The shape of maps with so many rows and columns."""
    fits = len(shape) == 4 and 1 <= min(height, width) and max(height, width) <= MAX_SIDE and corners in (0, 1)
    return (*shape[:2], height, width) if fits else None


@dataclass(frozen=True)
class HostOperator:
    """compute(x, *numbers): of values [N, ...]; shape(shape, *numbers): what becomes of their shape, None where the
    numbers do not fit it; numbers: how many follow the name, None for one to ``most``."""

    compute: Callable[..., np.ndarray]
    shape: Callable[..., Shape | None]
    numbers: int | None
    most: int = MOST_AXES


HOST_OPERATORS: dict[str, HostOperator] = {
    "reshape": HostOperator(reshape, reshaped, None),
    "permute": HostOperator(permute, permuted, None),
    "part": HostOperator(part, part_of, 3),
    "sigmoid": HostOperator(sigmoid, kept_shape, 0),
    "tanh": HostOperator(tanh, kept_shape, 0),
    "softmax": HostOperator(softmax, kept_shape, 1),
    "log_softmax": HostOperator(log_softmax, kept_shape, 1),
    "normalise": HostOperator(normalise, kept_shape, 1),
    "argmax": HostOperator(argmax, without_axis, 2),
    "largest": HostOperator(largest, shortened, 2),
    "largest_at": HostOperator(largest_at, shortened, 2),
    "sigmoid_of": HostOperator(some(sigmoid), some_fit, 3),
    "tanh_of": HostOperator(some(tanh), some_fit, 3),
    "exp_of": HostOperator(some(np.exp), some_fit, 3),
    "square_of": HostOperator(some(np.square), some_fit, 3),
    "add_to": HostOperator(by_table(np.add), table_fits, None, MOST_NUMBERS),
    "multiply_by": HostOperator(by_table(np.multiply), table_fits, None, MOST_NUMBERS),
    "add_grid": HostOperator(add_grid, grid_fits, 8),
    "nearest": HostOperator(nearest, resized, 2),
    "bilinear": HostOperator(bilinear, resized, 3),
    "expand": HostOperator(expand, expanded, None),
    "flip": HostOperator(flip, kept_shape, 1),
    "cumulative_sum": HostOperator(cumulative_sum, kept_shape, 1),
    "max_pool": HostOperator(max_pool, pooled, POOL_NUMBERS),
    "average_pool": HostOperator(average_pool, pooled, POOL_NUMBERS),
    **{name: HostOperator(along_axis(f, said), one_left, 1) for name, (f, said) in ALONG_AXIS.items()},
    **{name: HostOperator(one_by_one(f, said), constants_fit, count) for name, (f, said, count) in ELEMENTWISE.items()},
}


def parsed(step: str, where: str) -> tuple[HostOperator, tuple[int, ...]]:
    """Operator and numbers of a step. Raises BfpError, which begins with ``where``, for one that is not known."""
    name, *numbers = step.split(".")
    operator = HOST_OPERATORS.get(name)
    if operator is None:
        raise BfpError(f"{where}: host operator {shown(step)} is not known; update the project")
    good = all(re.fullmatch("[0-9]{1,10}", n) for n in numbers)
    count = len(numbers) == operator.numbers if operator.numbers is not None else 1 <= len(numbers) <= operator.most
    if not (good and count):
        raise BfpError(f"{where}: host operator {shown(step)} does not have the numbers that {name} takes")
    return operator, tuple(int(n) for n in numbers)


def check(steps: Sequence[str], count: int, where: str) -> Shape:
    """The shape after the steps, of an image's ``count`` values, the batch axis 1 included.

    Raises BfpError, which begins with ``where``, unless the steps can be applied to so many values.
    """
    shape: Shape | None = (1, count)
    for step in steps:
        operator, numbers = parsed(step, where)
        shape = operator.shape(shape, *numbers)
        if shape is None:
            raise BfpError(f"{where}: host operator {shown(step)} does not fit what is before it; make the file again")
    return shape


def apply(steps: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Values [N, count] after all steps, [N, ...]. Raises BfpError for steps that do not fit them."""
    check(steps, prod(values.shape[1:]), "output")
    for step in steps:
        operator, numbers = parsed(step, "output")
        values = operator.compute(values, *numbers)
    return values
