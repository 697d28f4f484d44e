"""From a detector's outputs to boxes: the same code in golden model, evaluation and driver, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from bfp.boxes import Boxes, suppressed
from bfp.errors import BfpError
from bfp.fields import FLAG, TEXT, checked, choice, number, tuple_of, whole
from bfp.host_operators import sigmoid
from bfp.limits import MAX_CHANNELS
from bfp.names import check_text

CORNERS, CENTRE = "corners", "centre"
PIXELS, RELATIVE = "pixels", "relative"
PROBABILITIES, LOGITS = "probabilities", "logits"
MOST_BOXES = 10_000
SIDES = 4  # numbers that say where a box is


@dataclass(frozen=True)
class Detection:
    """What a detector's outputs mean, and which of its boxes are shown.

    An output is a list of boxes, rows of SIDES numbers, one score of ``there being an object`` (objectness), and one
    of each class. boxes: what the four are: CORNERS: left, top, right, bottom; CENTRE: x and y of the centre, width, height.
    unit: PIXELS of the network's input, or RELATIVE to its width and height. scores: PROBABILITIES, or LOGITS, of which
    the sigmoid is taken here. A box's class is that of the highest score, the first of equal ones; its score is that
    one's, times objectness.
    score: boxes below it are left out; overlap, most: of bfp.boxes.suppressed. names: of the classes, or none.
    """

    classes: int = checked(whole(1, MAX_CHANNELS))
    boxes: str = checked(choice(CENTRE, CORNERS), default=CENTRE)
    unit: str = checked(choice(PIXELS, RELATIVE), default=PIXELS)
    objectness: bool = checked(FLAG, default=True)
    scores: str = checked(choice(PROBABILITIES, LOGITS), default=PROBABILITIES)
    score: float = checked(number(0.0, 1.0), default=0.25)
    overlap: float = checked(number(0.0, 1.0), default=0.45)
    most: int = checked(whole(1, MOST_BOXES), default=100)
    names: tuple[str, ...] = checked(tuple_of(TEXT, 0, MAX_CHANNELS), default=())

    @property
    def columns(self) -> int:
        """Numbers of a row."""
        return SIDES + self.objectness + self.classes

    def name(self, index: int) -> str:
        """The name of a class, or words with its number."""
        return self.names[index] if self.names else f"class {index}"


def verify_detection(detection: Detection, values: Mapping[str, int], where: str) -> None:
    """Raise BfpError, which begins with ``where``, unless outputs of so many values are rows of this detector."""
    for tensor, count in values.items():
        if count % detection.columns:
            raise BfpError(
                f"{where}: output {tensor} has {count} values, no rows of {detection.columns} (a box, "
                f"{'its objectness, ' if detection.objectness else ''}{detection.classes} classes)"
            )
    if detection.names and len(detection.names) != detection.classes:
        raise BfpError(f"{where}: a detector of {detection.classes} classes has {len(detection.names)} class names")
    for name in detection.names:
        check_text(name, "class name", where)


def rows_of(outputs: Mapping[str, np.ndarray], detection: Detection) -> np.ndarray:
    """All rows of an image, output after output, float64 [N, boxes, columns].

    outputs: what the network returns, [N, ...], by the names of the outputs. Raises BfpError where they are no rows.
    """
    verify_detection(detection, {name: prod(v.shape[1:]) for name, v in outputs.items()}, "detection")
    each = [np.asarray(v, np.float64) for v in outputs.values()]
    return np.concatenate([v.reshape(len(v), prod(v.shape[1:]) // detection.columns, detection.columns) for v in each], 1)


def detect(
    outputs: Mapping[str, np.ndarray], detection: Detection, size: tuple[int, int], least: float | None = None
) -> list[Boxes]:
    """The boxes of each image, in pixels of the network's input, highest score first.

    outputs: what the network returns, [N, ...], by the names of the outputs. size: rows and columns of the input.
    least: score instead of the detection's: a lower one adds boxes behind the others. Boxes without an area, and those
    whose numbers are not finite, are none. Raises BfpError where outputs are no rows of this detector.
    """
    rows = rows_of(outputs, detection)
    scores = rows[..., SIDES:]
    if detection.scores == LOGITS:
        scores = sigmoid(scores)
    classes = scores[..., detection.objectness :]
    best = classes.argmax(-1)
    score = np.take_along_axis(classes, best[..., None], -1)[..., 0]
    if detection.objectness:
        score = score * scores[..., 0]
    corners = corners_of(rows[..., :SIDES], detection, size)
    good = np.isfinite(corners).all(-1) & (corners[..., 2:] > corners[..., :2]).all(-1)
    good &= score >= (detection.score if least is None else least)
    found = [Boxes(c[g], s[g], b[g]) for c, s, b, g in zip(corners, score, best, good)]
    return [suppressed(boxes, detection.overlap, detection.most) for boxes in found]


def corners_of(sides: np.ndarray, detection: Detection, size: tuple[int, int]) -> np.ndarray:
    """Left, top, right and bottom in pixels of the network's input, float64 [..., 4], of a detector's numbers."""
    if detection.boxes == CENTRE:
        middle, half = sides[..., :2], sides[..., 2:] / 2
        sides = np.concatenate([middle - half, middle + half], -1)
    if detection.unit == RELATIVE:
        height, width = size
        sides = sides * np.array([width, height, width, height], np.float64)
    return sides
