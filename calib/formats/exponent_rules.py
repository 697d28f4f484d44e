"""One exponent for each block: by maximum, percentile, squared error, or Kullback-Leibler divergence.

``max`` takes the smallest exponent at which nothing saturates. ``kl`` (the
published method of static block floating point: Fan et al.) also looks at the
exponents up to CANDIDATES - 1 below it, which saturate the tail and resolve
the rest more finely, and takes the one whose distribution of quantised values
diverges least from the distribution of the values.

The published rule compares over the clipped range only, so that saturated
values cost nothing, and a peaked histogram is clipped until the network is
destroyed. Here every candidate is compared over the whole range: saturated
mass counts at the top level, where quantisation puts it, and the bins it left
keep half a count.

Divergence weighs how many values are wrong, not by how much; therefore a
candidate is admitted only if the squared error of the saturated values is at
most SATURATION of the maximum's whole error. Equality would not do: rounding
errors are independent and average out in the next layer's sums, saturation
always errs to the same side in the same channels. (EfficientNet-Lite0 with
6-bit activations agreed with float on 87 % of 60 photographs by maximum, on
68 % where total errors could be equal, on 85 to 90 % at a tenth and less.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bfp.format import exponent_for_maximum, mantissa_range
from bfp.tables import Table
from calib.formats import fan2019
from calib.observers.statistics import Histogram
from calib.options import AUTO, FAN2019, METHODS, REFERENCES

CANDIDATES = 4  # the maximum's exponent and three below it
SATURATION = 1 / 16
CACHED_BLOCKS = 4  # histograms that are judged at a time
FLOOR = 0.5  # counts in a bin from which saturation took everything
PERCENTILE = 0.9999  # of the values other than zero: what ``percentile`` keeps unsaturated


def by_kl(counts: np.ndarray, tops: np.ndarray, maxima: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Exponents, int64 [blocks].

    counts: histogram of |x| per block, [blocks, bins] over [0, tops[block]),
    tops powers of two; maxima: largest |x| per block. Empty blocks get 0.
    """
    highest = exponent_for_maximum(maxima, bits, signed)
    divergence, error, saturation = _judge_all(counts, tops, highest, bits, signed)
    admitted = (error <= error[0]) & (saturation <= SATURATION * error[0])
    admitted[0] = True
    divergence = np.where(admitted, divergence, np.inf)
    # argmin takes the first of equals: the candidate that clips least
    return np.where(maxima > 0, highest - np.argmin(divergence, axis=0), 0)


def by_squared_error(counts: np.ndarray, tops: np.ndarray, maxima: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Exponents of least squared error, int64 [blocks]; arguments as in ``by_kl``. The coarser of equals wins."""
    highest = exponent_for_maximum(maxima, bits, signed)
    _, errors, _ = _judge_all(counts, tops, highest, bits, signed, divergence=False)
    return np.where(maxima > 0, highest - np.argmin(errors, axis=0), 0)


def by_percentile(counts: np.ndarray, tops: np.ndarray, maxima: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Finest exponents at which a share of PERCENTILE of the values other than zero does not saturate."""
    reached = np.cumsum(counts, axis=1) >= PERCENTILE * counts.sum(axis=1, keepdims=True)
    # the upper end of the bin, but never above what was seen
    limit = np.minimum((np.argmax(reached, axis=1) + 1) * tops / counts.shape[1], maxima)
    return exponent_for_maximum(limit, bits, signed)


def squared_error(counts: np.ndarray, tops: np.ndarray, exponents: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Squared error of every block at its exponent, which may be a fraction: float64 [blocks], in the range's units."""
    parts = [slice(i, i + CACHED_BLOCKS) for i in range(0, len(counts), CACHED_BLOCKS)]
    errors = [_judge(counts[p], tops[p], exponents[p], bits, signed, divergence=False)[1] for p in parts]
    return np.concatenate(errors)


@dataclass(frozen=True)
class ExponentRule:
    """How a method chooses.

    choose(histogram, maxima, bits, signed): exponents, int64 [blocks]; None: the finest at which the maximum does not
    saturate, for which no histogram is needed. both_signs: the histogram must have its ``negative`` part.
    """

    choose: Callable[[Histogram, np.ndarray, int, bool], np.ndarray] | None = None
    both_signs: bool = False


RULES: Table[ExponentRule] = Table(
    "calib.formats.exponent_rules",
    "method",
    list(METHODS),
    {
        "max": ExponentRule(),
        "percentile": ExponentRule(lambda h, maxima, *width: by_percentile(h.counts, h.tops, maxima, *width)),
        "mse": ExponentRule(lambda h, maxima, *width: by_squared_error(h.counts, h.tops, maxima, *width)),
        "kl": ExponentRule(lambda h, maxima, *width: by_kl(h.counts, h.tops, maxima, *width)),
        FAN2019: ExponentRule(lambda h, maxima, bits, signed: fan2019.activation_exponents(h, maxima, bits), True),
    },
)


def rule_of(method: str) -> ExponentRule:
    """The rule of a method. Where none is chosen yet (``auto``) or needed (a reference), that of the maximum."""
    return RULES["max" if method in (AUTO, *REFERENCES) else method]


def _judge_all(
    counts: np.ndarray, tops: np.ndarray, highest: np.ndarray, bits: int, signed: bool, divergence: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``_judge`` of all candidates, each [CANDIDATES, blocks]; a few blocks at a time, which stay in the cache."""
    result = np.zeros((3, CANDIDATES, len(counts)))
    for start in range(0, len(counts), CACHED_BLOCKS):
        part = slice(start, start + CACHED_BLOCKS)
        for step in range(CANDIDATES):
            judged = _judge(counts[part], tops[part], highest[part] - step, bits, signed, divergence)
            result[:, step, part] = judged
    return result[0], result[1], result[2]


def _judge(
    counts: np.ndarray, tops: np.ndarray, exponents: np.ndarray, bits: int, signed: bool, divergence: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divergence in nats, squared error, and its part that saturation causes; each [blocks], in the range's units.

    Without ``divergence`` its place holds zeros.
    """
    blocks, bins = counts.shape
    top_level = mantissa_range(bits, signed)[1]
    tops = np.where(tops > 0, tops, 1.0)[:, None]
    width = tops / bins
    centre = (np.arange(bins) + 0.5) * width
    # a block without values is judged like any other, but at a step that fits its range
    step = np.where(counts.any(axis=1), np.exp2(exponents.astype(np.float64)), 1.0)[:, None]
    level = np.floor(centre / step + 0.5)
    saturated = level > top_level
    level = np.minimum(level, top_level)
    # a bin's values lie all over its width: that part of the error is common to all candidates
    error = counts * ((centre - level * step) / tops) ** 2
    saturation = np.where(saturated, error, 0.0).sum(axis=1)
    if not divergence:
        return np.zeros(blocks), error.sum(axis=1), saturation
    # exact values land in the cell of their level; saturated ones in the cell of the top level only
    key = (level + np.arange(blocks)[:, None] * (top_level + 1)).astype(np.int64)
    size = blocks * (top_level + 1)
    occupied = (counts > 0) & ~saturated
    mass = np.bincount(key.reshape(-1), counts.reshape(-1), size)
    room = np.bincount(key.reshape(-1), occupied.reshape(-1).astype(np.float64), size)
    share = (mass / np.maximum(room, 1))[key]
    q = np.where(saturated, 0.0, share)
    q = np.where(counts > 0, np.maximum(q, FLOOR), 0.0)
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    q_total = np.maximum(q.sum(axis=1, keepdims=True), 1e-300)
    p, q = counts / total, q / q_total
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0)
    return terms.sum(axis=1), error.sum(axis=1), saturation
