"""Images that are drawn, not read: seeded noise in place of photographs and arrays, and variants of photographs."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bfp.artifact import Preprocessing
from host.image import MODES


def vary(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random crop of 40 to 100 % of each side, mirrored every other time."""
    w, h = image.size
    scale = rng.uniform(0.4, 1.0)
    cw, ch = max(1, round(w * scale)), max(1, round(h * scale))
    left, top = int(rng.integers(0, w - cw + 1)), int(rng.integers(0, h - ch + 1))
    image = image.crop((left, top, left + cw, top + ch))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.integers(2) else image


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
