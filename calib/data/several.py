"""Images of networks with several inputs: of each, something for every input, brought together as one array."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.names import shown
from bfp.npz import NpzArrays, array_names
from calib.data.classes import Classes
from calib.data.items import Item, NotThere
from calib.data.lists import read_table
from host.image import part_of_picture


def several_items(path: Path, named: str, pre: Preprocessing, inputs: tuple[tuple[str, int], ...]) -> list[Item]:
    """Images of several inputs: of each the array of its name, the labels in ``labels`` where there is such an array."""
    names = [name for name, _ in inputs]
    if named:
        raise BfpError(f"images {path}{named}: of several inputs, the arrays are {', '.join(names)}; leave the names out")
    if not os.path.exists(path):
        raise NotThere(f"images {path} do not exist")
    labels = ["labels"] if "labels" in array_names(path) else []
    first, *others = inputs
    parts = [NpzArrays(path, (first[1], *pre.size), first[0], *labels)]
    parts += [NpzArrays(path, (count, *pre.size), name) for name, count in others]
    if len({len(part) for part in parts}) > 1:
        counts = ", ".join(f"{name} {len(part)}" for name, part in zip(names, parts))
        raise BfpError(f"{path}: its arrays hold several numbers of images ({counts}); give as many of each")

    def item(i: int) -> Item:
        label = None if parts[0].labels is None else int(parts[0].labels[i])
        return Item(f"{path}[{i}]", lambda: np.concatenate([part.read(i) for part in parts], axis=2), label, in_order=True)

    return [item(i) for i in range(len(parts[0]))]


def several_pictures(path: Path, pre: Preprocessing, inputs: tuple[tuple[str, int], ...], classes: Classes) -> list[Item]:
    """Images of several inputs that a table lists: a column of files for each input, by its name, and perhaps ``label``.

    Raises BfpError, with the line, where a column or a file's name lacks, and for a label that is none.
    """
    names = [name for name, _ in inputs]
    columns, rows = read_table(path, ",".join(names))
    if not set(names) <= set(columns):
        raise BfpError(f"{path} has the columns {shown(columns)}; it needs one for each input: {', '.join(names)}")
    ends = np.cumsum([0, *(count for _, count in inputs)])
    parts = {name: pre.part(int(a), int(b)) for name, a, b in zip(names, ends, ends[1:])}

    def item(number: int, row: dict) -> Item:
        files = {name: path.parent / (row[name] or "").strip() for name in names}
        label = classes.label((row["label"] or "").strip()) if "label" in columns else None
        if path.parent in files.values() or "label" in columns and label is None:
            raise BfpError(f"{path}, line {number}: {shown([row[c] for c in columns])} lacks a file or a class; give both")
        listed = ", ".join(f"{name}={file}" for name, file in files.items())

        def read() -> np.ndarray:
            return np.concatenate([part_of_picture(files[name], parts[name]) for name in names], axis=2)

        return Item(listed, read, label, files=tuple(files.values()))

    return [item(number, row) for number, row in rows]
