"""Dense convolution; a fully connected layer is one whose kernel covers the map."""

from __future__ import annotations

import weakref

import numpy as np

from bfp.format import BlockFormat
from bfp.golden.windows import pad
from bfp.graph import Node, Window
from bfp.parameters import Parameters

EXACT_FLOAT32 = 2**24  # integers up to here are exact in float32
COLUMN_BYTES = 8 << 20  # working set of one block of columns: stays in the last-level cache
MAX_FLOAT32_PARTS = 4  # more partial products than this, and float64 is as fast
KEPT_BYTES = 1 << 28  # of prepared weights: all of ResNet-50's, and a board of 2 GB has them to spare
_kept: dict[int, tuple] = {}


def accumulate(node: Node, p: Parameters, x: np.ndarray, source: BlockFormat, target: BlockFormat) -> np.ndarray:
    """Bias plus aligned psums: int32 [N, F, OH, OW].

    The alignment shifts are folded into the weights, so that each chunk of
    input channels is one matrix product. A product goes through float32 where
    the sum of its magnitudes is proved below 2**24, through float64 otherwise.
    """
    filters, channels, kh, kw = p.weights.mantissas.shape
    matrices, parts = prepared(p, source)
    dtype = matrices[0].dtype
    (sh, _), (dh, dw), (oh, ow) = node.window.stride, node.window.dilation, node.window.output_size(*x.shape[2:])
    padded = pad(x, node.window)
    bias = p.bias.astype(np.int32)[:, None, None]
    if oh * ow == 1:
        flat = padded[:, :, : node.window.extent[0] : dh, : node.window.extent[1] : dw].astype(dtype)
        total = sum(
            (m @ flat[:, a:b].reshape(len(x), -1).T).astype(np.int32) for m, (a, b) in zip(matrices, parts)
        )
        return total.T.reshape(len(x), filters, 1, 1) + bias
    out = np.empty((len(x), filters, oh, ow), np.int32)
    rows = min(oh, max(1, COLUMN_BYTES // (dtype.itemsize * channels * kh * kw * ow)))
    products = np.empty(filters * rows * ow, dtype)
    for n in range(len(x)):
        for y in range(0, oh, rows):
            stop = min(y + rows, oh)
            strip = padded[n, :, y * sh : (stop - 1) * sh + node.window.extent[0]].astype(dtype)
            sums = out[n, :, y:stop]
            product = products[: sums.size].reshape(filters, -1)
            for index, (matrix, (a, b)) in enumerate(zip(matrices, parts)):
                np.matmul(matrix, columns(strip[a:b], node.window), out=product)
                if index == 0:
                    np.copyto(sums, product.reshape(sums.shape), casting="unsafe")
                    sums += bias
                else:
                    sums += product.astype(np.int32).reshape(sums.shape)
    return out


def prepared(p: Parameters, source: BlockFormat) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Matrices [F, channels * kh * kw] of aligned weights, float32 or float64, and each one's range of input channels.

    Kept as long as ``p`` lives, while there is room, so that small batches do
    not pay for them again and again; its arrays become read-only.
    """
    kept = _kept.get(id(p))
    if kept is not None and kept[0]() is p and kept[1] == source.high:
        return kept[2]
    filters, channels = p.weights.mantissas.shape[:2]
    parts = [(0, channels)] if fits_float32(p, source) else exact_parts(contributions(p, source))
    weights = aligned_weights(p, np.float32 if parts else np.float64)
    parts = parts or [(0, channels)]
    result = [np.ascontiguousarray(weights[:, a:b].reshape(filters, -1)) for a, b in parts], parts
    held = sum(m.nbytes for _, _, (matrices, _) in list(_kept.values()) for m in matrices)
    if held + sum(m.nbytes for m in result[0]) <= KEPT_BYTES:
        p.weights.mantissas.flags.writeable = p.align_shift.flags.writeable = False
        _kept[id(p)] = (weakref.ref(p, lambda _, key=id(p): _kept.pop(key, None)), source.high, result)
    return result


def aligned_weights(p: Parameters, dtype: type) -> np.ndarray:
    """Weight mantissas at the accumulator's exponent, [F, C, kh, kw]; 7 + 15 bits are exact in float32 already."""
    weights = p.weights.mantissas.astype(dtype)
    if p.align_shift.any():
        scale = np.exp2(np.repeat(p.align_shift, np.diff(p.align_splits), axis=1))
        weights *= scale[:, :, None, None].astype(dtype)
    return weights


def fits_float32(p: Parameters, source: BlockFormat) -> bool:
    """Whether every filter's sum is exact in float32 even at its largest shift: settles most layers at little cost."""
    magnitude = np.abs(p.weights.mantissas).view(np.uint8)  # a uint8, so that 128 would be right, too
    total = magnitude.reshape(len(magnitude), -1).sum(axis=1, dtype=np.uint64)
    return bool((total * np.exp2(p.align_shift.max(axis=1)) * source.high < EXACT_FLOAT32).all())


def contributions(p: Parameters, source: BlockFormat) -> np.ndarray:
    """Largest magnitude that each input channel can bring to each filter's sum, float64 [F, C]."""
    magnitude = np.abs(p.weights.mantissas).view(np.uint8)
    magnitude = magnitude.reshape(*magnitude.shape[:2], -1)
    total = np.zeros(magnitude.shape[:2], np.uint32)
    for tap in range(magnitude.shape[2]):  # few: faster than summing along a short axis
        total += magnitude[:, :, tap]
    shift = np.repeat(p.align_shift, np.diff(p.align_splits), axis=1)
    return total * np.exp2(shift) * source.high


def columns(strip: np.ndarray, window: Window) -> np.ndarray:
    """[C, H, W], padded, to the matrix [C * kh * kw, OH * OW] of its windows."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    windows = np.lib.stride_tricks.sliding_window_view(strip, window.extent, axis=(1, 2))
    windows = windows[:, ::sh, ::sw, ::dh, ::dw]
    return windows.transpose(0, 3, 4, 1, 2).reshape(len(strip) * kh * kw, -1)


def exact_parts(magnitude: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of input channels whose products are exact in float32; empty if float64 is better.

    magnitude: for every filter and input channel the largest magnitude of the
    channel's contribution, [F, C].
    """
    large = magnitude.sum(axis=1) >= EXACT_FLOAT32  # the others never end a part
    totals = np.cumsum(magnitude[large], axis=1)  # integers below 2**53: exact
    channels = magnitude.shape[1]
    parts, start, before = [], 0, np.zeros((len(totals), 1))
    while start < channels:
        # sums only grow with the channels: the first that is too large ends the part
        stop = start + int(np.searchsorted((totals[:, start:] - before).max(axis=0, initial=0), EXACT_FLOAT32))
        if stop == start or len(parts) == MAX_FLOAT32_PARTS:
            return []
        parts.append((start, stop))
        start, before = stop, totals[:, stop - 1 : stop]
    return parts
