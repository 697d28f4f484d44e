"""A copy, with or without an activation or another format."""

from __future__ import annotations

from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shifting
from bfp.operators.rules import no_macs, same_exponents, same_size, shifted_operand

IDENTITY = Operator(
    name="identity",
    roles=("input",),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    moves=True,
    idle_at_one_pixel=True,
    shape=same_size,
    negative=any,
    reach=max,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
