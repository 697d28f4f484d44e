"""The weight image: words in exactly the order in which the engine reads them.

The layout is described in hls/weights.hpp.
"""

from __future__ import annotations

import numpy as np

from codegen.lowering.placement import Placement
from codegen.lowering.tiling import BIAS_BEATS


def pack_words(words: np.ndarray, bits: int) -> np.ndarray:
    """Words of mantissas [rows, n, lanes] to packed beats [rows, m, lanes], int8: see hls/packing.hpp."""
    if bits == 8:
        return words
    codes = (words.astype(np.int16) & ((1 << bits) - 1)).astype(np.uint8)
    rows, count, lanes = codes.shape
    # per lane, the bits of all its mantissas one after the other, the lowest first
    streams = np.unpackbits(codes.transpose(0, 2, 1)[..., None], axis=-1, count=bits, bitorder="little")
    packed = np.packbits(streams.reshape(rows, lanes, count * bits), axis=-1, bitorder="little")
    return packed.transpose(0, 2, 1).view(np.int8)


def bias_words(bias: np.ndarray) -> np.ndarray:
    """Rows of biases [words, lanes] to bytes int8 [words, 4, lanes]."""
    rows, lanes = bias.shape
    return bias.astype("<i4").view(np.int8).reshape(rows, 4, lanes)


def fold_columns(mantissas: np.ndarray, taps: int) -> np.ndarray:
    """Weights [F, C, kh, kw] for words that hold ``taps`` columns: [F, taps * C, kh, ceil(kw / taps)]."""
    if taps == 1:
        return mantissas
    filters, channels, kh, kw = mantissas.shape
    steps = -(-kw // taps)
    full = np.zeros((filters, channels, kh, steps * taps), np.int8)
    full[..., :kw] = mantissas
    return full.reshape(filters, channels, kh, steps, taps).transpose(0, 4, 1, 2, 3).reshape(filters, -1, kh, steps)


def dense_image(
    mantissas: np.ndarray,
    align: np.ndarray | None,
    bias: np.ndarray,
    source: Placement,
    target: Placement,
    chunk_words: int,
    filters_per_part: int,
    bits: int,
) -> tuple[np.ndarray, int]:
    """Beats of a dense convolution, int8 [n, lanes], and the beats of a full chunk.

    mantissas: int8 [F, C, kh, kw]; align: [F, input words] or None; bias: rows
    [output words, lanes]. filters_per_part: filters that are computed
    together. bits: width of the mantissas in memory.
    """
    lanes = source.lanes
    filters, _, kh, kw = mantissas.shape
    full = np.zeros((target.planes * lanes, source.planes * lanes, kh, kw), np.int8)
    # folded columns fill the lanes of the one input word
    slots = source.slots() if mantissas.shape[1] == len(source.slots()) else np.arange(mantissas.shape[1])
    full[np.ix_(target.slots(), slots)] = mantissas
    # output word, part, input word, kernel row, kernel column, input channel, filter
    shape = (target.planes, lanes // filters_per_part, filters_per_part, source.planes, lanes, kh, kw)
    steps = full.reshape(shape).transpose(0, 1, 3, 5, 6, 4, 2)
    parts = []
    biases = bias_words(bias)
    shifts = None
    if align is not None:
        rows = np.zeros((target.planes * lanes, source.planes), np.int8)
        rows[target.slots()] = align
        shifts = rows.reshape(target.planes, lanes, source.planes).transpose(0, 2, 1)
    for start in range(0, source.planes, chunk_words):
        parts.append(biases)
        if shifts is not None:
            parts.append(shifts[:, start : start + chunk_words])
        words = steps[:, :, start : start + chunk_words].reshape(target.planes, -1, lanes)
        parts.append(pack_words(words, bits))
    chunk = sum(part.shape[1] for part in parts[: 2 if shifts is None else 3])
    return np.concatenate(parts, axis=1).reshape(-1, lanes), chunk


def dense_sizes(
    area: int, has_align: bool, in_words: int, chunk_words: int, lanes: int, bits: int
) -> tuple[int, int]:
    """Beats of one output word in :func:`dense_image`, and those of a full chunk, without the image itself.

    area: kernel positions, as folded.
    """

    def chunk(words: int) -> int:
        return BIAS_BEATS + has_align * words + -(-words * area * lanes * bits // 8)

    chunks = [min(chunk_words, in_words - start) for start in range(0, in_words, chunk_words)]
    return sum(map(chunk, chunks)), chunk(chunks[0])


def depthwise_image(mantissas: np.ndarray, bias: np.ndarray, target: Placement, bits: int) -> np.ndarray:
    """Beats of a depthwise convolution, int8 [n, lanes]. mantissas: int8 [C, 1, kh, kw]."""
    channels, _, kh, kw = mantissas.shape
    full = np.zeros((target.planes * target.lanes, kh * kw), np.int8)
    full[target.slots()] = mantissas.reshape(channels, -1)
    steps = full.reshape(target.planes, target.lanes, kh * kw).transpose(0, 2, 1)
    return np.concatenate([bias_words(bias), pack_words(steps, bits)], axis=1).reshape(-1, target.lanes)


def one_hot(filters: int, channels: int, offset: int) -> np.ndarray:
    """Weights that move channel ``c - offset`` to filter ``c``: int8 [F, C, 1, 1], zeros elsewhere."""
    weights = np.zeros((filters, channels, 1, 1), np.int8)
    f = np.arange(max(offset, 0), min(filters, channels + offset))
    weights[f, f - offset] = 1
    return weights
