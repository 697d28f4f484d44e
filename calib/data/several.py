"""Images of networks with several inputs: of each, something for every input, brought together as one array."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from calib.data.items import Item, NotThere
from calib.data.npz_images import NpzArrays, array_names


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
