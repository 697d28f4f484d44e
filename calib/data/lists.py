"""A list of images and their labels: a table with the columns ``file`` and ``label``."""

from __future__ import annotations

import csv
from pathlib import Path

from bfp.errors import BfpError
from bfp.names import shown
from calib.data.classes import Classes
from calib.data.texts import read_lines

SEPARATORS = (",", ";", "\t")


def read_list(path: Path, classes: Classes) -> list[tuple[Path, int]]:
    """Files, relative to the list, and their labels: numbers, or names of classes.

    Columns are separated by commas, semicolons or tabs, as in the first line. Raises BfpError, with the line, for what
    is no such list.
    """
    lines = read_lines(path, "list of images", "write it with the columns file,label")
    separator = max(SEPARATORS, key=lambda s: lines[0].count(s)) if lines else ","
    try:
        rows = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
        columns = [name.strip() for name in rows.fieldnames or []]
        if not {"file", "label"} <= set(columns):
            raise BfpError(f"{path} has the columns {shown(columns)}; it needs 'file' and 'label'")
        rows.fieldnames = columns
        pairs = [_pair(path, number, row, classes) for number, row in enumerate(rows, 2)]
    except csv.Error as error:
        raise BfpError(f"{path} cannot be read as CSV ({error}); write it with the columns file,label") from None
    if not pairs:
        raise BfpError(f"{path} lists no images; add lines file,label")
    return pairs


def _pair(path: Path, number: int, row: dict, classes: Classes) -> tuple[Path, int]:
    name, word = row["file"], row["label"]
    label = classes.label(word.strip()) if word else None
    if not name or label is None:
        names = "or the name of a class" if classes.names else "0 or more"
        raise BfpError(f"{path}, line {number}: label is {shown(word)}; it must be a class index, {names}")
    return path.parent / name, label
