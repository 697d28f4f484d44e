"""Repeats every pixel in so many rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs, same_exponents, shifted_operand

if TYPE_CHECKING:
    from bfp.graph import Node


def shape(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """More rows and columns."""
    channels, height, width = operands[0]
    return channels, height * node.factors[0], width * node.factors[1]


UPSAMPLE_NEAREST = Operator(
    name="upsample_nearest",
    roles=("input",),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    enlarges=True,
    moves=True,
    shape=shape,
    negative=any,
    reach=max,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
)
