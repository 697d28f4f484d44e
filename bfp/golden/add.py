"""Addition that no convolution could take in, larger and smaller one and product of two maps, and the copy (``identity``).

Both operands are shifted left to the finer exponent, those of a product not at all; the shortcut joins in the
epilogue.
"""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.epilogue import per_channel
from bfp.graph import Node
from bfp.parameters import Parameters


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Main operand at the accumulator's exponent: int32 [N, C, H, W]."""
    return x.astype(np.int32) << per_channel(p.main_alignment)
