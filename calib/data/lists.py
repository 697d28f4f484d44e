"""Lists of images as tables: files and their labels, or files and the boxes in them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from bfp.boxes import Boxes
from bfp.errors import BfpError
from bfp.names import shown
from calib.data.classes import Classes
from calib.data.texts import read_lines

SEPARATORS = (",", ";", "\t")
SIDES = ("left", "top", "right", "bottom")  # of a box, in pixels of the upright picture


def read_list(path: Path, classes: Classes) -> list[tuple[Path, int | Boxes | Path]]:
    """Files, relative to the list, and what is in them: a label, boxes where the table has the columns SIDES, or the file of
    a mask or target where it has the column ``target``.

    Labels are numbers, or names of classes. Columns are separated by commas, semicolons or tabs, as in the first line.
    Of boxes, each has a line of its own; a file without any has one line whose label and sides are empty. Raises
    BfpError, with the line, for what is no such list.
    """
    columns, numbered = read_table(path, "file,label")
    if "file" not in columns or not {"label", "target"} & set(columns):
        raise BfpError(f"{path} has the columns {shown(columns)}; it needs 'file' and 'label', or 'file' and 'target'")
    if not numbered:
        raise BfpError(f"{path} lists no images; add lines file,label")
    if "target" in columns:
        return [_targeted(path, number, row) for number, row in numbered]
    missing = [side for side in SIDES if side not in columns]
    if len(missing) == len(SIDES):
        return [_labelled(path, number, row, classes) for number, row in numbered]
    if missing:
        raise BfpError(f"{path} has the columns {shown(columns)}; boxes need {', '.join(SIDES)}, all of them")
    return _boxes(path, numbered, classes)


def read_table(path: Path, wanted: str) -> tuple[list[str], list[tuple[int, dict]]]:
    """The columns of a table, and its rows by their numbers of lines. wanted: the columns that a refusal asks for."""
    lines = read_lines(path, "list of images", f"write it with the columns {wanted}")
    separator = max(SEPARATORS, key=lambda s: lines[0].count(s)) if lines else ","
    try:
        rows = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
        columns = [name.strip() for name in rows.fieldnames or []]
        rows.fieldnames = columns
        return columns, list(enumerate(rows, 2))
    except csv.Error as error:
        raise BfpError(f"{path} cannot be read as CSV ({error}); write it with the columns {wanted}") from None


def _labelled(path: Path, number: int, row: dict, classes: Classes) -> tuple[Path, int]:
    name, word = row["file"], row["label"]
    label = classes.label(word.strip()) if word else None
    if not name or label is None:
        names = "or the name of a class" if classes.names else "0 or more"
        raise BfpError(f"{path}, line {number}: label is {shown(word)}; it must be a class index, {names}")
    return path.parent / name, label


def _targeted(path: Path, number: int, row: dict) -> tuple[Path, Path]:
    names = row["file"], (row["target"] or "").strip()
    if not all(names):
        raise BfpError(f"{path}, line {number} lacks the name of a file; every image has a target")
    return path.parent / names[0], path.parent / names[1]


def _boxes(path: Path, numbered: list[tuple[int, dict]], classes: Classes) -> list[tuple[Path, Boxes]]:
    """Files in the order of their first lines, and their boxes in the order of the lines."""
    found: dict[str, list[tuple[list[float], int]]] = {}
    for number, row in numbered:
        words = [(row[side] or "").strip() for side in SIDES]
        name, label = row["file"], (row["label"] or "").strip()
        boxes = found.setdefault(name or "", [])
        if name and not label and not any(words):
            continue
        sides = [_number(word) for word in words]
        index = classes.label(label)
        if not name or index is None or None in sides or not (sides[0] < sides[2] and sides[1] < sides[3]):
            raise BfpError(
                f"{path}, line {number}: {shown([label, *words])} is no box; it must be a class (an index, or a name), and "
                f"{', '.join(SIDES)} in pixels, left < right and top < bottom"
            )
        boxes.append((sides, index))
    every = [sides for boxes in found.values() for sides, _ in boxes]
    if every and max(map(max, every)) <= 1:
        raise BfpError(f"{path}: all boxes lie within one pixel; give {', '.join(SIDES)} in pixels of the picture, not as shares")
    return [(path.parent / name, as_boxes(boxes)) for name, boxes in found.items()]


def as_boxes(boxes: list[tuple[list[float], int]]) -> Boxes:
    """Boxes of the truth, of which all are certain."""
    corners = np.array([sides for sides, _ in boxes], np.float64).reshape(-1, 4)
    return Boxes(corners, np.ones(len(boxes)), np.array([index for _, index in boxes], np.int64))


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e6 else None
