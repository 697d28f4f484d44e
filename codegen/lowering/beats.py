"""Mantissas as beats of memory, and how many cycles these take to unpack (hls/packing.hpp)."""

from __future__ import annotations

import math


def beats(count: int, bits: int, skip: int = 0) -> int:
    """Beats that hold ``count`` mantissas of a lane behind ``skip`` bits."""
    return -(-(skip + count * bits) // 8)


def most_beats(count: int, bits: int) -> int:
    """Beats that hold ``count`` mantissas of a lane, at most, whichever of a row's mantissas they begin with."""
    return beats(count, bits, 8 - math.gcd(bits, 8))


def unpacking(words: int, bits: int, filters: int) -> int:
    """Iterations of load_dense: words are taken two at a time, as far as one more beat allows."""
    if filters == 1:
        return words

    def run(left: int) -> int:
        held, count = 0, 0
        while left > 0:
            wanted = 2 * bits if left > 1 else bits
            held += 8 if held < wanted else 0
            taken = 2 if left > 1 and held >= wanted else 1
            held, left, count = held - taken * bits, left - taken, count + 1
        return count

    # eight words are a whole number of beats, after which everything repeats
    return words // 8 * run(8) + run(words % 8)
