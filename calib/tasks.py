"""What a network is for, and by which figure its outputs are compared with the float network's: one record for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.graph import Shape
from calib.measures import AGREEMENT, COSINE, MATCHED_BOXES, MEAN_IOU, PSNR, SIDES, Measure, best, same_class, same_side

MOST_IMAGE_CHANNELS = 4
STORED, RETURNED, BOXES = "stored", "returned", "boxes"
Alike = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of outputs [N, C, H, W] each, a number for each image [N]


@dataclass(frozen=True)
class Task:
    """One task. measure: its figure.

    answers: what is compared: STORED, the map [C, H, W] that the engine stores, since what the host computes behind it
    changes no answer; RETURNED, what the network returns; or BOXES that are made of that.
    alike(reference, quantised): the share of an image's answers that are the same, 0..1; None where there are no
    answers but values. right(outputs, labels): whether each image has the label's answer; None where labels say nothing.
    classes(output): how many classes a label or a name may mean, from the shape of an output.
    """

    name: str
    measure: Measure
    answers: str = RETURNED
    alike: Alike | None = None
    right: Alike | None = None
    classes: Callable[[Shape], int] = lambda output: int(np.prod(output))


def right_class(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the largest output is the label's."""
    return best(outputs).reshape(len(outputs)) == labels


def right_side(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the one output is above zero exactly where the label is 1."""
    return (outputs.reshape(len(outputs)) > 0) == (labels == 1)


def no_and_yes(output: Shape) -> int:
    """The classes of a binary network."""
    return 2


TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        Task("classification", AGREEMENT, STORED, same_class, right_class),
        Task("binary", SIDES, STORED, same_side, right_side, no_and_yes),
        Task("segmentation", MEAN_IOU, STORED, same_class, classes=lambda output: output[0]),
        Task("image", PSNR),
        Task("regression", PSNR),
        Task("detection", MATCHED_BOXES, BOXES),
        Task("features", COSINE),
    )
}


def task_named(name: str, tasks: Mapping[str, Task] = TASKS) -> Task:
    """The task of this name. Raises BfpError, which lists all, where there is none."""
    if name not in tasks:
        raise BfpError(f"task {name!r} is not known; say one of {', '.join(tasks)}")
    return tasks[name]


def task_of(stated: str | None, image: Shape, output: Shape, host: tuple[str, ...] = ()) -> tuple[Task, str]:
    """The task that a file states, or that shapes of input and output show, and a note where nobody stated it.

    host: steps that the host runs behind the output. Raises BfpError for a task that the output's shape cannot have.
    """
    channels, *size = output
    vector = size == [1, 1]
    if stated is None:
        found = "classification" if vector else "segmentation"
        if output == (1, 1, 1):
            found = "binary"
        elif vector and any(step.split(".")[0] == "normalise" for step in host):
            found = "features"
        elif not vector and (channels == 1 or channels <= MOST_IMAGE_CHANNELS and tuple(size) == tuple(image[1:])):
            found = "image"
        usual = found == "classification"  # as of any vector
        return TASKS[found], "" if usual else f"its output of {output} is judged as task = {found!r}; say another where it is"
    if stated == "classification" and not (vector and channels > 1) or stated == "segmentation" and channels < 2:
        raise BfpError(f"task {stated!r} needs two channels of output or more, not {output}; correct task")
    if stated == "binary" and channels != 1:
        raise BfpError(f"task {stated!r} needs one output, or one of each pixel, not {output}; correct task")
    return task_named(stated), ""
