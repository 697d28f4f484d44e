"""How far the index of a table must reach: beyond where a function is flat, nothing is lost by saturation."""

from __future__ import annotations

import numpy as np

from bfp.functions import FunctionCall

POINTS = 4096
FLAT = 2.0**-9  # of the range of results: half a step of eight bits


def index_end(call: FunctionCall, low: float, high: float, where: str) -> float:
    """The largest magnitude that the index of a function's table must hold, for operands from ``low`` to ``high``.

    A function that is flat towards one end, as SiLU is for negative values, needs no entries there: all of that part has
    the result of the last entry, within FLAT of the results' range. Raises BfpError, which begins with ``where``, for an
    unknown function.
    """
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
