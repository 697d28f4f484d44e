"""One more row and column on every side, which repeat those at the edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs, same_exponents, shifted_operand

if TYPE_CHECKING:
    from bfp.graph import Node


def shape(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """Two more rows and columns."""
    channels, height, width = operands[0]
    return channels, height + 2, width + 2


PAD_EDGE = Operator(
    name="pad_edge",
    roles=("input",),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    repeats_edges=True,
    moves=True,
    shape=shape,
    negative=any,
    reach=max,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
