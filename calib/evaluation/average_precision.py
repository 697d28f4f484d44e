"""Mean average precision of a detector's boxes against those of a ground truth, at an overlap of one half.

Of each class, the boxes of all images are taken in the order of their scores; precision is the share of those so far that
have a partner in the ground truth, recall the share of the ground truth that has one. Average precision is the area under
precision over recall, each precision raised to the best at that recall or a higher one (all points, as Pascal VOC counts since
2010). Its mean is over the classes that the ground truth has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bfp.boxes import Boxes, partners

LEAST = 0.5  # intersection over union of partners
RIGHT = 1.0


def seen(found: Sequence[Boxes], truths: Sequence[Boxes]) -> list[list[float]]:
    """What is kept of the boxes found in some images, each [class, score, 1 where it has a partner, else 0]."""
    kept = []
    for boxes, truth in zip(found, truths):
        hits = partners(boxes, truth, LEAST) >= 0
        kept += [[float(c), float(s), float(h)] for c, s, h in zip(boxes.classes, boxes.scores, hits)]
    return kept


def checked_box(box: object) -> list[float]:
    """One entry of ``seen`` that was kept in a file. Raises ValueError or TypeError for anything else."""
    kind, score, hit = (float(number) for number in box)
    if kind < 0 or kind != int(kind) or hit not in (0.0, RIGHT):
        raise ValueError(f"no box is {box}")
    return [kind, score, hit]


def mean_average_precision(found: Sequence[Sequence[float]], wanted: Sequence[int]) -> float | None:
    """The mean, 0..1, of ``seen`` boxes, where the ground truth has boxes of these classes; None where it has none."""
    boxes = np.array(found, np.float64).reshape(-1, 3)
    classes, counts = np.unique(np.array(wanted, np.int64), return_counts=True)
    each = [average_precision(boxes[boxes[:, 0] == c, 1:], int(count)) for c, count in zip(classes, counts)]
    return float(np.mean(each)) if each else None


def average_precision(boxes: np.ndarray, wanted: int) -> float:
    """Of the boxes of one class, float64 [n, 2], score and 1 or 0, of which so many are in the ground truth."""
    hits = boxes[np.argsort(-boxes[:, 0], kind="stable"), 1]
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * hits).sum() / wanted)
