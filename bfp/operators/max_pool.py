"""Max pooling: compares mantissas of one block; padding never wins."""

from __future__ import annotations

from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shifting
from bfp.operators.rules import no_macs, same_exponents, shifted_operand, windowed

MAX_POOL = Operator(
    name="max_pool",
    roles=("input",),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.NONE,
    pads_lowest=True,
    keeps_exponents=True,
    idle_at_one_pixel=True,
    has_window=True,
    shape=windowed,
    negative=any,
    reach=max,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
