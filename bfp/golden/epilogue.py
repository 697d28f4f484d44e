"""What every operator ends with: shortcut, activation, one requantisation shift, saturation."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.activations import ACTIVATE
from bfp.graph import Node
from bfp.operators import Join
from bfp.parameters import Parameters
from bfp.tables import join_table

CHUNK = 1 << 16  # accumulators finished at a time: their bytes stay in the second-level cache
JOIN = join_table(
    "the golden model",
    {Join.SUM: np.add, Join.LARGER: np.maximum, Join.SMALLER: np.minimum, Join.PRODUCT: np.multiply},
)


def per_channel(values: np.ndarray) -> np.ndarray:
    """[C] to int32 [C, 1, 1], to broadcast over [N, C, H, W]."""
    return values.astype(np.int32)[:, None, None]


def epilogue(
    acc: np.ndarray, node: Node, p: Parameters, target: BlockFormat, shortcut: np.ndarray | None
) -> np.ndarray:
    """Accumulators int32 [N, C, H, W] (overwritten) to mantissas int16; the shortcut is broadcast to their shape.

    ``(acc + (1 << (r - 1))) >> r``, half up, arithmetic shift; a negative r
    shifts left. All sums stay inside 32 bits: see bfp.parameters.prove.
    """
    activate, join = ACTIVATE[node.activation], JOIN[node.operator.join]
    out = np.empty(acc.shape, np.int16)
    right = np.maximum(p.requantisation_shift, 0)
    half = per_channel(np.where(right > 0, 1 << np.maximum(right - 1, 0), 0))
    left = per_channel(np.maximum(-p.requantisation_shift, 0))
    right = per_channel(right)
    channels, pixels = acc.shape[1], max(1, acc.shape[2] * acc.shape[3])
    step = max(1, CHUNK // pixels)
    # many passes over a few channels of one image, which stay in the cache
    for n in range(len(acc)):
        for c in range(0, channels, step):
            part = slice(c, c + step)
            values = acc[n, part]
            if shortcut is not None:
                other = shortcut[n, part] if shortcut.shape[1] == channels else shortcut[n]  # its only channel
                join(values, other.astype(np.int32) << per_channel(p.shortcut_alignment[part]), out=values)
            activate(values, None if p.clamp_high is None else per_channel(p.clamp_high[part]))
            values += half[part]
            values >>= right[part]
            if left.any():
                values <<= left[part]
            np.clip(values, target.low, target.high, out=values)
            np.copyto(out[n, part], values, casting="unsafe")  # clipped to 9 bits
    return out
