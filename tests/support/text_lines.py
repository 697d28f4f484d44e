"""Lines of text that Pillow draws, upright and upside down, for a classifier of their direction.

As a program it writes calibration and evaluation images into one archive: python tests/support/text_lines.py FILE.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HEIGHT, WIDTH = 48, 192  # pixels of the network's input
GRAY = 128  # of what a short line leaves free: next to zero once it is normalised
CALIBRATION, EVALUATION = 32, 1000  # lines of each part, drawn in both directions
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
FREQUENT = 26  # the small letters, of which most words consist
LEAST_CONTRAST = 40  # between ink and paper, in codes of luminance


def line(rng: np.random.Generator) -> Image.Image:
    """One upright line of one to three made-up words in random size, colours, sharpness and noise."""
    words = []
    for _ in range(rng.integers(1, 4)):
        letters = LETTERS[:FREQUENT] if rng.random() < 0.7 else LETTERS
        words.append("".join(rng.choice(letters, rng.integers(3, 9))))
    text = " ".join(words)
    font = ImageFont.load_default(int(rng.integers(14, 49)))
    left, top, right, bottom = font.getbbox(text)
    margin = int(rng.integers(1, 6))
    paper = rng.integers(0, 256, 3)
    ink = rng.integers(0, 256, 3)
    while abs(ink.mean() - paper.mean()) < LEAST_CONTRAST:
        ink = rng.integers(0, 256, 3)
    image = Image.new("RGB", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), tuple(map(int, paper)))
    ImageDraw.Draw(image).text((margin - left, margin - top), text, tuple(map(int, ink)), font)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))
    noise = rng.normal(0, rng.uniform(0, 12), (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def fitted(image: Image.Image) -> np.ndarray:
    """The line at the network's height, at most its width, and gray behind it, as its authors bring it: uint8 [H, W, 3]."""
    width = min(WIDTH, max(1, round(image.width * HEIGHT / image.height)))
    pixels = np.full((HEIGHT, WIDTH, 3), GRAY, np.uint8)
    pixels[:, :width] = np.asarray(image.resize((width, HEIGHT), Image.Resampling.BILINEAR))
    return pixels


def text_lines(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Lines in both directions: uint8 [2 * count, H, W, 3], and labels, 0 upright and 1 upside down."""
    rng = np.random.default_rng(seed)
    drawn = [line(rng) for _ in range(count)]
    images = [fitted(one.transpose(turn) if turn else one) for one in drawn for turn in (None, Image.Transpose.ROTATE_180)]
    return np.stack(images), np.tile([0, 1], count)


def write(path: Path, calibration: int = CALIBRATION, evaluation: int = EVALUATION) -> None:
    """Both parts of the archive, of different lines."""
    images, _ = text_lines(calibration, seed=0)
    others, labels = text_lines(evaluation, seed=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, calibration=images, evaluation=others, labels=labels)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
