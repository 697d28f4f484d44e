"""Calibration and evaluation images, from wherever the network's file says.

An ImageSet only knows where its images are: each is read, resized and cropped
when it is asked for, so memory does not grow with their number. Preprocessing
is the board's own (host.image).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bfp.artifact import ARRAY, Preprocessing
from bfp.boxes import Boxes
from bfp.errors import BfpError
from bfp.npz import NpzArrays
from bfp.placement import Placement, placement
from calib.data.classes import Classes
from calib.data.drawn_images import random_array, random_photograph, vary
from calib.data.folders import Labelled, read_folder
from calib.data.ground_truth import GROUND_TRUTH, read_ground_truth
from calib.data.items import Item, NotThere
from calib.data.lists import read_list
from calib.data.npz_images import NpzImages
from calib.data.packages import PACKAGE, package_files
from calib.data.several import several_items, several_pictures
from calib.data.targets import Masks, beside, placed_mask, read_mask, read_target
from calib.options import ImageOptions
from host.image import MODES, fit_image, normalise, open_image, picture_size

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}
READERS = 8  # threads that decode images
RANDOM_COUNT = 64  # noise photographs where no limit says how many
MOST_RANDOM = 100_000


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
    list, of which these images may be a part; None where there are none. masks: how targets that are masks are read.
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
    masks: Masks = Masks()

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

    @property
    def has_targets(self) -> bool:
        """Whether every image has a target, and is no variant of another."""
        return self.augment == 1 and all(item.target is not None for item in self.items)

    def mask(self, index: int, classes: int) -> np.ndarray:
        """The class of every pixel of the network's input, int16 [H, W]. Raises BfpError for a mask that does not fit."""
        item = self.items[index]
        return placed_mask(read_mask(item.target, self.masks, classes), self.pre, self.placement(index).picture, item.name)

    def target(self, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        """What the image should become, pixels 0..255, float64 [C, H, W] of this shape. Raises BfpError for another size."""
        return read_target(self.items[index].target, self.pre, shape, self.placement(index).picture)

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
    if options.targets is not None:
        items = _with_targets(items, Path(options.targets))
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
        masks=Masks(options.ignore, options.colours),
    )


def _with_targets(items: list[Item], folder: Path) -> list[Item]:
    """Each image with the file of its name in the folder of targets. Raises BfpError for images that have no file."""
    for item in items:
        if item.path is None:
            raise BfpError(f"targets {folder} are of images in files of their own, and {item.name} is none; give a folder of images")
    targets = beside(folder, [item.path for item in items], SUFFIXES)
    return [replace(item, target=target) for item, target in zip(items, targets)]


def _resolve(
    source: str, pre: Preprocessing, seed: int, wanted: int | None, classes: Classes, inputs: tuple[tuple[str, int], ...]
) -> Found:
    if source == "random":
        if (wanted or 0) > MOST_RANDOM:
            raise BfpError(f"{wanted} random images are more than {MOST_RANDOM}; give a smaller limit, skip or stride")
        return Found(tuple(_random_item(pre, seed, i) for i in range(wanted or RANDOM_COUNT)))
    if inputs and source.endswith(".csv"):
        if not os.path.exists(source):
            raise NotThere(f"images {source} do not exist")
        return Found(tuple(several_pictures(Path(source), pre, inputs, classes)))
    if source.startswith(PACKAGE):
        return Found(tuple(_file_item(p, pre) for p in package_files(source)))
    archive = re.fullmatch(r"(.+\.npz)((?::[^:]*)*)", source)
    if archive:
        if inputs:
            return Found(tuple(several_items(Path(archive[1]), archive[2], pre, inputs)))
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


def _file_item(path: Path, pre: Preprocessing, known: int | Boxes | Path | None = None) -> Item:
    said = {"boxes": known} if isinstance(known, Boxes) else {"target": known} if isinstance(known, Path) else {"label": known}
    return Item(str(path), lambda: open_image(path, pre), size=lambda: picture_size(path), path=path, **said)


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


def _random_item(pre: Preprocessing, seed: int, index: int) -> Item:
    if pre.channels == ARRAY:
        return Item(f"random {index}", lambda: random_array(pre, np.random.default_rng([seed, index])))
    return Item(f"random {index}", lambda: random_photograph(pre, np.random.default_rng([seed, index])))
