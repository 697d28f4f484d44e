"""What a network is for, and by which figure its outputs are compared with the float network's: one record for each task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.graph import Shape

MOST_DB = 120.0  # of a figure in dB where nothing differs
MOST_IMAGE_CHANNELS = 4
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of outputs [N, C, H, W] each, a number for each image [N]


@dataclass(frozen=True)
class Task:
    """One task. metric: name of ``figure``, the mean over the images of what it gives for each.

    alike(reference, quantised): the share of an image's answers that are the same, 0..1; None where there are no
    answers but values. right(outputs, labels): whether each image has the label's answer; None where labels say nothing.
    labels: how many different labels a network of so many outputs knows.
    """

    name: str
    metric: str
    figure: Measure
    alike: Measure | None = None
    right: Measure | None = None
    labels: Callable[[int], int] = lambda outputs: outputs


def best(outputs: np.ndarray) -> np.ndarray:
    """The class of each image [N], or of each pixel [N, H, W]."""
    return outputs.argmax(1)


def same_class(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """The share of pixels of each image whose largest channel is the same."""
    return (best(reference) == best(quantised)).mean((1, 2))


def same_sign(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """The share of each image's values on the same side of zero, where a sigmoid is a half."""
    return ((reference > 0) == (quantised > 0)).mean((1, 2, 3))


def right_class(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the largest output is the label's."""
    return best(outputs).reshape(len(outputs)) == labels


def right_side(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the output is above zero exactly where the label is 1."""
    return (outputs.reshape(len(outputs)) > 0) == (labels == 1)


def mean_iou(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """The mean over the classes of an image, in either output, of intersection over union."""
    found = []
    for a, b in zip(best(reference), best(quantised)):
        classes = np.union1d(a, b)
        found.append(np.mean([((a == c) & (b == c)).sum() / ((a == c) | (b == c)).sum() for c in classes]))
    return np.array(found)


def peak_db(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """Peak signal to noise ratio of each image in dB; the peak is the range of its float output."""
    peak = np.ptp(reference.reshape(len(reference), -1), axis=1)
    noise = np.sqrt(((reference - quantised) ** 2).mean((1, 2, 3)))
    floor = 10 ** (-MOST_DB / 20)
    return 20 * np.log10(np.maximum(peak, 1e-30) / np.maximum(noise, floor * np.maximum(peak, 1e-30)))


def cosine(reference: np.ndarray, quantised: np.ndarray) -> np.ndarray:
    """The cosine of the angle between both outputs of each image."""
    a, b = (x.reshape(len(x), -1) for x in (reference, quantised))
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)


TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        Task("classification", "agreement", same_class, same_class, right_class),
        Task("binary", "agreement", same_sign, same_sign, right_side, lambda outputs: 2),
        Task("segmentation", "mean_iou", mean_iou, same_class),
        Task("image", "psnr_db", peak_db),
        Task("regression", "psnr_db", peak_db),
        Task("features", "cosine", cosine),
    )
}


def task_of(stated: str | None, image: Shape, output: Shape) -> tuple[Task, str]:
    """The task that a file states, or that shapes of input and output show, and a note where nobody stated it.

    Raises BfpError for a task that the output's shape cannot have.
    """
    channels, *size = output
    vector = size == [1, 1]
    if stated is None:
        found = "classification" if vector else "segmentation"
        if output == (1, 1, 1):
            found = "binary"
        elif not vector and (channels == 1 or channels <= MOST_IMAGE_CHANNELS and tuple(size) == tuple(image[1:])):
            found = "image"
        usual = vector and channels > 1  # classes, as of any vector
        return TASKS[found], "" if usual else f"its output of {output} is judged as task = {found!r}; say another where it is"
    if stated == "classification" and not (vector and channels > 1) or stated == "segmentation" and channels < 2:
        raise BfpError(f"task {stated!r} needs two channels of output or more, not {output}; correct task")
    if stated == "binary" and output != (1, 1, 1):
        raise BfpError(f"task {stated!r} needs one output, not {output}; correct task")
    return TASKS[stated], ""
