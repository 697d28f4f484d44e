"""The published rule of static block floating point (Fan et al., FPT 2019), as the baseline to measure against.

Source: lib/Utils.py of os-hxfan/Static_BFP_CNN (``find_exp_KL_act``,
``smooth_hist``, ``to_exponent_mantissa_width``). A block's exponent is
E = floor(log2 max|x|), its least significant bit 2**(E - m + 2), and mantissas
are clipped at 2**(m-1) - 2. For activations E, E - 1 and E - 2 are compared by
the Kullback-Leibler divergence of histograms with about 128 bins between the
smallest and the largest value; weights keep E.

What differs from the published code: values come from a histogram of 4096
bins a sign, not one by one; activations saturate at 2**(m-1) - 1, as the
engine does; sums and average pools are integer, where the published network
keeps them in float; the bias is rounded at the accumulator's exponent; and an
all-zero filter gets zeros, where the published weight quantiser returns NaN.
"""

from __future__ import annotations

import math

import numpy as np

from bfp.format import exponent_for_maximum
from calib.observers.statistics import Histogram

CANDIDATES = 3
INTERVALS = 128
EPSILON = 1e-4  # smoothing of empty bins


def clip_limit(bits: int) -> int:
    """The largest mantissa of the published clip."""
    return max(2 ** (bits - 1) - 2, 1)


def exponent(maximum: np.ndarray, bits: int) -> np.ndarray:
    """Exponent of the least significant bit, int64, same shape; 0 for all-zero blocks."""
    mantissa, power = np.frexp(np.asarray(maximum, np.float64))  # maximum = mantissa * 2**power, 1/2 <= mantissa < 1
    return np.where(mantissa > 0, power - 1 - (bits - 2), 0).astype(np.int64)


def activation_exponents(histogram: Histogram, maxima: np.ndarray, bits: int) -> np.ndarray:
    """Exponents of activation blocks, int64 [blocks]; the histogram has its ``negative`` part."""
    highest = exponent(maxima, bits)
    steps = [
        _best_step(*histogram.values(b), int(e), bits) if maxima[b] > 0 else 0 for b, e in enumerate(highest)
    ]
    # the engine's range ends one above the published clip: never coarser than what that needs
    return np.minimum(highest - np.asarray(steps, np.int64), exponent_for_maximum(maxima, bits))


def _best_step(values: np.ndarray, counts: np.ndarray, highest: int, bits: int) -> int:
    largest, smallest = float(values.max()), float(values.min())
    low, high = math.floor(smallest), math.ceil(largest)
    if largest == smallest or low == high:
        return 0  # a constant: every candidate looks the same
    bins = 1 + int((high - low) / ((largest - smallest) / INTERVALS))
    target = _smoothed(np.histogram(values, bins, (low, high), weights=counts)[0])
    best, least = 0, math.inf
    for step in range(CANDIDATES):
        lsb = 2.0 ** (highest - step)
        limit = clip_limit(bits)
        quantised = np.clip(np.rint(values / lsb), -limit, limit) * lsb
        if quantised.max() < low:
            continue
        found = np.histogram(quantised, bins, (low, high), weights=counts)[0]
        if not found.any():
            continue
        divergence = float(np.mean(target * np.log(target / _smoothed(found))))
        if divergence < least:
            best, least = step, divergence
    return best


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """A normalised histogram without empty bins."""
    empty = counts == 0
    given = EPSILON * empty.sum() / (~empty).sum()
    # a huge share of empty bins may take more than a bin has: the published code stops there, this one does not
    result = np.where(empty, EPSILON, np.maximum(counts - given, EPSILON))
    return result / result.sum()
