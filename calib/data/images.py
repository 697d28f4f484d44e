"""Calibration and evaluation images, from wherever the network's file says.

An ImageSet only knows where its images are: each is read, resized and cropped
when it is asked for, so memory does not grow with their number. Preprocessing
is the board's own (host.image).
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bfp.artifact import ARRAY, Preprocessing
from bfp.boxes import Boxes
from bfp.errors import BfpError
from bfp.placement import Placement, placement
from calib.data.classes import Classes
from calib.data.drawn_images import random_array, random_photograph, vary
from calib.data.folders import Labelled, read_folder
from calib.data.ground_truth import GROUND_TRUTH, read_ground_truth
from calib.data.lists import read_list
from calib.data.npz_images import NpzArrays, NpzImages, array_names
from calib.options import ImageOptions
from host.image import MODES, fit_image, normalise, open_image, picture_size

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}
READERS = 8  # threads that decode images
RANDOM_COUNT = 64  # noise photographs where no limit says how many
MOST_RANDOM = 100_000


class NotThere(BfpError):
    """A named source does not exist, so that a fallback may stand in."""


@dataclass(frozen=True)
class Item:
    """One image: its name, how to open it, and its label or None. An array opens as float32 [H, W, C].

    in_order: it can only be read after the one before it, in one thread. boxes: those of the ground truth, in pixels of
    the upright picture, None where none are known. size: its width and height, found without decoding it; None where
    that takes opening it.
    """

    name: str
    open: Callable[[], Image.Image | np.ndarray]
    label: int | None = None
    in_order: bool = False
    boxes: Boxes | None = None
    size: Callable[[], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Found:
    """What a source holds: its images, and the rest as of Labelled."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    refusal: str = ""
    ordered: int = 0


@dataclass(frozen=True)
class ImageSet:
    """A list of images for one network.

    notes: what was taken, replaced or left out, one sentence each. refusal: why folders of classes give no labels, or
    empty. ordered: numbers of folders of which the order alone decides the label. lowest, highest: labels of the whole
    list, of which these images may be a part; None where there are none.
    """

    items: tuple[Item, ...]
    pre: Preprocessing
    augment: int = 1
    seed: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)
    refusal: str = ""
    ordered: tuple[int, ...] = ()
    lowest: int | None = None
    highest: int | None = None

    def __len__(self) -> int:
        return len(self.items) * self.augment

    @property
    def labelled(self) -> bool:
        """Whether the images are of classes, whether or not their labels are clear."""
        return bool(self.refusal) or all(item.label is not None for item in self.items)

    @property
    def labels(self) -> np.ndarray | None:
        """Labels, int64 [images]; None unless every image has one. Raises BfpError where they are not clear."""
        if self.refusal:
            raise BfpError(self.refusal)
        found = [item.label for item in self.items for _ in range(self.augment)]
        return None if None in found else np.asarray(found, np.int64)

    def check_labels(self, outputs: int) -> None:
        """Raise BfpError where labels are not clear, or any of the whole list is no class of so many outputs."""
        if self.labels is None:
            return
        for count in self.ordered:
            if count != outputs:
                raise BfpError(
                    f"{count} folders of images for {outputs} outputs: their order does not say which class each is; name "
                    'the classes (classes = [...], or "imagenet"), or list the images in a CSV file with the columns file,label'
                )
        if self.highest is not None and self.highest >= outputs:
            one = "; labels seem to count from 1: count from 0" if (self.lowest, self.highest) == (1, outputs) else ""
            raise BfpError(f"label {self.highest} of the images is no class: the network has {outputs} outputs{one}")

    @property
    def truths(self) -> list[Boxes] | None:
        """The boxes of the ground truth of each image; None unless every one has them, and variants of images never do."""
        found = [item.boxes for item in self.items]
        return None if self.augment != 1 or any(boxes is None for boxes in found) else found

    def check_boxes(self, classes: int) -> None:
        """Raise BfpError where a box of the ground truth is of no class of so many."""
        for item in self.items:
            if item.boxes is not None and len(item.boxes) and item.boxes.classes.max() >= classes:
                label = item.boxes.classes.max()
                raise BfpError(f"image {item.name}: a box has label {label}, and there are {classes} classes; count from 0")

    def placement(self, index: int) -> Placement:
        """Where the picture of one image, no variant, lies in the network's input."""
        item = self.items[index // self.augment]
        if self.pre.channels == ARRAY:
            return placement((self.pre.size[1], self.pre.size[0]), self.pre)
        return placement(item.open().size if item.size is None else item.size(), self.pre)

    def without_labels(self, note: str) -> ImageSet:
        """The same images as if nothing were known of their classes; the note says why."""
        items = tuple(replace(item, label=None) for item in self.items)
        return replace(self, items=items, notes=(*self.notes, note), refusal="", ordered=(), lowest=None, highest=None)

    def name(self, index: int) -> str:
        return self.items[index // self.augment].name

    def pixels(self, index: int) -> np.ndarray:
        """uint8 [H, W, C] of one image, float32 of arrays; variant 0 of a photograph is the photograph itself."""
        item, variant = self.items[index // self.augment], index % self.augment
        image = item.open()
        if self.pre.channels == ARRAY:
            return image
        if variant:
            image = vary(image, np.random.default_rng([self.seed, index // self.augment, variant]))
        try:
            return fit_image(image, self.pre)
        except BfpError as error:
            raise BfpError(f"image {item.name}: {error}") from None

    def batches(self, size: int, first: int = 0) -> Iterator[np.ndarray]:
        """The network's input, float32 [<= size, C, H, W], in order, from image ``first`` on.

        Where they are files of their own, the images of a batch are read by several threads.
        """
        threads = 1 if any(item.in_order for item in self.items) else min(READERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads) as readers:
            for start in range(first, len(self), size):
                stop = min(start + size, len(self))
                yield normalise(np.stack(list(readers.map(self.pixels, range(start, stop)))), self.pre)


def open_images(options: ImageOptions, pre: Preprocessing, seed: int = 0, classes: Classes = Classes()) -> ImageSet:
    """Resolve the sources of one section of a network's file; classes: what words for labels mean.

    Raises BfpError where a source does not exist and has no fallback, holds no
    images, or is of a kind that is not known.
    """
    found: list[Found] = []
    wanted = None if options.limit is None else options.skip + options.limit * options.stride
    stand_in = None
    for source in options.images:
        try:
            found.append(_resolve(source, pre, seed, wanted, classes, options.inputs))
        except NotThere as missing:
            if options.fallback is None:
                raise BfpError(f"{missing}; correct the name, or say fallback = \"random\"") from None
            note = Found((), (f"{missing}; used {options.fallback} instead",))
            found += [note] if stand_in else [note, _resolve(options.fallback, pre, seed, wanted, classes, options.inputs)]
            stand_in = options.fallback
    items = [item for one in found for item in one.items]
    chosen = items[options.skip :: options.stride][: options.limit]
    if not items:
        raise BfpError(f"{', '.join(options.images)} hold no images; give others")
    if not chosen:
        raise BfpError(
            f"no images are left of {len(items)} in {', '.join(options.images)} after skip {options.skip}; "
            "use a smaller skip"
        )
    labels = [item.label for item in items if item.label is not None]
    notes = [note for one in found for note in one.notes]
    if labels and len(labels) == len(items) and min(labels) > 0:
        notes.append(f"no image of {', '.join(options.images)} has label 0, and labels count from 0")
    return ImageSet(
        items=tuple(chosen),
        pre=pre,
        augment=options.augment,
        seed=seed,
        notes=tuple(notes),
        refusal=next((one.refusal for one in found if one.refusal), ""),
        ordered=tuple(one.ordered for one in found if one.ordered),
        lowest=min(labels, default=None),
        highest=max(labels, default=None),
    )


def _resolve(
    source: str, pre: Preprocessing, seed: int, wanted: int | None, classes: Classes, inputs: tuple[tuple[str, int], ...]
) -> Found:
    if source == "random":
        if (wanted or 0) > MOST_RANDOM:
            raise BfpError(f"{wanted} random images are more than {MOST_RANDOM}; give a smaller limit, skip or stride")
        return Found(tuple(_random_item(pre, seed, i) for i in range(wanted or RANDOM_COUNT)))
    if source.startswith("package:"):
        return Found(tuple(_file_item(p, pre) for p in _package_files(source)))
    archive = re.fullmatch(r"(.+\.npz)((?::[^:]*)*)", source)
    if archive:
        if inputs:
            return Found(tuple(_several_items(Path(archive[1]), archive[2], pre, inputs)))
        return Found(tuple(_npz_items(Path(archive[1]), archive[2].split(":")[1:], pre)))
    path = Path(source)
    if not os.path.exists(path):
        raise NotThere(f"images {source} do not exist")
    return _files(_labelled(path, classes), pre)


def _labelled(path: Path, classes: Classes) -> Labelled:
    """Images of a list, a folder, or a single file."""
    if path.suffix == ".csv":
        return Labelled(tuple(read_list(path, classes)))
    listing = path / GROUND_TRUTH if path.is_dir() else path
    if listing.suffix == ".txt" and listing.is_file():
        pairs, note = read_ground_truth(listing, SUFFIXES, classes)
        return Labelled(tuple(pairs), (note,))
    return read_folder(path, SUFFIXES, classes) if path.is_dir() else Labelled(((path, None),))


def _files(found: Labelled, pre: Preprocessing) -> Found:
    items = tuple(_file_item(p, pre, known) for p, known in found.pairs)
    return Found(items, found.notes, found.refusal, found.ordered)


def _file_item(path: Path, pre: Preprocessing, known: int | Boxes | None = None) -> Item:
    label, boxes = (None, known) if isinstance(known, Boxes) else (known, None)
    return Item(str(path), lambda: open_image(path, pre), label, boxes=boxes, size=lambda: picture_size(path))


def _npz_items(path: Path, keys: list[str], pre: Preprocessing) -> list[Item]:
    if len(keys) > 2 or "" in keys:
        named = ":".join(keys)
        raise BfpError(f"images {path}:{named} name {len(keys)} arrays; give 'file.npz:images' or with ':labels'")
    if not os.path.exists(path):
        raise NotThere(f"images {path} do not exist")
    array = keys[0] if keys else "images"
    if pre.channels == ARRAY:
        source = NpzArrays(path, (len(pre.mean), *pre.size), *keys)
        read = source.read
    else:
        source, mode = NpzImages(path, *keys), MODES[pre.channels]

        def read(i: int) -> Image.Image:
            return source.read(i).convert(mode)

    def item(i: int) -> Item:
        label = None if source.labels is None else int(source.labels[i])
        return Item(f"{path}:{array}[{i}]", lambda: read(i), label, in_order=True)

    return [item(i) for i in range(len(source))]


def _several_items(path: Path, named: str, pre: Preprocessing, inputs: tuple[tuple[str, int], ...]) -> list[Item]:
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


def _package_files(source: str) -> list[Path]:
    """Files inside an installed package, found without importing it; the last part may be a pattern."""
    name, _, pattern = source.removeprefix("package:").partition("/")
    try:
        spec = importlib.util.find_spec(name) if name and pattern and not name.startswith(".") else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise NotThere(f"images {source} need the package {name!r}, which is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    try:
        if ".." in Path(pattern).parts:
            raise ValueError("it leaves the package")
        files = sorted(p for p in folder.glob(pattern) if p.is_file())
    except (ValueError, NotImplementedError, OSError, IndexError) as error:
        raise BfpError(f"images {source}: {pattern!r} names no files of the package ({error}); give a file or *.png") from None
    if not files:
        raise NotThere(f"images {source} do not exist in the package {name!r}")
    return files


def _random_item(pre: Preprocessing, seed: int, index: int) -> Item:
    if pre.channels == ARRAY:
        return Item(f"random {index}", lambda: random_array(pre, np.random.default_rng([seed, index])))
    return Item(f"random {index}", lambda: random_photograph(pre, np.random.default_rng([seed, index])))
