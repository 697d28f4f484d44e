"""Max pooling: compares mantissas of one block; padding never wins."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.windows import pad, taps
from bfp.graph import Node
from bfp.parameters import Parameters


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Largest mantissa of each window: int32 [N, C, OH, OW]."""
    best = None
    for _, _, view in taps(pad(x, node.window, value=np.iinfo(np.int16).min), node.window):
        best = view.copy() if best is None else np.maximum(best, view, out=best)
    return best.astype(np.int32)
