"""Who judges a quantised network's outputs: a task with what it has to know of the network, its images and its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Union

import numpy as np

from bfp import host_operators
from bfp.boxes import Boxes
from bfp.detection import Detection, detect
from bfp.graph import Graph, Shape
from bfp.placement import Placement
from calib.data.images import ImageSet
from calib.measures import Measure
from calib.tasks import BOXES, RETURNED, STORED, Task
from calib.truth_maps import TruthMaps, truth_maps
from calib.user_metric import UserMetric

LEAST_SCORE = 0.01  # of boxes that are compared with those of the ground truth
Answers = Union[np.ndarray, Sequence[Boxes]]  # of N images: values, the images along the first axis, or the boxes of each


@dataclass(frozen=True)
class Judge:
    """How outputs are judged.

    shape: of one image's stored output; host: the steps that the host runs behind it. labels: of all images, int64
    [images], or None. note: what the task was found by, or empty. threshold: of a binary network, of what it returns;
    None: of zero before the host's steps, where a sigmoid is a half. detection: how a detector's outputs become boxes;
    size: rows and columns of the input. truths: the boxes of the ground truth of all images, in pixels of the pictures, or
    None; placement(n): where the picture of image n lies in the input. metric: the user's, in place of the task's measure.
    output: name of the output that is judged. heads: of a detector, shape and steps of every output by name, all of which
    hold boxes; None where that is the only one. maps: what masks or targets say of all images, or None.
    """

    task: Task
    shape: Shape
    labels: np.ndarray | None = None
    note: str = ""
    host: tuple[str, ...] = ()
    threshold: float | None = None
    detection: Detection | None = None
    size: tuple[int, int] = (1, 1)
    truths: Sequence[Boxes] | None = None
    placement: Callable[[int], Placement] | None = None
    metric: UserMetric | None = None
    output: str = ""
    heads: Mapping[str, tuple[Shape, tuple[str, ...]]] | None = None
    maps: TruthMaps | None = None

    @property
    def outputs(self) -> int:
        """Values of one image that are judged."""
        return sum(int(np.prod(shape)) for shape, _ in self.ends.values())

    @property
    def ends(self) -> Mapping[str, tuple[Shape, tuple[str, ...]]]:
        """Shape and steps of each output that is judged, by name."""
        return {self.output: (self.shape, self.host)} if self.heads is None else self.heads

    @property
    def columns(self) -> int:
        """Numbers of the measure's rows."""
        empty = np.zeros((0, self.outputs))
        return self.rows(empty, empty).shape[1]

    def part(self, graph: Graph, outputs: np.ndarray) -> np.ndarray:
        """What is judged, [N, values], of all outputs of a network side by side: those of a detector together."""
        return outputs if self.heads is not None else graph.output_parts(outputs)[self.output]

    @property
    def classes(self) -> int:
        """How many classes a label, a name or a box may be of."""
        return self.task.classes(self.shape) if self.detection is None else self.detection.classes

    @property
    def measure(self) -> Measure:
        """The figure: the user's, or the task's."""
        return self.task.measure if self.metric is None else self.metric.measure

    def returned(self, outputs: np.ndarray) -> np.ndarray:
        """What the network returns, [N, ...], of outputs [N, values]; maps are [N, C, H, W] where the host does nothing."""
        if self.host:
            return host_operators.apply(self.host, outputs)
        return outputs if self.shape[1:] == (1, 1) else outputs.reshape(len(outputs), *self.shape)

    def boxes(self, outputs: np.ndarray, least: float | None = None) -> list[Boxes]:
        """The boxes of each image, in pixels of the network's input; least: see bfp.detection.detect."""
        named, start = {}, 0
        for name, (shape, host) in self.ends.items():
            stop = start + int(np.prod(shape))
            named[name] = host_operators.apply(host, outputs[:, start:stop])
            start = stop
        return detect(named, self.detection, self.size, least)

    def placed(self, boxes: Sequence[Boxes], first: int) -> list[Boxes]:
        """Boxes of the images from ``first`` on, in pixels of their pictures."""
        places = [self.placement(first + n) for n in range(len(boxes))]
        return [replace(b, corners=place.to_picture(b.corners)) for b, place in zip(boxes, places)]

    def answers(self, outputs: np.ndarray) -> Answers:
        """What the task compares, of outputs [N, values]."""
        return ANSWERS[self.task.answers](self, outputs)

    def rows(self, reference: np.ndarray, quantised: np.ndarray, first: int | None = None) -> np.ndarray:
        """The measure's rows [N, k] of outputs [N, values] of both networks.

        first: which image of the set the first of them is; None where nothing is known of the images. Raises BfpError
        where the user's metric gives no number.
        """
        if self.metric is None:
            return self.measure.rows(self.answers(reference), self.answers(quantised))
        shown = [self.boxes(x) if self.detection else self.returned(x) for x in (reference, quantised)]
        if first is None:
            return self.metric.rows(*shown, [None] * len(reference))
        if self.detection and self.placement:
            shown = [self.placed(boxes, first) for boxes in shown]
        return self.metric.rows(*shown, self.known(first, len(reference)), first)

    def known(self, first: int, count: int) -> list:
        """What is known of each of so many images from ``first`` on: its label, boxes, mask or target, or None."""
        if self.maps is not None:
            return [self.maps.of(first + n) for n in range(count)]
        if self.detection is not None:
            return [None] * count if self.truths is None else list(self.truths[first : first + count])
        return [None] * count if self.labels is None else [int(n) for n in self.labels[first : first + count]]


def informed(judge: Judge, images: ImageSet) -> Judge:
    """The judge with what is known of these images. Raises BfpError where a label is no answer of the network."""
    if judge.detection is not None:
        images.check_boxes(judge.classes)
        return replace(judge, truths=images.truths, placement=images.placement, maps=truth_maps(judge, images))
    judge = replace(judge, maps=truth_maps(judge, images))
    if judge.task.right is None:
        return judge if judge.metric is None or images.refusal else replace(judge, labels=images.labels)
    images.check_labels(judge.classes)
    return replace(judge, labels=images.labels)


def _stored(judge: Judge, outputs: np.ndarray) -> np.ndarray:
    """Maps [N, C, H, W]; of a binary network what it returns, less its threshold, where the file gives one."""
    values = outputs if judge.threshold is None else judge.returned(outputs) - judge.threshold
    return values.reshape(len(outputs), *judge.shape)


ANSWERS = {STORED: _stored, RETURNED: Judge.returned, BOXES: Judge.boxes}
