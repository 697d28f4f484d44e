"""Arrays named on the command line: ``.npz`` files with what a network takes that takes no pictures, as in calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from bfp.artifact import ARRAY
from bfp.deployment import Deployment
from bfp.errors import BfpError
from bfp.names import printable
from bfp.npz import NpzArrays, array_names
from host.image import normalise
from host.sources import Source

SUFFIX, LABELS = ".npz", "labels"


def names_arrays(words: Iterable[str], network: Deployment) -> bool:
    """Whether ``.npz`` files are named, for a network that takes arrays alone."""
    return all(entry.preprocessing.channels == ARRAY for entry in network.inputs) and any(SUFFIX in str(w) for w in words)


def find_arrays(words: Iterable[str], network: Deployment) -> list[Source]:
    """What the files hold, in order: of one input ``FILE.npz`` or ``FILE.npz:ARRAY:LABELS``, of several the arrays of their names.

    Raises BfpError for a file that is none, or whose arrays are not what the network takes.
    """
    found: list[Source] = []
    for word in map(str, words):
        path, _, keys = word.partition(SUFFIX)
        place = Path(path + SUFFIX)
        if SUFFIX not in word or not place.exists():
            raise BfpError(f"{printable(word)} is no .npz file that exists; the network takes arrays, as numpy.savez writes them")
        members = _members(place, keys.lstrip(":"), network)
        counts = {name: len(member) for name, member in members.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise BfpError(f"{place}: its arrays hold several numbers of images ({listed}); give as many of each")
        labels = next(iter(members.values())).labels
        for n in range(min(counts.values())):
            label = None if labels is None else int(labels[n])
            found.append(Source(place, label, read=partial(_read, members, network, n), number=n))
    return found


def _members(path: Path, keys: str, network: Deployment) -> dict[str, NpzArrays]:
    """The array of each input, by its name; keys: what stands behind the file's name."""
    shapes = {entry.tensor: tuple(network.tensor(entry.tensor).shape) for entry in network.inputs}
    if len(shapes) == 1:
        (name, shape), (images, _, labels) = next(iter(shapes.items())), keys.partition(":")
        return {name: NpzArrays(path, shape, images or None, labels or None)}
    labels = LABELS if LABELS in array_names(path) else None
    return {name: NpzArrays(path, shape, name, labels) for name, shape in shapes.items()}


def _read(members: Mapping[str, NpzArrays], network: Deployment, number: int) -> np.ndarray | dict[str, np.ndarray]:
    """One image of each input, normalised, float32 [C, H, W]; of an only input without its name."""
    pres = {entry.tensor: entry.preprocessing for entry in network.inputs}
    found = {name: normalise(member.read(number)[None], pres[name])[0] for name, member in members.items()}
    return found if len(found) > 1 else next(iter(found.values()))
