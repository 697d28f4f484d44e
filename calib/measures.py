"""Figures that say how like a quantised network's answers are to the float network's; the larger, the better.

A figure is of a set of images, not a mean of figures: each image gives a row of numbers, rows are merged column by
column, and the figure is computed from what they come to. So it does not depend on batches, and can go on after an
interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bfp.boxes import Boxes, overlaps, partners

MOST_DB = 120.0  # of a figure in dB where nothing differs
SHARE, DECIBELS, NUMBER = "share", "dB", "number"  # what a figure counts in
PARTNERS = 0.5  # intersection over union from which two boxes of one class are the same


def sums(rows: np.ndarray) -> np.ndarray:
    """Rows [N, k] whose columns add up, as one [k]."""
    return rows.sum(0)


@dataclass(frozen=True)
class Measure:
    """One figure.

    name: as results have it. rows(reference, quantised): of the answers of N images, float64 [N, k]. figure(row): of
    merged rows [k]. merged(rows): [N, k] to [k]. unit: SHARE (0..1), DECIBELS or NUMBER. words: the figure in a sentence.
    """

    name: str
    rows: Callable[..., np.ndarray]
    figure: Callable[[np.ndarray], float]
    words: str
    merged: Callable[[np.ndarray], np.ndarray] = sums
    unit: str = SHARE

    def of_set(self, rows: np.ndarray) -> float:
        """The figure of the images that gave these rows [N, k]."""
        return self.figure(self.merged(rows))


def counted(values: np.ndarray) -> np.ndarray:
    """Rows of which ``mean`` is the mean of the values [N]."""
    return np.stack([np.asarray(values, np.float64), np.ones(len(values))], 1)


def mean(row: np.ndarray) -> float:
    """The sum in the first column by the count in the second."""
    return float(row[0] / max(row[1], 1))


def flat(values: np.ndarray) -> np.ndarray:
    """Each image's values in a line, [N, values]."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))


def best(outputs: np.ndarray) -> np.ndarray:
    """The class of every pixel [N, H, W] of maps [N, C, H, W]; the first of equal ones."""
    return outputs.argmax(1)


def same_class(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """The share of pixels of each image whose largest channel is the same."""
    return (best(reference) == best(quantised)).mean((1, 2))


def same_side(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """The share of each image's values that are on the same side of zero."""
    return (flat(reference > 0) == flat(quantised > 0)).mean(1)


def overlap_rows(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """Pixels of each class in both outputs of an image, then those in either: [N, 2 C] of maps [N, C, H, W]."""
    classes = reference.shape[1]
    rows = np.zeros((len(reference), 2 * classes))
    for row, a, b in zip(rows, best(reference), best(quantised)):
        both = np.bincount(a[a == b], minlength=classes)
        either = np.bincount(a.ravel(), minlength=classes) + np.bincount(b.ravel(), minlength=classes) - both
        row[:] = np.concatenate([both, either])
    return rows


def mean_overlap(row: np.ndarray) -> float:
    """The mean intersection over union of the classes that occur."""
    both, either = np.split(row, 2)
    return float((both[either > 0] / either[either > 0]).mean()) if either.any() else 1.0


def difference_rows(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """Smallest and largest value of the reference, squared difference, and number of values of each image."""
    reference, quantised = flat(reference), flat(quantised)
    squares = ((reference - quantised) ** 2).sum(1)
    return np.stack([reference.min(1), reference.max(1), squares, np.full(len(reference), float(reference.shape[1]))], 1)


def ends_and_sums(rows: np.ndarray) -> np.ndarray:
    """``difference_rows`` of several images as one."""
    return np.array([rows[:, 0].min(), rows[:, 1].max(), rows[:, 2].sum(), rows[:, 3].sum()])


def peak_db(row: np.ndarray) -> float:
    """Peak signal to noise ratio, dB, at most MOST_DB; the peak is the range of the float network's values."""
    low, high, squares, values = row
    noise = np.sqrt(squares / values)
    peak = high - low
    if noise <= peak * 10 ** (-MOST_DB / 20):
        return MOST_DB
    return float(max(20 * np.log10(max(peak, 1e-30) / noise), -MOST_DB))


def cosine(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """The cosine of the angle between both outputs of each image; 1 where both are zero."""
    a, b = flat(reference), flat(quantised)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(1) & ~b.any(1)
    return np.where(both_zero, 1.0, (a * b).sum(1) / np.maximum(lengths, 1e-300))


def box_rows(reference: Sequence[Boxes], quantised: Sequence[Boxes]) -> np.ndarray:
    """Of each image: boxes that have a partner in the other network's, both counted, all boxes, pairs, their overlaps."""
    rows = np.zeros((len(reference), 4))
    for row, a, b in zip(rows, reference, quantised):
        partner = partners(b, a, PARTNERS)
        paired = partner >= 0
        shared = overlaps(b.corners[paired], a.corners)[np.arange(paired.sum()), partner[paired]]
        row[:] = 2 * paired.sum(), len(a) + len(b), paired.sum(), shared.sum()
    return rows


def share_of_boxes(row: np.ndarray) -> float:
    """The boxes of both networks that have a partner, as a share of all; 1 where there is none."""
    return float(row[0] / row[1]) if row[1] else 1.0


AGREEMENT = Measure(
    "agreement", lambda a, b: counted(same_class(a, b)), mean, "the share of answers that are the float network's"
)
SIDES = Measure("agreement", lambda a, b: counted(same_side(a, b)), mean, AGREEMENT.words)
MEAN_IOU = Measure(
    "mean_iou", overlap_rows, mean_overlap,
    "intersection over union with the float network's classes, the mean over the classes that occur",
)  # fmt: skip
PSNR = Measure(
    "psnr_db", difference_rows, peak_db,
    "the range of the float network's outputs over the root mean square of the differences", ends_and_sums, DECIBELS,
)  # fmt: skip
COSINE = Measure(
    "cosine", lambda a, b: counted(cosine(a, b)), mean,
    "the cosine of the angle between both networks' outputs, the mean over the images",
)  # fmt: skip
MATCHED_BOXES = Measure(
    "matched_boxes", box_rows, share_of_boxes,
    f"the share of both networks' boxes that have a partner: one of the same class in the other network's, of which "
    f"intersection over union is {PARTNERS} or more",
)  # fmt: skip
MEASURES = {m.name: m for m in (AGREEMENT, MEAN_IOU, PSNR, COSINE, MATCHED_BOXES)}
