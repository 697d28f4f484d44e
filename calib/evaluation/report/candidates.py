"""What each possible exponent of a tensor would have cost, from its histogram."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat, exponent_for_maximum, mantissa_range
from calib.observers.statistics import BINS, Histogram

BELOW = 3  # candidates below the chosen exponent
MOST_ABOVE = 3
FLOOR = 0.5  # counts in a bin from which saturation took everything


def judge(histogram: Histogram, maximum: np.ndarray, fmt: BlockFormat, values: int) -> list[dict]:
    """Criteria of the chosen exponents and of those around them, from fine to coarse.

    maximum: largest |x| per channel, [C]; values: how many the histogram saw,
    zeros included. Every candidate shifts the exponents of all blocks by
    ``offset`` (0 is the chosen one). mse: mean squared error of rounding and
    saturating the values, in squares of the tensor's unit; kl: divergence in
    nats of the quantised distribution from the values', over all blocks, each
    by its share of non-zero values; saturated: share of values clipped.
    """
    blocks = np.maximum.reduceat(maximum, fmt.splits[:-1])
    alive = blocks > 0
    needed = exponent_for_maximum(blocks, fmt.bits, fmt.signed) - np.asarray(fmt.exponents)
    above = int(np.clip(needed[alive].max(initial=1), 1, MOST_ABOVE))
    result = []
    for offset in range(-BELOW, above + 1):
        error, divergence, saturated = criteria(histogram, np.asarray(fmt.exponents) + offset, fmt.bits, fmt.signed)
        weight = histogram.counts.sum(axis=1)
        result.append(
            {
                "offset": offset,
                "mse": float(error.sum() / max(values, 1)),
                "kl": float((divergence * weight).sum() / max(weight.sum(), 1)),
                "saturated": float(saturated.sum() / max(values, 1)),
            }
        )
    return result


def criteria(
    histogram: Histogram, exponents: np.ndarray, bits: int, signed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Summed squared error, divergence in nats, and clipped values of each block, [blocks] each.

    The divergence is Kullback-Leibler's over the whole range: a saturated bin
    keeps half a count, its values lie where quantisation puts them.
    """
    counts, tops = histogram.counts, histogram.tops
    high = mantissa_range(bits, signed)[1]
    centre = (np.arange(BINS) + 0.5) / BINS * tops[:, None]
    lsb = np.exp2(exponents.astype(np.float64))[:, None]
    level = np.floor(centre / lsb + 0.5)
    clipped = level > high
    level = np.minimum(level, high)
    error = (counts * (centre - level * lsb) ** 2).sum(axis=1)
    # a level's mass is spread over the bins that it stands for
    key = (level + np.arange(len(counts))[:, None] * (high + 1)).astype(np.int64)
    size = len(counts) * (high + 1)
    mass = np.bincount(key.reshape(-1), counts.reshape(-1), size)
    room = np.bincount(key.reshape(-1), ((counts > 0) & ~clipped).reshape(-1).astype(np.float64), size)
    q = np.where(clipped, 0.0, (mass / np.maximum(room, 1))[key])
    q = np.where(counts > 0, np.maximum(q, FLOOR), 0.0)
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    q = q / np.maximum(q.sum(axis=1, keepdims=True), 1e-300)
    terms = p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, q, 1))
    return error, terms.sum(axis=1), (counts * clipped).sum(axis=1)


def bars(histogram: Histogram, maximum: np.ndarray, fmt: BlockFormat, count: int = 64) -> tuple[float, np.ndarray]:
    """The blocks' histograms as one, in least significant bits of each block.

    Returns the bars' width in least significant bits and the counts of
    non-zero values, float64 [bars]. The saturation limit is a bar's boundary.
    """
    blocks = np.maximum.reduceat(maximum, fmt.splits[:-1])
    lsb = np.exp2(np.asarray(fmt.exponents, np.float64))
    limit = fmt.high + 0.5
    width = limit / count
    while (blocks / lsb).max() > 2 * count * width:
        width *= 2
    result = np.zeros(2 * count + 1)
    centre = (np.arange(BINS) + 0.5) / BINS * (histogram.tops / lsb)[:, None]
    index = np.minimum((centre / width).astype(np.int64), 2 * count)
    np.add.at(result, index.reshape(-1), histogram.counts.reshape(-1))
    used = np.flatnonzero(result)
    return width, result[: max(used[-1] + 1 if len(used) else 0, int(np.ceil(limit / width)))]
