"""The smaller one of two maps, element by element: both operands are shifted left to the finer exponent, then compared."""

from __future__ import annotations

from bfp.operators.record import Alignment, Channels, Join, Operator, Scaling, Shifting
from bfp.operators.rules import broadcast_size, no_macs, same_exponents, shifted_operand

MINIMUM = Operator(
    name="minimum",
    roles=("input", "shortcut"),
    join=Join.SMALLER,
    broadcasts=True,
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    shape=broadcast_size,
    negative=any,
    reach=max,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
