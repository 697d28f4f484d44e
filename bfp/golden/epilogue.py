"""What every operator ends with: shortcut, activation, one rounding shift, saturation."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.parameters import Parameters


def per_channel(values: np.ndarray) -> np.ndarray:
    """[C] to int32 [C, 1, 1], to broadcast over [N, C, H, W]."""
    return values.astype(np.int32)[:, None, None]


def epilogue(
    acc: np.ndarray, activation: str, p: Parameters, target: BlockFormat, shortcut: np.ndarray | None
) -> np.ndarray:
    """Accumulators int32 [N, C, H, W] (overwritten) to mantissas int16.

    ``(acc + (1 << (r - 1))) >> r``, half up, arithmetic shift; a negative r
    shifts left. All sums stay inside 32 bits: see bfp.parameters.prove.
    """
    if shortcut is not None:
        acc += shortcut.astype(np.int32) << per_channel(p.shortcut_shift)
    if activation != "none":
        np.maximum(acc, 0, out=acc)
    if activation == "relu6":
        np.minimum(acc, per_channel(p.clamp_high), out=acc)
    right = np.maximum(p.round_shift, 0)
    acc += per_channel(np.where(right > 0, 1 << np.maximum(right - 1, 0), 0))
    acc >>= per_channel(right)
    if p.round_shift.min() < 0:
        acc <<= per_channel(np.maximum(-p.round_shift, 0))
    return np.clip(acc, target.low, target.high, out=acc).astype(np.int16)
