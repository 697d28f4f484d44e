"""Values that are the elements of a tensor in another order: what views, permutations and slices make.

Which element stands where is found by running the ATen operator itself on the numbers of the elements, so that no
operator that only moves elements needs a rule of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from bfp.graph import Shape, Window


@dataclass(frozen=True, eq=False)
class View:
    """An ATen value: elements of a tensor of the draft.

    index: for each element of the value, which of the tensor's channels x height x width elements it is, int64 in the
    value's own shape, -1 for a zero; None: all of them, in their own order.
    """

    tensor: str
    index: np.ndarray | None = None


@dataclass(frozen=True)
class Gather:
    """A map whose channels are single channels of another map, seen through one stride.

    channels: for each output channel its input channel, int64 [C'], -1 for zeros; row, column: its place in the kernel,
    int64 [C'] each. window: kernel (at most as large as the stride), stride and padding.
    """

    channels: np.ndarray
    row: np.ndarray
    column: np.ndarray
    window: Window

    @property
    def pixelwise(self) -> bool:
        """Whether every pixel stays where it is."""
        return self.window == Window()

    def offset(self, count: int) -> int | None:
        """What ``channel_offset`` of a slice_pad says the same of ``count`` input channels, None where none does."""
        used = np.flatnonzero(self.channels >= 0)
        if self.window.kernel != (1, 1) or not len(used):
            return None
        offset = int(used[0] - self.channels[used[0]])
        moved = np.arange(len(self.channels)) - offset
        wanted = np.where((moved >= 0) & (moved < count), moved, -1)
        return offset if np.array_equal(wanted, self.channels) else None

    def weights(self, count: int) -> np.ndarray:
        """Ones and zeros of the convolution that computes it: float32 [C', count, kernel height, kernel width]."""
        found = np.zeros((len(self.channels), count, *self.window.kernel), np.float32)
        used = np.flatnonzero(self.channels >= 0)
        found[used, self.channels[used], self.row[used], self.column[used]] = 1
        return found


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    """The index of a value of this shape whose elements are in order."""
    return np.arange(prod(shape), dtype=np.int64).reshape(shape)


def is_order(index: np.ndarray, count: int) -> bool:
    """Whether every one of ``count`` elements occurs exactly once."""
    return index.size == count and np.array_equal(np.sort(index, axis=None), np.arange(count))


def boxed(index: np.ndarray, shape: Shape) -> np.ndarray | None:
    """The elements of an index as a map of some channels, rows and columns of a map of ``shape``, int64 [1, C', H', W'].

    Such is a picture's single channel, whose axes are no channels any more. None where it is no such map of more than one
    row and column, or where an element occurs twice.
    """
    channel, pixel = index // (shape[1] * shape[2]), index % (shape[1] * shape[2])
    channels, rows, columns = (np.unique(part) for part in (channel, pixel // shape[2], pixel % shape[2]))
    found = ((channels[:, None, None] * shape[1] + rows[:, None]) * shape[2] + columns)[None]
    if index.min() < 0 or found.size != index.size or min(found.shape[2:]) == 1:
        return None
    return found if np.array_equal(np.sort(index, axis=None), found.reshape(-1)) else None


def channel_order(index: np.ndarray, shape: Shape) -> np.ndarray | None:
    """The input channel of each channel along axis 1 where every pixel stays at its place, int64 [C'], -1 for zeros.

    None where pixels move, or where axis 1 is not the channels.
    """
    pixels = shape[1] * shape[2]
    if index.ndim < 2 or index.shape[0] != 1 or prod(index.shape[2:]) != pixels:
        return None
    rows = index.reshape(index.shape[1], pixels)
    order = np.where(rows[:, 0] < 0, -1, rows[:, 0] // pixels)
    wanted = np.where(order[:, None] < 0, -1, order[:, None] * pixels + np.arange(pixels))
    return order if np.array_equal(rows, wanted) else None


def ordered_index(order: np.ndarray, shape: Shape) -> np.ndarray:
    """The index [1, C', height, width] of a tensor of this shape seen in an order of channels."""
    pixels = shape[1] * shape[2]
    index = np.where(order[:, None] < 0, -1, order[:, None] * pixels + np.arange(pixels))
    return index.reshape(1, len(order), *shape[1:])


def gather(index: np.ndarray, shape: Shape) -> Gather | None:
    """How a map [C', H', W'] of elements of a map of ``shape`` is gathered; None where no window and stride says it."""
    pixels = shape[1] * shape[2]
    channels = np.where(index < 0, -1, index // pixels).reshape(len(index), -1).max(axis=1)
    used = np.flatnonzero(channels >= 0)
    if not len(used):
        return None
    axes = []
    for axis, places in ((0, index % pixels // shape[2]), (1, index % shape[2])):
        found = _along(np.where(index < 0, -1, places)[used], axis, shape[1 + axis])
        if found is None:
            return None
        axes.append(found)
    (row, kernel_h, stride_h, top, bottom), (column, kernel_w, stride_w, left, right) = axes
    full = np.zeros((2, len(index)), np.int64)
    full[:, used] = row, column
    window = Window((kernel_h, kernel_w), (stride_h, stride_w), (top, left, bottom, right))
    result = Gather(channels, full[0], full[1], window)
    return result if np.array_equal(_shown(result, shape, index.shape[1:]), index) else None


def _along(places: np.ndarray, axis: int, size: int) -> tuple[np.ndarray, int, int, int, int] | None:
    """Of one axis: each channel's place in the kernel, kernel, stride, padding before and behind.

    places: int64 [C', H', W'] along that axis, -1 for zeros.
    """
    lines = places.max(axis=2 - axis)  # [C', H'] or [C', W']
    count = lines.shape[1]
    steps = {int(d) for line in lines for d in np.unique(np.diff(line[line >= 0]))}
    if len(steps) > 1 or steps and min(steps) < 1:
        return None
    first = np.argmax(lines >= 0, axis=1)
    values = lines[np.arange(len(lines)), first]
    stride = steps.pop() if steps else max(1, int(np.ptp(values)) + 1 if count == 1 else 1)
    starts = values - first * stride
    low, kernel = int(starts.min()), int(np.ptp(starts)) + 1
    if kernel > stride:
        return None
    behind = (count - 1) * stride + kernel + low - size
    return starts - low, kernel, stride, -low, behind


def _shown(result: Gather, shape: Shape, size: tuple[int, int]) -> np.ndarray:
    """The index [C', H', W'] that a gather shows."""
    top, left, _, _ = result.window.padding
    rows = result.row[:, None] - top + np.arange(size[0]) * result.window.stride[0]
    columns = result.column[:, None] - left + np.arange(size[1]) * result.window.stride[1]
    inside = ((rows >= 0) & (rows < shape[1]))[:, :, None] & ((columns >= 0) & (columns < shape[2]))[:, None]
    inside &= (result.channels >= 0)[:, None, None]
    at = (result.channels[:, None, None] * shape[1] + rows[:, :, None]) * shape[2] + columns[:, None]
    return np.where(inside, at, -1)
