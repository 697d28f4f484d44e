"""How far beyond the largest value seen an end has to lie, by how many values were seen: an extreme-value argument.

Behind a high threshold the values of almost any distribution fall off like
those of an exponential one (peaks over threshold: Pickands, Statistical
inference using extreme order statistics, 1975). The largest of N has then the
mean H_N = 1 + 1/2 + ... + 1/N in units of the tail's scale, so that the
largest value seen says what the scale is; the next value is larger with the
probability 1 / (N + 1), by an amount that has the same exponential
distribution. What an end further out saves in saturated values and what it
costs in rounding are then both known, and their sum has one minimum.
"""

from __future__ import annotations

import numpy as np

ITERATIONS = 20  # of a fixed point that gains a digit with each


def margins(samples: np.ndarray, top: int) -> np.ndarray:
    """Factor, 1 or more, of the largest value seen, by the number of values seen; float64 of the same shape.

    samples: values other than zero, at least 1 each. top: largest mantissa.
    """
    scale = 1 / harmonic(samples)
    factor = np.ones_like(scale)
    for _ in range(ITERATIONS):
        # derivatives of 2 * scale**2 * exp((1 - factor) / scale) / (samples + 1) and of (factor / top)**2 / 12
        room = np.log(12.0 * top**2 * scale / (factor * (samples + 1)))
        factor = 1 + scale * np.maximum(room, 0)
    return factor


def harmonic(count: np.ndarray) -> np.ndarray:
    """1 + 1/2 + ... + 1/count, float64; exact to 1e-3 for a count of 1, better behind it."""
    count = np.asarray(count, np.float64)
    return np.log(count) + np.euler_gamma + 1 / (2 * count) - 1 / (12 * count**2) + 1 / (120 * count**4)
