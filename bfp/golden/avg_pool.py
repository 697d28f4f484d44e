"""Average pooling, global pooling included: integer sum times a static reciprocal."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.windows import pad, taps
from bfp.graph import Node
from bfp.parameters import Parameters, reciprocal


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Window sums times their divisors' reciprocals: int32 [N, C, OH, OW], exponent e - RECIPROCAL_BITS."""
    total = np.zeros((*x.shape[:2], *node.window.output_size(*x.shape[2:])), np.int32)
    for _, _, view in taps(pad(x, node.window), node.window):
        total += view
    rows, cols = node.divisors(*x.shape[2:])
    total *= reciprocal(np.multiply.outer(rows, cols)).astype(np.int32)
    return total
