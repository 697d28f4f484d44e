"""Addition that no convolution could take in: both operands are shifted left to the finer exponent, then added."""

from __future__ import annotations

from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shifting
from bfp.operators.rules import broadcast_size, no_macs, same_exponents, shifted_operand

ADD = Operator(
    name="add",
    roles=("input", "shortcut"),
    broadcasts=True,
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    shape=broadcast_size,
    negative=any,
    reach=sum,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
