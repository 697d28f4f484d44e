"""Maps that no single choice of channels and pixels makes: pieces side by side, and pixels spread out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Shape, Window
from calib.frontend.enlarging import SHUFFLE, enlarge, enlarged, factors_of, larger
from calib.frontend.views import View, gather

if TYPE_CHECKING:
    from calib.frontend.translation import Translation

MOST_WEIGHTS = 2**22  # of a convolution that only moves elements
MOST_COLUMNS = 2**24  # values of all windows of such a convolution, above which no engine has room for one
MOST_PIECES = 33  # along one axis: each takes a sum of whole maps


@dataclass(frozen=True)
class Separable:
    """A map of elements of another one: which channel, row and column each channel, row and column is, -1 for zeros.

    channels: int64 [C']; rows: int64 [H']; columns: int64 [W'].
    """

    channels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def index(self, shape: Shape) -> np.ndarray:
        """The elements' numbers in a map of this shape, int64 [C', H', W']."""
        c, r, q = self.channels[:, None, None], self.rows[:, None], self.columns
        return np.where((c < 0) | (r < 0) | (q < 0), -1, (c * shape[1] + r) * shape[2] + q)


def separable(index: np.ndarray, shape: Shape) -> Separable | None:
    """What a map [C', H', W'] of elements of a map of ``shape`` is along each axis; None where axes are entangled."""
    channel, pixel = index // (shape[1] * shape[2]), index % (shape[1] * shape[2])
    parts = (channel, pixel // shape[2], pixel % shape[2])
    lines = [np.where(index < 0, -1, part).max(axis=others) for part, others in zip(parts, ((1, 2), (0, 2), (0, 1)))]
    found = Separable(*lines)
    return found if np.array_equal(found.index(shape), index) else None


def runs(line: np.ndarray) -> list[np.ndarray]:
    """The places of a line of numbers cut up into pieces that have one step, each int64 in order; zeros in none."""
    found: list[np.ndarray] = []
    start, used = 0, np.flatnonzero(line >= 0)
    while start < len(used):
        stop = start + 1
        while stop < len(used) and _goes_on(line, used[start : stop + 1]):
            stop += 1
        found.append(used[start:stop])
        start = stop
    return found


def _goes_on(line: np.ndarray, places: np.ndarray) -> bool:
    steps = {int(b - a) if b > a else 0 for a, b in zip(line[places], line[places][1:])}
    return len(steps) == 1 and 0 not in steps and np.array_equal(np.diff(places), np.ones(len(places) - 1))


def assembled(t: Translation, fx: FxNode, tensor: str, index: np.ndarray) -> str | None:
    """A tensor that has the elements [C', H', W'] of another one in order, where neither axis depends on the others.

    One axis after the other: a single row or column is spread by a pool whose window always sees it; pieces that
    have one step are brought to their places and added up, which changes no value. None where that cannot be.
    """
    shape = t.draft.shapes[tensor]
    larger = enlarged(index, shape) if t.enlarges else None
    if larger is not None:
        return enlarge(t, fx, tensor, larger)
    if shape[1:] == (1, 1) and index.shape[1:] != (1, 1) and shape[0] * index.size <= MOST_WEIGHTS:
        return unfolded(t, fx, tensor, index)
    found = separable(index, shape)
    if found is None:
        return None
    still = [np.arange(size) for size in shape]
    wanted = [found.channels, found.rows, found.columns]
    fewer = len(found.channels) <= shape[0]
    for axis in (0, 1, 2) if fewer else (1, 2, 0):
        line = wanted[axis]
        still[axis] = line
        if np.array_equal(line, np.arange(shape[axis])):
            continue
        tensor = along(t, fx, tensor, Separable(*still), axis)
        if tensor is None:
            return None
        shape = t.draft.shapes[tensor]
        still[axis] = np.arange(shape[axis])
    return tensor


def unfolded(t: Translation, fx: FxNode, tensor: str, index: np.ndarray) -> str:
    """A map [C', H', W'] of the channels of a single pixel: a convolution with one weight of 1 for each element.

    Around the pixel are so many zeros that each element's window holds it at a place of its own. Where that would be very many,
    channels in their order become pixels instead.
    """
    channels, rows, columns = index.shape
    if t.enlarges and t.draft.shapes[tensor][0] * (rows * columns) ** 2 > MOST_COLUMNS:
        made = as_pixels(t, fx, tensor, index)
        if made is not None:
            return made
    weight = np.zeros((channels, t.draft.shapes[tensor][0], rows, columns), np.float32)
    c, y, x = np.nonzero(index >= 0)
    weight[c, index[c, y, x], rows - 1 - y, columns - 1 - x] = 1
    window = Window((rows, columns), (1, 1), (rows - 1, columns - 1) * 2)
    return t.node(fx, "conv", (tensor,), channels, (weight, np.zeros(channels, np.float32)), window=window)


def as_pixels(t: Translation, fx: FxNode, tensor: str, index: np.ndarray) -> str | None:
    """The same map where it has each channel once, in the order of its pixels; None where it does not."""
    steps = [factors_of(size) for size in index.shape[1:]]
    wanted = index.transpose(1, 2, 0).reshape(-1)
    if None in steps or not np.array_equal(wanted, np.arange(t.draft.shapes[tensor][0])):
        return None
    for factor in steps[0]:
        tensor = larger(t, fx, SHUFFLE, tensor, (factor, 1))
    for factor in steps[1]:
        tensor = larger(t, fx, SHUFFLE, tensor, (1, factor))
    return tensor


def along(t: Translation, fx: FxNode, tensor: str, wanted: Separable, axis: int) -> str | None:
    """A tensor whose elements are moved along one axis, None where that takes too many pieces."""
    shape = t.draft.shapes[tensor]
    line = (wanted.channels, wanted.rows, wanted.columns)[axis]
    if axis == 0:
        index = wanted.index(shape)
        return t.ordered(fx, View(tensor, index[None]), (1, *index.shape)) if gather(index, shape) else None
    if len(np.unique(line)) == 1 and line[0] >= 0 and len(line) > 1:
        return spread(t, fx, tensor, int(line[0]), axis, len(line))
    parts = runs(line)
    if not 1 <= len(parts) <= MOST_PIECES:
        return None
    sums = []
    for part in parts:
        piece = replace(wanted, **{("channels", "rows", "columns")[axis]: line[part]}).index(shape)
        if gather(piece, shape) is None:
            return None
        cut = t.ordered(fx, View(tensor, piece[None]), (1, *piece.shape))
        before, behind = int(part[0]), len(line) - 1 - int(part[-1])
        window = Window(padding=(before, 0, behind, 0) if axis == 1 else (0, before, 0, behind))
        sums.append(t.node(fx, "slice_pad", (cut,), window=window))
    while len(sums) > 1:
        sums.append(t.node(fx, "add", (sums.pop(0), sums.pop(0))))
    return sums[0]


def spread(t: Translation, fx: FxNode, tensor: str, place: int, axis: int, count: int) -> str:
    """A tensor that has one row (axis 1) or column (axis 2) of another one so many times."""
    before, behind = place, t.draft.shapes[tensor][axis] - 1 - place
    if before or behind:
        crop = Window(padding=(-before, 0, -behind, 0) if axis == 1 else (0, -before, 0, -behind))
        tensor = t.node(fx, "slice_pad", (tensor,), window=crop)
    # of all that a window sees, one row or column is no padding
    kernel, around = ((count, 1), (count - 1, 0)) if axis == 1 else ((1, count), (0, count - 1))
    return t.node(fx, "max_pool", (tensor,), window=Window(kernel, (1, 1), (*around, *around)))
