"""Calibration and evaluation images, from wherever the network's file says.

An ImageSet only knows where its images are: each is read, resized and cropped
when it is asked for, so memory does not grow with their number. Preprocessing
is the board's own (host.image).
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError
from calib.data.ground_truth import GROUND_TRUTH, read_ground_truth
from calib.data.npz_images import NpzArrays, NpzImages
from calib.options import ImageOptions
from host.image import MODES, fit_image, normalise, open_image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}
READERS = 8  # threads that decode images
RANDOM_COUNT = 64  # noise photographs where no limit says how many


class NotThere(BfpError):
    """A named source does not exist, so that a fallback may stand in."""


@dataclass(frozen=True)
class Item:
    """One image: its name, how to open it, and its label or None. An array opens as float32 [H, W, C].

    in_order: it can only be read after the one before it, in one thread.
    """

    name: str
    open: Callable[[], Image.Image | np.ndarray]
    label: int | None = None
    in_order: bool = False


@dataclass(frozen=True)
class ImageSet:
    """A list of images for one network. notes: what was replaced or left out, one sentence each."""

    items: tuple[Item, ...]
    pre: Preprocessing
    augment: int = 1
    seed: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.items) * self.augment

    @property
    def labels(self) -> np.ndarray | None:
        """Labels, int64 [images]; None unless every image has one."""
        found = [item.label for item in self.items for _ in range(self.augment)]
        return None if None in found else np.asarray(found, np.int64)

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


def vary(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random crop of 40 to 100 % of each side, mirrored every other time."""
    w, h = image.size
    scale = rng.uniform(0.4, 1.0)
    cw, ch = max(1, round(w * scale)), max(1, round(h * scale))
    left, top = int(rng.integers(0, w - cw + 1)), int(rng.integers(0, h - ch + 1))
    image = image.crop((left, top, left + cw, top + ch))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.integers(2) else image


def open_images(options: ImageOptions, pre: Preprocessing, seed: int = 0) -> ImageSet:
    """Resolve the sources of one section of a network's file.

    Raises BfpError where a source does not exist and has no fallback, holds no
    images, or is of a kind that is not known.
    """
    items: list[Item] = []
    notes: list[str] = []
    fallback_used = False
    wanted = None if options.limit is None else options.skip + options.limit * options.stride
    for source in options.images:
        try:
            items += _resolve(source, pre, seed, wanted, notes)
        except NotThere as missing:
            if options.fallback is None:
                raise BfpError(f"{missing}; correct the name, or say fallback = \"random\"") from None
            notes.append(f"{missing}; used {options.fallback} instead")
            if not fallback_used:
                items += _resolve(options.fallback, pre, seed, wanted, notes)
            fallback_used = True
    chosen = items[options.skip :: options.stride][: options.limit]
    if not items:
        raise BfpError(f"{', '.join(options.images)} hold no images; give others")
    if not chosen:
        raise BfpError(
            f"no images are left of {len(items)} in {', '.join(options.images)} after skip {options.skip}; "
            "use a smaller skip"
        )
    return ImageSet(tuple(chosen), pre, options.augment, seed, tuple(notes))


def _resolve(source: str, pre: Preprocessing, seed: int, wanted: int | None, notes: list[str]) -> list[Item]:
    if source == "random":
        return [_random_item(pre, seed, i) for i in range(wanted or RANDOM_COUNT)]
    if source.startswith("package:"):
        return [_file_item(p, pre) for p in _package_files(source)]
    archive = re.fullmatch(r"(.+\.npz)((?::[^:]*)*)", source)
    if archive:
        return _npz_items(Path(archive[1]), archive[2].split(":")[1:], pre)
    path = Path(source)
    if not path.exists():
        raise NotThere(f"images {source} do not exist")
    if path.suffix == ".csv":
        return _csv_items(path, pre)
    listing = path / GROUND_TRUTH if path.is_dir() else path
    if listing.suffix == ".txt" and listing.is_file():
        pairs, note = read_ground_truth(listing, SUFFIXES)
        notes.append(note)
        return [_file_item(p, pre, label) for p, label in pairs]
    if path.is_dir():
        return _folder_items(path, pre, notes)
    return [_file_item(path, pre)]


def _file_item(path: Path, pre: Preprocessing, label: int | None = None) -> Item:
    return Item(str(path), lambda: open_image(path, pre), label)


def _folder_items(path: Path, pre: Preprocessing, notes: list[str]) -> list[Item]:
    """Flat folder: no labels. Folder of folders: the label is the index of the sorted sub-folder.

    Hidden folders are no classes: they would shift the labels of all others.
    """
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    groups = list(enumerate(folders)) or [(None, path)]
    items, others = [], 0
    for label, folder in groups:
        files = sorted(p for p in folder.iterdir() if p.is_file())
        images = [p for p in files if p.suffix.lower() in SUFFIXES]
        others += len(files) - len(images)
        items += [_file_item(p, pre, label) for p in images]
    if others:
        notes.append(f"{others} files in {path} were left out, their names are not images'")
    if not items:
        raise BfpError(f"folder {path} holds no images ({', '.join(sorted(SUFFIXES))}); give another")
    return items


def _csv_items(path: Path, pre: Preprocessing) -> list[Item]:
    try:
        with open(path, newline="", encoding="utf-8") as f:
            reader = csv.DictReader(f)
            if reader.fieldnames is None or not {"file", "label"} <= set(reader.fieldnames):
                raise BfpError(f"{path} has the columns {reader.fieldnames}; it needs 'file' and 'label'")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BfpError(f"{path} cannot be read as CSV ({error}); write it with the columns file,label") from None
    items = []
    for number, row in enumerate(rows, 2):
        if not row["file"] or not (row["label"] or "").strip().isdigit():
            raise BfpError(f"{path}, line {number}: label is {row['label']!r}; it must be a class index, 0 or more")
        items.append(_file_item(path.parent / row["file"], pre, int(row["label"])))
    if not items:
        raise BfpError(f"{path} lists no images; add lines file,label")
    return items


def _npz_items(path: Path, keys: list[str], pre: Preprocessing) -> list[Item]:
    if len(keys) > 2:
        named = ":".join(keys)
        raise BfpError(f"images {path}:{named} name {len(keys)} arrays; give 'file.npz:images' or with ':labels'")
    if not path.exists():
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


def _package_files(source: str) -> list[Path]:
    """Files inside an installed package, found without importing it; the last part may be a pattern."""
    name, _, pattern = source.removeprefix("package:").partition("/")
    try:
        spec = importlib.util.find_spec(name) if name and pattern else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise NotThere(f"images {source} need the package {name!r}, which is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(p for p in folder.glob(pattern) if p.is_file())
    if not files:
        raise NotThere(f"images {source} do not exist in the package {name!r}")
    return files


def _random_item(pre: Preprocessing, seed: int, index: int) -> Item:
    if pre.channels == ARRAY:
        return Item(f"random {index}", lambda: random_array(pre, np.random.default_rng([seed, index])))
    return Item(f"random {index}", lambda: random_photograph(pre, np.random.default_rng([seed, index])))


def random_array(pre: Preprocessing, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise float32 [H, W, C] whose channels have the network's mean and deviation."""
    height, width = pre.size
    total, rows, columns = np.zeros((height, width, len(pre.mean))), 1, 1
    while True:
        at = np.ix_(np.arange(height) * rows // height, np.arange(width) * columns // width)
        total += rng.normal(size=(rows, columns, len(pre.mean)))[at]
        if rows >= height and columns >= width:
            break
        rows, columns = min(2 * rows, height), min(2 * columns, width)
    total /= max(total.std(), 1e-9)
    return (total * np.asarray(pre.std) + np.asarray(pre.mean)).astype(np.float32)


def random_photograph(pre: Preprocessing, rng: np.random.Generator) -> Image.Image:
    """A smooth random image of the network's size whose spectrum falls like a photograph's (1 / frequency).

    Noise is enlarged from 2, 4, 8, ... pixels and added with amplitudes that
    halve each time; one in two octaves' contrast is common to the channels.
    """
    height, width = pre.size
    total = np.zeros((height, width, 3))
    side, amplitude = 2, 1.0
    while side <= max(height, width):
        small = rng.normal(size=(side, side, 1)) * 0.8 + rng.normal(size=(side, side, 3)) * 0.4
        for c in range(3):
            plane = Image.fromarray(small[:, :, c].astype(np.float32))
            total[:, :, c] += amplitude * np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC))
        side, amplitude = side * 2, amplitude / 2
    contrast = rng.uniform(30, 80)
    pixels = np.clip(rng.uniform(80, 170) + contrast * total / max(total.std(), 1e-9), 0, 255)
    return Image.fromarray(pixels.astype(np.uint8)).convert(MODES[pre.channels])
