"""DSConv's variable quantised kernels, in float emulation: a reference for comparison, which no artifact can hold.

Gennari do Nascimento, Fawcett and Prisacariu, "DSConv: Efficient Convolution Operator" (ICCV 2019, arXiv 1901.01928):
weights are integers of few bits (the variable quantised kernel) and one float factor for each block of input channels of a
filter, at each position of its window (the kernel's distribution shift). Here as without retraining: a block is stretched to
the range of its integers and rounded, and its factor is the one of least squared error (the L2 norm). Activations are block
floating point whose exponents are found at run time, as in ``calib.evaluation.baselines.online``.

A depthwise filter has one channel: there its window is the block, since a factor for each weight would leave nothing to
round.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bfp.graph import Node
from calib.formats.layer_options import LayerOptions


def variable_kernels(node: Node, weight: np.ndarray, splits: tuple[int, ...], chosen: LayerOptions) -> np.ndarray:
    """The values of weights [F, C, kh, kw], float64, same shape; splits: channel boundaries of the blocks."""
    axes = (1, 2, 3) if node.operator.weights.per_channel else (1,)
    found = [shifted(weight[:, a:b], chosen.weights, axes) for a, b in pairwise(splits)]
    return np.concatenate(found, axis=1)


def shifted(block: np.ndarray, bits: int, axes: tuple[int, ...]) -> np.ndarray:
    """Integers of two's complement times the factor of least squared error, float64; axes: that share a factor."""
    values = block.astype(np.float64)
    top = 2 ** (bits - 1) - 1
    largest = np.abs(values).max(axis=axes, keepdims=True)
    stretched = values / np.where(largest > 0, largest, 1.0) * top
    kernel = np.clip(np.floor(stretched + 0.5), -top - 1, top)
    power = (kernel**2).sum(axis=axes, keepdims=True)
    return kernel * (values * kernel).sum(axis=axes, keepdims=True) / np.where(power > 0, power, 1.0)
