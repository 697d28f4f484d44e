"""Addition that no convolution could take in: both operands are shifted left to the finer exponent, then added."""

from __future__ import annotations

from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shifting
from bfp.operators.rules import no_macs, same_exponents, same_size, shifted_operand

ADD = Operator(
    name="add",
    roles=("input", "shortcut"),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    shape=same_size,
    negative=any,
    reach=sum,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
