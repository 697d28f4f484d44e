"""The index of a table: how far it must reach, and how many bits it needs.

Beyond where a function is flat, nothing is lost by saturation. A bit less halves the table, and adds to the error of its
results, which rounding to the output's own mantissas has anyway.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.errors import BfpError
from bfp.format import MIN_BITS, BlockFormat, round_half_up
from bfp.functions import FunctionCall, table_of
from calib.observers.statistics import Histogram

POINTS = 4096
FLAT = 2.0**-9  # of the range of results: half a step of eight bits
SHARE = 1 / 8  # of the output's own squared error, which the index may add: half a decibel
PARTS = 8  # values that stand for each bin of a histogram: an index may have finer steps than the bins are wide


def index_end(call: FunctionCall, low: float, high: float, where: str) -> float:
    """The largest magnitude that the index of a function's table must hold, for operands from ``low`` to ``high``.

    A function that is flat towards one end, as SiLU is for negative values, needs no entries there: all of that part has
    the result of the last entry, within FLAT of the results' range. Raises BfpError, which begins with ``where``, for an
    unknown function.
    """
    if call.record(where).pole(*call.arguments):
        return max(-low, high, 0.0)
    low, high = min(low, 0.0), max(high, 0.0)
    x = np.linspace(low, high, POINTS)
    y = call.record(where).evaluate(x, *call.arguments)
    flat = FLAT * (y.max() - y.min())
    if not flat > 0:
        return max(-low, high)

    def steep(values: np.ndarray) -> int:
        """The first point from the start at which the values have left the flat part."""
        spread = np.maximum.accumulate(values) - np.minimum.accumulate(values)
        return max(int(np.argmax(spread > flat)) - 1, 0)

    return max(-x[steep(y)], x[POINTS - 1 - steep(y[::-1])])


def coarser(index: BlockFormat, bits: int) -> BlockFormat:
    """The index of a table with so many bits, as far as it reached; with no more of them than it had."""
    return replace(index, bits=bits, exponents=tuple(e + index.bits - bits for e in index.exponents))


def index_bits(call: FunctionCall, index: BlockFormat, target: BlockFormat, seen: Histogram, where: str) -> int:
    """The least width of the index, from which on no wider one adds more than SHARE to the squared error of the results.

    index: the widest one; where even that adds more, it is that one's width. target: the format of the results; both
    have one exponent. seen: the operand's values on the calibration images, their signs included where the index is
    signed. Raises BfpError, which begins with ``where``.
    """
    if index.signed and seen.negative is None:
        raise BfpError(
            f"{where}: the width of its table's index needs the signs of its operand; gather statistics with this plan"
        )
    blocks = [seen.values(block, PARTS) for block in range(len(seen.tops))]
    values, counts = (np.concatenate(parts) for parts in zip(*blocks))
    wanted = call.record(where).evaluate(values, *call.arguments)
    values, counts, wanted = (a[np.isfinite(wanted)] for a in (values, counts, wanted))
    step = 2.0 ** target.exponents[0]

    def error(results: np.ndarray) -> float:
        return float((counts * (results * step - wanted) ** 2).sum())

    own = error(np.clip(round_half_up(wanted / step), target.low, target.high))
    for bits in range(index.bits - 1, MIN_BITS - 1, -1):
        narrow = coarser(index, bits)
        mantissas = np.clip(round_half_up(np.ldexp(values, -narrow.exponents[0])), narrow.low, narrow.high)
        table = table_of(call, narrow, target, where)
        if error(table[mantissas.astype(np.int64) % len(table)]) > (1 + SHARE) * own:
            return bits + 1
    return MIN_BITS
