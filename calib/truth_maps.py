"""How near outputs that are maps are to the truth: masks of classes, or the pictures that images should become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bfp.errors import BfpError
from bfp.host_operators import bilinear
from calib.data.images import ImageSet
from calib.data.targets import UNKNOWN
from calib.measures import MOST_DB, mean, mean_overlap

if TYPE_CHECKING:
    from calib.judge import Judge

PEAK = 255.0  # of a pixel
OF_MASKS, OF_PICTURES = "miou", "target_psnr"  # names of the figures, as results have them


@dataclass(frozen=True)
class TruthMaps:
    """What is known of every image's output.

    name: of the figure. of(n): the truth of image n, a mask or pixels. rows(outputs, first): of outputs [N, values] of the images from ``first`` on, float64 [N, k], which
    add up; figure(row): of such a sum [k].
    """

    name: str
    of: Callable[[int], np.ndarray]
    rows: Callable[[np.ndarray, int], np.ndarray]
    figure: Callable[[np.ndarray], float]


def truth_maps(judge: Judge, images: ImageSet) -> TruthMaps | None:
    """What the masks or targets of the images say; None where they have none.

    Raises BfpError for a task or an output that they say nothing of.
    """
    if not images.has_targets:
        return None
    if judge.task.name in ("segmentation", "binary"):
        return _of_masks(judge, images)
    if judge.task.name == "image":
        return _of_pictures(judge, images)
    raise BfpError(
        f"targets are masks or pictures, and the network's task is {judge.task.name}; leave them out, or say task = "
        '"segmentation", "binary" or "image"'
    )


def _of_masks(judge: Judge, images: ImageSet) -> TruthMaps:
    """The mean intersection over union with the masks, of the classes that occur, all pixels of all images together."""
    classes = judge.classes

    def of(n: int) -> np.ndarray:
        return images.mask(n, classes)

    def rows(outputs: np.ndarray, first: int) -> np.ndarray:
        found = np.zeros((len(outputs), 2 * classes))
        maps = bilinear(judge.answers(outputs), *images.pre.size, 0)  # the size of the input, as masks are
        for n, values in enumerate(maps):
            best = values.argmax(0) if len(values) > 1 else (values[0] > 0).astype(np.int64)
            found[n] = overlap_row(best, of(first + n), classes)
        return found

    return TruthMaps(OF_MASKS, of, rows, mean_overlap)


def overlap_row(found: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class in both maps [H, W], then those in either, [2 C]; only where the truth is known."""
    known = truth != UNKNOWN
    a, b = truth[known].astype(np.int64), found[known]
    both = np.bincount(a[a == b], minlength=classes)
    either = np.bincount(a, minlength=classes) + np.bincount(b, minlength=classes) - both
    return np.concatenate([both, either]).astype(np.float64)


def _of_pictures(judge: Judge, images: ImageSet) -> TruthMaps:
    """Peak signal to noise ratio to the targets in pixels 0..255, dB, at most MOST_DB; the mean over the images."""
    shape = judge.returned(np.zeros((1, judge.outputs))).shape[1:]
    shape = (1, *shape) if len(shape) == 2 else shape
    if len(shape) != 3:
        raise BfpError(f"targets are pictures, and the network returns values of shape {shape}; leave targets out")
    means, stds = (np.array(v) for v in (images.pre.mean, images.pre.std))
    alike = len(means) == shape[0]
    if not alike and (len(set(means)) > 1 or len(set(stds)) > 1):
        raise BfpError(
            f"the output has {shape[0]} channels and the input {len(means)} with a mean and std each, so that nobody knows what "
            "pixels the output means; leave targets out"
        )
    mean_, std = (v[:, None, None] if alike else v[0] for v in (means, stds))

    def of(n: int) -> np.ndarray:
        return images.target(n, shape)

    def rows(outputs: np.ndarray, first: int) -> np.ndarray:
        pixels = np.clip(judge.returned(outputs).reshape(-1, *shape) * std + mean_, 0, PEAK)
        ratios = []
        for n, values in enumerate(pixels):
            error = np.sqrt(((values - of(first + n)) ** 2).mean())
            ratios.append(MOST_DB if error <= PEAK * 10 ** (-MOST_DB / 20) else 20 * np.log10(PEAK / error))
        return np.stack([np.array(ratios), np.ones(len(ratios))], 1)

    return TruthMaps(OF_PICTURES, of, rows, mean)
