"""What the host computes of each value for itself, along an axis, or in windows, in float64: steps of bfp.host_operators.

Constants are the bits of float32 as whole numbers, as in bfp.host_columns.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from bfp.functions import FUNCTIONS
from bfp.host_columns import Shape, values_of
from bfp.limits import MAX_HOST_VALUES

MOST_BITS = 2**32
POOL_NUMBERS = 6  # kernel, stride and padding, of rows and of columns each


def one_by_one(function: Callable[..., np.ndarray], said: str) -> Callable[..., np.ndarray]:
    """A step of every value for itself, with so many constants as the function takes behind it."""

    def compute(x: np.ndarray, *bits: int) -> np.ndarray:
        with np.errstate(all="ignore"):
            return function(x, *values_of(bits))

    compute.__doc__ = said
    return compute


def constants_fit(shape: Shape, *bits: int) -> Shape | None:
    """The shape, where the constants are finite."""
    good = all(n < MOST_BITS for n in bits) and np.isfinite(values_of(bits)).all()
    return shape if good else None


def along_axis(function: Callable[..., np.ndarray], said: str) -> Callable[..., np.ndarray]:
    """A step that leaves one value along an axis."""

    def compute(x: np.ndarray, axis: int) -> np.ndarray:
        return function(x, axis, keepdims=True)

    compute.__doc__ = said
    return compute


def one_left(shape: Shape, axis: int) -> Shape | None:
    """The shape with one value along the axis."""
    return (*shape[:axis], 1, *shape[axis + 1 :]) if 0 < axis < len(shape) else None


def cumulative_sum(x: np.ndarray, axis: int) -> np.ndarray:
    """The sums of what lies along an axis up to each index."""
    return x.cumsum(axis)


def flip(x: np.ndarray, axis: int) -> np.ndarray:
    """What lies along an axis in the opposite order."""
    return np.flip(x, axis)


def expand(x: np.ndarray, *sizes: int) -> np.ndarray:
    """The values repeated along the axes that have one index, to the sizes that are given."""
    return np.broadcast_to(x, (len(x), *sizes))


def expanded(shape: Shape, *sizes: int) -> Shape | None:
    """The shape that is asked for, where it is the old one but for axes of one index."""
    fits = len(sizes) == len(shape) - 1 and all(old in (1, new) for old, new in zip(shape[1:], sizes))
    return (1, *sizes) if fits and 0 < prod(sizes) <= MAX_HOST_VALUES else None


def windows_of(x: np.ndarray, numbers: tuple[int, ...], border: float) -> np.ndarray:
    """The windows [N, C, OH, OW, KH, KW] of maps [N, C, H, W]; border: what lies around them."""
    kh, kw, sh, sw, top, left = numbers
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=border)
    return np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), (2, 3))[:, :, ::sh, ::sw]


def max_pool(x: np.ndarray, *numbers: int) -> np.ndarray:
    """The largest value of each window of maps: kernel, stride and padding, of rows and of columns."""
    return windows_of(x, numbers, -np.inf).max((-2, -1))


def average_pool(x: np.ndarray, *numbers: int) -> np.ndarray:
    """The mean of each window of maps, zeros around them included: kernel, stride and padding, of rows and of columns."""
    return windows_of(x, numbers, 0.0).mean((-2, -1))


def pooled(shape: Shape, *numbers: int) -> Shape | None:
    """The shape of maps after pooling; a window is no larger than twice the map, and sees some of it."""
    kernel, stride, padding = numbers[:2], numbers[2:4], numbers[4:]
    if len(shape) != 4 or min(*kernel, *stride) < 1:
        return None
    if any(2 * p > k or k > n + 2 * p for p, k, n in zip(padding, kernel, shape[2:])):
        return None
    return (*shape[:2], *((n + 2 * p - k) // s + 1 for n, p, k, s in zip(shape[2:], padding, kernel, stride)))


def truth(x: np.ndarray) -> np.ndarray:
    """One where a value is not zero, else zero."""
    return (x != 0).astype(np.float64)


# name: function and what it says of itself; those of bfp.functions besides
ELEMENTWISE: dict[str, tuple[Callable[..., np.ndarray], str, int]] = {
    "exp": (np.exp, "The exponential of every value.", 0),
    "log": (np.log, "The natural logarithm of every value.", 0),
    "sqrt": (np.sqrt, "The square root of every value.", 0),
    "sin": (np.sin, "The sine of every value.", 0),
    "cos": (np.cos, "The cosine of every value.", 0),
    "arctan": (np.arctan, "The arc tangent of every value.", 0),
    "sign": (np.sign, "-1, 0 or 1: the sign of every value.", 0),
    "floor": (np.floor, "The largest whole number that is no larger than a value.", 0),
    "round": (np.rint, "The nearest whole number, of two the even one.", 0),
    "trunc": (np.trunc, "A value without what is behind the point.", 0),
    "truth": (truth, truth.__doc__, 0),
    "plus": (np.add, "A constant added to every value.", 1),
    "times": (np.multiply, "Every value times a constant.", 1),
    "power": (np.power, "A constant power of every value.", 1),
    "at_least": (np.maximum, "The larger one of every value and a constant.", 1),
    "at_most": (np.minimum, "The smaller one of every value and a constant.", 1),
    **{
        f.name: (f.evaluate, f"The function {f.name} of every value for itself.", len(f.arguments))
        for f in FUNCTIONS.values()
        if f.name not in ("sigmoid", "tanh")
    },
}
ALONG_AXIS: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "sum": (np.sum, "The sum along an axis, which keeps one index."),
    "mean": (np.mean, "The mean along an axis, which keeps one index."),
    "highest": (np.max, "The largest value along an axis, which keeps one index."),
    "lowest": (np.min, "The smallest value along an axis, which keeps one index."),
    "product": (np.prod, "The product along an axis, which keeps one index."),
}
