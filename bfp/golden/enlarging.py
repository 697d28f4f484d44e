"""More pixels of the same mantissas: repeated, or taken from the channels that are an output channel's phases."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.epilogue import per_channel
from bfp.graph import Node
from bfp.parameters import Parameters


def repeat(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Every pixel in ``factors`` rows and columns, at the accumulator's exponent: int32 [N, C, OH, OW]."""
    down, across = node.factors
    return x.repeat(down, axis=2).repeat(across, axis=3).astype(np.int32) << per_channel(p.main_alignment)


def depth_to_space(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Phases [N, rows * columns * C, H, W] as pixels, at the accumulator's exponent: int32 [N, C, OH, OW]."""
    (down, across), (count, channels, height, width) = node.factors, x.shape
    phases = x.reshape(count, down, across, channels // (down * across), height, width)
    pixels = phases.transpose(0, 3, 4, 1, 5, 2).reshape(count, -1, height * down, width * across)
    return pixels.astype(np.int32) << per_channel(p.main_alignment)
