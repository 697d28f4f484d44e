"""Slices, strided sub-sampling and zero padding of channels, rows and columns."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.windows import pad, taps
from bfp.graph import Node
from bfp.parameters import Parameters


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Input mantissas at their new places, zero elsewhere: int32 [N, C', OH, OW]."""
    _, _, view = next(taps(pad(x, node.window), node.window))
    out = np.zeros((len(x), target.channels, *view.shape[2:]), np.int32)
    start = max(node.channel_offset, 0)
    stop = min(target.channels, source.channels + node.channel_offset)
    if start < stop:
        out[:, start:stop] = view[:, start - node.channel_offset : stop - node.channel_offset]
    return out
