"""Maps that no single choice of channels and pixels makes: pieces side by side, and pixels spread out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.graph import Shape

MOST_WEIGHTS = 2**22  # of a convolution that only moves elements
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
