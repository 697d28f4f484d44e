"""A small detector of coloured squares, as a user's folder has it: 32 x 32 pixels, a box for each of 16 cells, two classes.

Its weights are made, not trained: a convolution sees how red and how green each cell is, a linear layer makes a box of
each cell with its objectness and classes. Seeded noise on all weights leaves the boxes nearly where they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE, CELL, SIDE = 32, 8, 4  # of the input, of a cell, and cells of a row
COLOURS = {"red": (250, 5, 5), "green": (5, 250, 5)}
BOXES, COLUMNS = SIDE * SIDE, 7

MODULE = '''
import torch
from torch import nn


class Detector(nn.Module):
    """Rows of x, y, width, height (pixels), objectness and two classes: logits, or probabilities where it decodes itself."""

    def __init__(self, decodes, heads):
        super().__init__()
        self.heads = heads
        torch.manual_seed(0)
        self.decodes = decodes
        self.cells, self.rows = nn.Conv2d(3, 2, 8, 8), nn.Linear(32, 16 * 7)
        with torch.no_grad():
            plus = torch.tensor([[1.0, -1, 0], [-1, 1, 0]])[:, :, None, None].expand(2, 3, 8, 8) / 64
            self.cells.weight.copy_(plus + 1e-3 * torch.randn(2, 3, 8, 8))
            self.cells.bias.zero_()
            weight, bias = torch.zeros(16, 7, 2, 16), torch.zeros(16, 7)
            for cell in range(16):
                y, x = cell // 4, cell % 4
                weight[cell, 4, :, cell] = 16.0
                weight[cell, 5:, :, cell] = torch.tensor([[8.0, -8], [-8, 8]])
                bias[cell] = torch.tensor([8.0 * x + 4, 8.0 * y + 4, 8, 8, -8, -2, -2])
            if decodes:
                bias[:, :4] = 0
            self.rows.weight.copy_((weight + 0.01 * torch.randn_like(weight)).reshape(16 * 7, 32))
            self.rows.bias.copy_(bias.flatten())

    def forward(self, x):
        seen = torch.relu(self.cells(x)).flatten(1)
        if self.heads:
            parts = {"first": slice(0, 63), "others": slice(63, None)}
            each = {name: nn.functional.linear(seen, self.rows.weight[s], self.rows.bias[s]) for name, s in parts.items()}
            return {name: rows.view(-1, rows.shape[1] // 7, 7) for name, rows in each.items()}
        rows = self.rows(seen).view(-1, 16, 7)
        if not self.decodes:
            return rows
        rows, cells = rows.sigmoid(), torch.arange(16)
        grid = torch.stack([cells % 4, cells // 4], 1)
        return torch.cat([(rows[..., :2] * 2 - 0.5 + grid) * 8, (rows[..., 2:4] * 2) ** 2 * 8, rows[..., 4:]], 2)


def make(decodes=False, heads=False):
    return Detector(decodes, heads)
'''
NETWORK = """
name = "{name}"
model = "toy_detector_beside:make"
arguments = {{ decodes = {decodes}, heads = {heads} }}
classes = ["red", "green"]

[input]
size = 32
mean = 0
std = 255
letterbox = true

[calibration]
images = "squares/"

[evaluation]
images = "squares.csv"

[detection]
{detection}

[bfp]
method = "max"

[engine]
lanes = 4
filters = 2
pixels = 2
"""
DETECTION = {False: 'scores = "logits"\nscore = 0.5', True: "score = 0.5"}


def picture(seed: int) -> tuple[Image.Image, list[tuple]]:
    """A gray picture with two to four coloured squares, and for each its class and its corners in the picture's pixels.

    Squares fill cells of the letterboxed input: pictures are twice as large, wide, high, or square.
    """
    rng = np.random.default_rng(seed)
    columns, rows = [(4, 2), (2, 4), (4, 4)][seed % 3]
    pixels = np.full((rows * 2 * CELL, columns * 2 * CELL, 3), 114, np.uint8)
    objects = []
    for cell in rng.choice(rows * columns, rng.integers(2, 5), replace=False):
        name = list(COLOURS)[rng.integers(2)]
        left, top = cell % columns * 2 * CELL, cell // columns * 2 * CELL
        pixels[top : top + 2 * CELL, left : left + 2 * CELL] = COLOURS[name]
        objects.append((name, left, top, left + 2 * CELL, top + 2 * CELL))
    return Image.fromarray(pixels), objects


def write_network(folder: Path, name: str, decodes: bool = False, heads: bool = False) -> Path:
    """A network's file in a folder with everything that it names. heads: whether its rows are parts of two outputs."""
    words = {"decodes": str(decodes).lower(), "heads": str(heads).lower()}
    text = NETWORK.format(name=name, detection=DETECTION[decodes], **words)
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve pictures, their boxes, and the detector's Python file."""
    folder = tmp_path_factory.mktemp("squares")
    (folder / "toy_detector_beside.py").write_text(MODULE)
    (folder / "squares").mkdir()
    lines = ["file,label,left,top,right,bottom"]
    for seed in range(12):
        image, objects = picture(seed)
        image.save(folder / "squares" / f"{seed:02d}.png")
        lines += [f"squares/{seed:02d}.png,{','.join(map(str, one))}" for one in objects]
    Image.new("RGB", (50, 70), (114, 114, 114)).save(folder / "squares" / "empty.png")
    (folder / "squares.csv").write_text("\n".join([*lines, "squares/empty.png,,,,,"]) + "\n")
    yield folder
    sys.modules.pop("toy_detector_beside", None)
    sys.path[:] = [place for place in sys.path if place != str(folder)]
