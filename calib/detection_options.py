"""The ``[detection]`` section of a network's file: what a detector's outputs mean, and which of its boxes count."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.detection import CENTRE, CORNERS, LOGITS, MOST_BOXES, PIXELS, PROBABILITIES, RELATIVE, SIDES, Detection
from bfp.errors import BfpError
from bfp.limits import MAX_CHANNELS
from calib.section import Section


@dataclass(frozen=True)
class DetectionOptions:
    """What the section says, see bfp.detection.Detection. classes: how many, None where names or the output's shape say it."""

    boxes: str = CENTRE
    unit: str = PIXELS
    objectness: bool = True
    scores: str = PROBABILITIES
    score: float = 0.25
    overlap: float = 0.45
    most: int = 100
    classes: int | None = None


def read_detection(section: Section) -> DetectionOptions:
    """The checked section. Raises BfpError: file, section, key, and what it must be."""

    def boolean(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def share(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError
        return float(value)

    default = DetectionOptions()
    options = DetectionOptions(
        boxes=section.text("boxes", default.boxes, (CENTRE, CORNERS)),
        unit=section.text("unit", default.unit, (PIXELS, RELATIVE)),
        objectness=section.take("objectness", default.objectness, boolean, "true or false"),
        scores=section.text("scores", default.scores, (PROBABILITIES, LOGITS)),
        score=section.take("score", default.score, share, "a number from 0 to 1"),
        overlap=section.take("overlap", default.overlap, share, "a number from 0 to 1"),
        most=section.integer("most", default.most, 1, MOST_BOXES),
        classes=section.integer("classes", None, 1, MAX_CHANNELS),
    )
    section.done()
    return options


def detector(options: DetectionOptions, names: tuple[str, ...], returned: tuple[int, ...], where: str) -> Detection:
    """What a network's outputs mean that returns values of this shape, the batch axis 1 included.

    names: of the classes, or none: then ``classes`` of the file or the last axis says how many there are. Raises
    BfpError, which begins with ``where``, where nothing does, or they contradict each other.
    """
    sides = SIDES + options.objectness
    last = returned[-1] - sides if len(returned) > 2 else None
    counts = {n for n in (len(names) or None, options.classes, last) if n is not None}
    if not counts:
        raise BfpError(
            f"{where} returns {returned[-1]} values of an image, which may be boxes of any number of classes; name the classes, "
            "or say [detection] classes"
        )
    if len(counts) > 1 or min(counts) < 1:
        said = [(len(names) or None, "class names"), (options.classes, "classes in [detection]"), (last, "by its output's shape")]
        words = ", ".join(f"{n} {what}" for n, what in said if n is not None)
        raise BfpError(
            f"{where} has {words} (rows of {returned[-1]} numbers, {sides} of them no classes); rows must be 4 numbers of the "
            "box, 1 of objectness unless objectness = false, and 1 of each class"
        )
    return Detection(
        *(counts.pop(), options.boxes, options.unit, options.objectness, options.scores),
        *(options.score, options.overlap, options.most, names),
    )
