"""Dense convolution; a fully connected layer is one whose kernel covers the map."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.windows import pad
from bfp.graph import Node
from bfp.parameters import Parameters

EXACT_FLOAT32 = 2**24  # integers up to here are exact in float32
COLUMN_BYTES = 8 << 20  # working set of one block of columns: stays in the last-level cache
MAX_FLOAT32_PARTS = 4  # more partial products than this, and float64 is as fast


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Bias plus aligned psums: int32 [N, F, OH, OW].

    The alignment shifts are folded into the weights, so that each chunk of
    input channels is one matrix product. A product goes through float32 where
    the sum of its magnitudes is proved below 2**24, through float64 otherwise.
    """
    aligned = p.weights.mantissas.astype(np.int64)
    if p.align_shift.any():
        aligned <<= np.repeat(p.align_shift, np.diff(p.align_splits), axis=1)[:, :, None, None]
    filters, channels, kh, kw = aligned.shape
    parts = exact_parts(np.abs(aligned).sum(axis=(2, 3)) * source.high)
    dtype = np.float32 if parts else np.float64
    parts = parts or [(0, channels)]
    matrices = [np.ascontiguousarray(aligned[:, a:b].reshape(filters, -1), dtype) for a, b in parts]
    (sh, sw), (oh, ow) = node.window.stride, node.window.output_size(*x.shape[2:])
    padded = pad(x, node.window)
    out = np.empty((len(x), filters, oh, ow), np.int32)
    bias = p.bias.astype(np.int32)[:, None, None]
    rows = max(1, COLUMN_BYTES // (np.dtype(dtype).itemsize * channels * kh * kw * ow))
    if oh * ow == 1:
        flat = padded[:, :, :kh, :kw].astype(dtype)
        total = sum(
            (m @ flat[:, a:b].reshape(len(x), -1).T).astype(np.int32) for m, (a, b) in zip(matrices, parts)
        )
        return total.T.reshape(len(x), filters, 1, 1) + bias
    for n in range(len(x)):
        for y in range(0, oh, rows):
            stop = min(y + rows, oh)
            strip = padded[n, :, y * sh : (stop - 1) * sh + kh].astype(dtype)
            for index, (matrix, (a, b)) in enumerate(zip(matrices, parts)):
                part = (matrix @ columns(strip[a:b], kh, kw, sh, sw)).astype(np.int32).reshape(filters, stop - y, ow)
                if index == 0:
                    np.add(part, bias, out=out[n, :, y:stop])
                else:
                    out[n, :, y:stop] += part
    return out


def columns(strip: np.ndarray, kh: int, kw: int, sh: int, sw: int) -> np.ndarray:
    """[C, H, W] to the matrix [C * kh * kw, OH * OW] of its windows."""
    windows = np.lib.stride_tricks.sliding_window_view(strip, (kh, kw), axis=(1, 2))[:, ::sh, ::sw]
    return windows.transpose(0, 3, 4, 1, 2).reshape(len(strip) * kh * kw, -1)


def exact_parts(magnitude: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of input channels whose products are exact in float32; empty if float64 is better.

    magnitude: for every filter and input channel the largest magnitude of the
    channel's contribution, [F, C].
    """
    parts, start, total = [], 0, np.zeros(len(magnitude))
    for c in range(magnitude.shape[1]):
        total = total + magnitude[:, c]
        if total.max() >= EXACT_FLOAT32:
            if start == c or len(parts) + 1 >= MAX_FLOAT32_PARTS:
                return []
            parts.append((start, c))
            start, total = c, magnitude[:, c].astype(np.float64)
            if total.max() >= EXACT_FLOAT32:
                return []
    return parts + [(start, magnitude.shape[1])]
