"""What a network's file says of how its network is judged: task, threshold, the user's metric, and ``[detection]``."""

from __future__ import annotations

import re

from bfp.names import shown
from calib.detection_options import DetectionOptions, read_detection
from calib.section import Section

TASKS = ("classification", "binary", "segmentation", "image", "regression", "detection", "features")  # see calib.tasks
CALLABLE = r"[\w.]+:\w+"
MOST_FILE_NAME = 255 - len(".py")  # bytes of a module's file


def read_task(top: Section) -> tuple[str | None, DetectionOptions | None]:
    """The task that the file states, and the options of a detector, whose section alone states that as well."""
    task, table = top.text("task", None, TASKS), top.take("detection", None, lambda value: value, "a table")
    if table is None:
        return task, DetectionOptions() if task == "detection" else None
    if task not in (None, "detection"):
        raise top.fail("task", f"is {task!r}, and [detection] is of detectors; leave one of them out")
    return "detection", read_detection(Section(top.path, "detection", table))


def read_threshold(top: Section, task: str | None) -> float | None:
    """Above which output a binary network says yes, None where the file leaves it open."""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
            raise ValueError
        return float(value)

    threshold = top.take("threshold", None, check, "a number, above which the answer is yes")
    if threshold is not None and task != "binary":
        raise top.fail("threshold", 'is of binary networks; say task = "binary", or leave it out')
    return threshold


def read_metric(top: Section) -> str | None:
    """The user's own figure, "module:callable", or None."""
    name = top.text("metric", None)
    if name is not None and not is_callable(name):
        raise top.fail("metric", f"is {shown(name)}; it must be 'module:callable', see docs/network-files.md")
    return name


def is_callable(name: str) -> bool:
    """Whether a text can be the name of a module and of something in it, "module:callable"."""
    return len(name.encode("utf-8", "replace")) <= MOST_FILE_NAME and bool(re.fullmatch(CALLABLE, name))
