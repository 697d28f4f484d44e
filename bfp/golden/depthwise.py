"""Depthwise convolution: one filter per channel, one exponent per filter."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.epilogue import per_channel
from bfp.golden.windows import pad, taps
from bfp.graph import Node
from bfp.parameters import Parameters


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Bias plus the (aligned) psum of each channel: int32 [N, C, OH, OW]."""
    weights = p.weights.mantissas.astype(np.int32)
    acc = np.zeros((*x.shape[:2], *node.window.output_size(*x.shape[2:])), np.int32)
    for ky, kx, view in taps(pad(x, node.window), node.window):
        acc += view * weights[:, 0, ky, kx][:, None, None]
    if p.main_alignment.any():
        acc <<= per_channel(p.main_alignment)
    acc += per_channel(p.bias)
    return acc
