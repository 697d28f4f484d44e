"""The ``[calibration]`` and ``[evaluation]`` sections of a network's file: where images and their truth come from."""

from __future__ import annotations

from pathlib import Path

from bfp.errors import BfpError
from calib.data.packages import PACKAGE
from calib.options import ImageOptions
from calib.paths import resolve
from calib.section import Section

MOST_COUNT = 10**8  # of images to take or leave out


def only_arrays(path: Path, section: str, images: ImageOptions) -> None:
    """Raise BfpError where a network of arrays is given pictures, or variants of them; of several inputs, lists are fine."""
    others = [s for s in (*images.images, images.fallback) if s not in (None, "random") and ".npz" not in s]
    if images.inputs:
        others = [s for s in others if not s.endswith(".csv")]
        if others:
            raise BfpError(f"{path}: [{section}] images {others[0]} is no .npz or .csv file; networks of several inputs take these, or 'random'")
    if others:
        raise BfpError(f"{path}: [{section}] images {others[0]} is no .npz file; networks of arrays take .npz or 'random'")
    if images.targets is not None:
        raise BfpError(f"{path}: [{section}] targets are of photographs; leave them out for arrays")
    if images.augment != 1:
        raise BfpError(f"{path}: [{section}] augment makes variants of photographs; leave it out for arrays")


def texts(value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else list(value)
    if not values or not all(isinstance(v, str) and v for v in values):
        raise ValueError
    return tuple(values)


def read_images(section: Section, base: Path, augment: bool, inputs: tuple[tuple[str, int], ...]) -> ImageOptions:
    expected = "a path, 'package:name/file', 'random', or an array of these"
    sources = section.take("images", ..., texts, expected)
    fallback = section.text("fallback", None)
    options = ImageOptions(
        images=tuple(_source(s, base) for s in sources),
        fallback=None if fallback is None else _source(fallback, base),
        skip=section.integer("skip", 0, 0, MOST_COUNT),
        stride=section.integer("stride", 1, 1, MOST_COUNT),
        limit=section.integer("limit", None, 1, MOST_COUNT),
        augment=section.integer("augment", 1, 1, 64) if augment else 1,
        inputs=inputs,
        **({} if augment else _targets(section, base)),
    )
    section.done()
    return options


def _targets(section: Section, base: Path) -> dict[str, object]:
    """Where masks or pictures are that say what the outputs should be, and how masks are read."""
    folder = section.text("targets", None)
    expected = "an array of colours, [red, green, blue] with numbers from 0 to 255, one for each class and none twice"
    return {
        "targets": None if folder is None else resolve(folder, base),
        "ignore": section.integer("ignore", 255, 0, 2**16 - 1),
        "colours": section.take("colours", (), _colours, expected),
    }


def _colours(value: object) -> tuple[tuple[int, int, int], ...]:
    found = tuple(tuple(colour) for colour in value)
    good = all(len(c) == 3 and all(type(n) is int and 0 <= n <= 255 for n in c) for c in found)
    if not found or not good or len(set(found)) < len(found):
        raise ValueError
    return found


def _source(text: str, base: Path) -> str:
    return text if text == "random" or text.startswith(PACKAGE) else resolve(text, base)
