"""Max pooling: compares mantissas of one block; padding never wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfp.errors import BfpError
from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shifting
from bfp.operators.rules import no_macs, same_exponents, shifted_operand, windowed
if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.operators.record import Shape


def check(node: Node, operand: Shape) -> None:
    """Raise BfpError where a window sees nothing but padding, which has no largest value."""
    window = node.window
    if not all(all(window.rows_seen(operand[axis + 1], axis)) for axis in (0, 1)):
        raise BfpError(
            f"node {node.name}: a window of its max pool, {window.kernel} with dilation {window.dilation} and padding "
            f"{window.padding}, sees nothing but padding; use less padding"
        )


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
    dilates=True,
    shape=windowed,
    negative=any,
    reach=max,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
    check=check,
)
