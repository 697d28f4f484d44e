"""Average pooling, global pooling included: an integer sum times a static reciprocal of 2**RECIPROCAL_BITS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.limits import MAX_DIVISOR, RECIPROCAL_BITS
from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs, same_exponents, windowed

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.parameters import Parameters


def bound(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> np.ndarray:
    """The sum is at most divisor * top, and a reciprocal at most 2**bits / divisor + 1/2."""
    rows, cols = node.divisors(*size)
    return np.full(source.channels, float(source.high) * (2.0**RECIPROCAL_BITS + max(rows) * max(cols) / 2))


def check(node: Node, operand: Shape) -> None:
    """Raise BfpError where a window counts no pixel, or more than the reciprocal's precision allows."""
    rows, cols = node.divisors(*operand[1:])
    divisor = max(rows) * max(cols)
    if min(rows) < 1 or min(cols) < 1 or divisor > MAX_DIVISOR:
        raise BfpError(f"node {node.name}: average over {divisor} pixels; 1 to {MAX_DIVISOR} are supported")


AVG_POOL = Operator(
    name="avg_pool",
    roles=("input",),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.NONE,
    idle_at_one_pixel=True,
    has_window=True,
    counts_padding=True,
    shape=windowed,
    negative=any,
    reach=max,
    exponents=same_exponents(gain=-RECIPROCAL_BITS),
    bound=bound,
    macs=no_macs,
    check=check,
)
