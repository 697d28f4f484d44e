"""More pixels of the same mantissas: repeated, or taken from the channels that are an output channel's phases."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.epilogue import per_channel
from bfp.graph import Node
from bfp.operators.upsample_bilinear import axis_weights
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


def pad_edge(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """One more row and column on every side, at the accumulator's exponent: int32 [N, C, H + 2, W + 2]."""
    return np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge").astype(np.int32) << per_channel(p.main_alignment)


def bilinear(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Sums of neighbours times whole weights: int32 [N, C, OH, OW]."""
    total = x.astype(np.int32)
    for axis, factor in zip((2, 3), node.factors):
        around = [(0, 0)] * 4
        around[axis] = (1, 1)
        padded, size = np.pad(total, around, mode="edge"), total.shape[axis]
        near = [np.take(padded, range(n, n + size), axis) for n in range(3)]
        phases = [sum(w * part for w, part in zip(weights, near)) for weights in axis_weights(factor)]
        shape = (*total.shape[:axis], size * factor, *total.shape[axis + 1 :])
        total = np.stack(phases, axis + 1).reshape(shape)
    return total
