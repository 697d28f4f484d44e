"""MTCNN's cascade on the host: a picture's pyramid, windows and boxes around three networks, whoever computes these.

After Zhang et al. (2016). The whole pyramid is one input of the first network: all levels side by side, so that it runs
once a picture. Boxes are left, top, right and bottom in pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bfp import golden
from bfp.artifact import Artifact
from bfp.boxes import Boxes, suppressed
from bfp.errors import BfpError

WINDOW, STRIDE = 12, 2  # of the first network, in pixels of a level
FACTOR = 0.709  # from a level's side to the next one's
CENTRE, SCALE = 127.5, 128.0  # of pixels, as the networks take them
MOST = 100  # boxes that a stage hands on
FACE = 1  # of the two scores
Network = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # images [N, 3, H, W] to scores and offsets, [N, ...]


@dataclass(frozen=True)
class Cascade:
    """Three networks, with the sides of the windows that the later two take, and from which score on each believes in a face.

    canvas: rows and columns of the first one's input. least: side, in pixels of the picture, of the smallest face.
    """

    proposals: Network
    refinement: Network
    output: Network
    canvas: tuple[int, int]
    least: float
    sides: tuple[int, int] = (24, 48)
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)

    def find(self, picture: np.ndarray) -> Boxes:
        """The faces of a picture, uint8 [H, W, 3], the surest first. Raises BfpError where its pyramid is larger than the canvas."""
        boxes = self._proposed(picture)
        for network, side, least in zip((self.refinement, self.output), self.sides, self.thresholds[1:]):
            if not len(boxes):
                return boxes
            corners = squared(boxes.corners)
            found = network(np.stack([window(picture, c, side) for c in corners]))
            boxes = above(corners, *(found[name].reshape(len(corners), -1) for name in ("scores", "offsets")), least)
            boxes = suppressed(boxes, 0.7 if network is self.refinement else 0.4, MOST)
        return boxes

    def _proposed(self, picture: np.ndarray) -> Boxes:
        levels = pyramid(picture.shape[:2], self.canvas, self.least)
        pixels = np.full((3, *self.canvas), CENTRE)
        for level in levels:
            pixels[:, level.rows, level.columns] = resized(picture, (level.height, level.width))
        found = self.proposals(normalised(pixels)[None])
        each = [suppressed(level.windows(found, self.thresholds[0]), 0.5, MOST) for level in levels]
        every = Boxes(*(np.concatenate([getattr(b, k) for b in each]) for k in ("corners", "scores", "classes")))
        return suppressed(every, 0.7, MOST)


@dataclass(frozen=True)
class Level:
    """A picture at one size, and where on the canvas it lies: top and left are even, as the first network's stride wants.

    down, across: pixels of the picture for one of the level.
    """

    top: int
    left: int
    height: int
    width: int
    down: float
    across: float

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)

    def windows(self, found: Mapping[str, np.ndarray], least: float) -> Boxes:
        """The boxes of score ``least`` and more among the windows that lie in this level, where their offsets move them."""
        ends = ((self.top, self.height), (self.left, self.width))
        part = [slice(start // STRIDE, (start + length - WINDOW) // STRIDE + 1) for start, length in ends]
        scores, offsets = (found[name][0][(slice(None), *part)] for name in ("scores", "offsets"))
        y, x = STRIDE * np.indices(scores.shape[1:])
        scale = np.array([self.across, self.down] * 2)
        corners = np.stack([x, y, x + WINDOW, y + WINDOW], -1).reshape(-1, 4) * scale
        return above(corners, scores.reshape(2, -1).T, offsets.reshape(4, -1).T, least)


def golden_network(artifact: Artifact) -> Network:
    """One of the three as its artifact computes it: the golden model, and what the host does behind it."""
    shapes = artifact.graph.shapes

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = artifact.returned(golden.logits(artifact, golden.quantise_input(artifact, images)))
        return {name: values.reshape(len(images), *shapes[name]) for name, values in found.items()}

    return run


def pyramid(picture: tuple[int, int], canvas: tuple[int, int], least: float) -> list[Level]:
    """The levels of a picture of so many rows and columns, column by column on the canvas, each as far left as it fits.

    In the first, faces of ``least`` pixels are as large as a window, but for rounding to even sides. Raises BfpError
    where the canvas is too small.
    """
    scale, levels, columns = WINDOW / least, [], []  # columns: left, width, and rows that are taken
    while min(picture) * scale >= WINDOW:
        height, width = (2 * round(side * scale / 2) for side in picture)
        fitting = (n for n, (_, room, taken) in enumerate(columns) if width <= room and taken + height <= canvas[0])
        n = next(fitting, len(columns))
        if n == len(columns):
            columns.append((sum(room for _, room, _ in columns), width, 0))
        left, room, taken = columns[n]
        if left + width > canvas[1] or taken + height > canvas[0]:
            raise BfpError(
                f"the pyramid of a picture of {picture[0]} x {picture[1]} pixels for faces of {least:g} does not fit into "
                f"an input of {canvas[0]} x {canvas[1]}; look for larger faces, or take a smaller picture"
            )
        levels.append(Level(taken, left, height, width, picture[0] / height, picture[1] / width))
        columns[n] = (left, room, taken + height)
        scale *= FACTOR
    return levels


def above(corners: np.ndarray, scores: np.ndarray, offsets: np.ndarray, least: float) -> Boxes:
    """The windows [n, 4] that are faces by scores [n, 2] of ``least`` and more, moved by offsets [n, 4], parts of their sides."""
    scores = scores[:, FACE]
    chosen = scores >= least
    sides = np.tile(corners[chosen, 2:] - corners[chosen, :2], 2)
    return Boxes(corners[chosen] + offsets[chosen] * sides, scores[chosen], np.zeros(chosen.sum(), np.int64))


def squared(corners: np.ndarray) -> np.ndarray:
    """Squares of the longer side around the middles of boxes [n, 4], in whole pixels."""
    middle, side = (corners[:, :2] + corners[:, 2:]) / 2, (corners[:, 2:] - corners[:, :2]).max(1, keepdims=True)
    return np.round(np.concatenate([middle - side / 2, middle + side / 2], 1))


def window(picture: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """What a box sees, [3, side, side], as the networks take it; black where the picture has ended."""
    left, top, right, bottom = (int(c) for c in corners)
    pixels = np.zeros((max(bottom - top, 1), max(right - left, 1), 3), np.uint8)
    inside = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    row, column = max(-top, 0), max(-left, 0)
    pixels[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return normalised(resized(pixels, (side, side)))


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, 3] as pixels [3, *size]."""
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """Pixels as the networks take them, float32."""
    return ((pixels - CENTRE) / SCALE).astype(np.float32)
