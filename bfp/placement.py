"""Where a picture lies in the network's input, and back: from the sizes alone, so that boxes can be mapped either way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.artifact import Preprocessing


@dataclass(frozen=True)
class Placement:
    """picture: width and height of the upright picture. resized: the same once it is resized; offset: column and row of
    the input where its left upper corner then lies, below zero where it is cropped."""

    picture: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]

    def to_input(self, corners: np.ndarray) -> np.ndarray:
        """Points x, y, x, y [n, 4] of the picture as the network's input has them."""
        return corners * self._scale + self._shift

    def to_picture(self, corners: np.ndarray) -> np.ndarray:
        """The inverse of ``to_input``; what lies outside the picture is moved to its edge."""
        return np.clip((corners - self._shift) / self._scale, 0, np.tile(self.picture, 2).astype(np.float64))

    @property
    def _scale(self) -> np.ndarray:
        return np.tile(np.array(self.resized, np.float64) / np.array(self.picture, np.float64), 2)

    @property
    def _shift(self) -> np.ndarray:
        return np.tile(np.array(self.offset, np.float64), 2)


def placement(picture: tuple[int, int], pre: Preprocessing) -> Placement:
    """What becomes of a picture of this width and height; the resized one may be smaller than the network's input."""
    (height, width), (w, h) = pre.size, picture
    if pre.letterbox is not None:
        scale = min(width / w, height / h)
        resized = max(1, int(round(w * scale))), max(1, int(round(h * scale)))
        return Placement(picture, resized, ((width - resized[0]) // 2, (height - resized[1]) // 2))
    if pre.resize is not None:
        other = int(pre.resize * max(w, h) / min(w, h))
        resized = (pre.resize, other) if w <= h else (other, pre.resize)
        left, top = int(round((resized[0] - width) / 2.0)), int(round((resized[1] - height) / 2.0))
        return Placement(picture, resized, (-left, -top))
    return Placement(picture, (width, height), (0, 0))
