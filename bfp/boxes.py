"""Boxes that a detector found: how much two of them overlap, which are the same, and which are left of many alike.

Corners are left, top, right and bottom, in whatever unit; a box reaches from left to right and from top to bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CANDIDATES = 1000  # boxes of an image, those of the highest scores, among which copies are looked for


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image. corners: float64 [n, 4]; scores: float64 [n]; classes: int64 [n]."""

    corners: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: np.ndarray) -> Boxes:
        """Those of these indices, or where this mask holds."""
        return Boxes(self.corners[chosen], self.scores[chosen], self.classes[chosen])

    @staticmethod
    def none() -> Boxes:
        """No box at all."""
        return Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def areas(corners: np.ndarray) -> np.ndarray:
    """The areas [n] of boxes [n, 4]; none of one that is turned inside out."""
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4]; 0 where both have no area."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    both = sides[..., 0] * sides[..., 1]
    either = areas(a)[:, None] + areas(b)[None] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def suppressed(boxes: Boxes, overlap: float, most: int) -> Boxes:
    """Non-maximum suppression: of boxes of one class that overlap by more than ``overlap``, the one of the highest score.

    At most ``most`` are left, in the order of their scores. Of equal scores, which narrow mantissas often give, the box
    that comes first counts as the higher one. Only CANDIDATES boxes are looked at, those of the highest scores.
    """
    boxes = boxes[np.argsort(-boxes.scores, kind="stable")[:CANDIDATES]]
    copies = (overlaps(boxes.corners, boxes.corners) > overlap) & (boxes.classes[:, None] == boxes.classes)
    alive, kept = np.ones(len(boxes), bool), []
    for n in range(len(boxes)):
        if alive[n] and len(kept) < most:
            kept.append(n)
            alive &= ~copies[n]
    return boxes[np.array(kept, np.int64)]


def partners(found: Boxes, wanted: Boxes, least: float) -> np.ndarray:
    """For each box of ``found`` the index of its partner among ``wanted``, int64 [n]; -1 where it has none.

    A partner is of the same class, and intersection over union is at least ``least``. The boxes of ``found`` choose in
    the order of their scores (of equal ones the first), each the one that it overlaps most (of equal ones the first) of
    those that are not taken.
    """
    shared = overlaps(found.corners, wanted.corners)
    shared[(found.classes[:, None] != wanted.classes) | (shared < least)] = -1.0
    partner = np.full(len(found), -1, np.int64)
    for n in np.argsort(-found.scores, kind="stable") if len(wanted) else ():
        best = int(shared[n].argmax())
        if shared[n, best] >= 0:
            partner[n] = best
            shared[:, best] = -1.0
    return partner
