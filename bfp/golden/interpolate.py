"""Each pixel's difference to another one in its row or column, times the static share of its row or column."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.epilogue import per_channel
from bfp.golden.windows import pad, taps
from bfp.graph import Node
from bfp.operators.interpolate import along, looks_back
from bfp.parameters import Parameters


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Shares of differences, at the accumulator's exponent: int32 [N, C, H, W]."""
    first, second = (view.astype(np.int32) for _, _, view in taps(pad(x, node.window), node.window))
    other = first - second if looks_back(node) else second - first
    return (other * along(node, np.array(node.shares, np.int32))) << per_channel(p.main_alignment)
