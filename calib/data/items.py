"""One image of a source: where it is, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bfp.boxes import Boxes
from bfp.errors import BfpError


class NotThere(BfpError):
    """A named source does not exist, so that a fallback may stand in."""


@dataclass(frozen=True)
class Item:
    """One image: its name, how to open it, and its label or None. An array opens as float32 [H, W, C].

    in_order: it can only be read after the one before it, in one thread. boxes: those of the ground truth, in pixels of
    the upright picture, None where none are known. size: its width and height, found without decoding it; None where
    that takes opening it. path: of a picture in a file of its own; target: the file of its mask, or of what it should
    become, None where there is none. files: of several inputs those of its pictures.
    """

    name: str
    open: Callable[[], Image.Image | np.ndarray]
    label: int | None = None
    in_order: bool = False
    boxes: Boxes | None = None
    size: Callable[[], tuple[int, int]] | None = None
    path: Path | None = None
    target: Path | None = None
    files: tuple[Path, ...] = ()
