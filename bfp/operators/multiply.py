"""The product of two maps, element by element: nothing is shifted, since the exponents of two factors add up."""

from __future__ import annotations

from math import prod

from bfp.operators.record import Alignment, Channels, Join, Operator, Scaling, Shifting
from bfp.operators.rules import broadcast_size, no_macs, same_exponents, shifted_operand

MULTIPLY = Operator(
    name="multiply",
    roles=("input", "shortcut"),
    join=Join.PRODUCT,
    broadcasts=True,
    channels=Channels.KEPT,
    scaling=Scaling.MAIN_PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.NONE,
    shape=broadcast_size,
    negative=any,
    reach=prod,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
