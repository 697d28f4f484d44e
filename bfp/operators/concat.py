"""Concatenation along channels: an addressing matter, no arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bfp.errors import BfpError
from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs

if TYPE_CHECKING:
    from bfp.graph import Node


def shape(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """The branches' channels, one behind the other. Raises BfpError where their maps differ in size."""
    if len({s[1:] for s in operands}) != 1:
        raise BfpError(f"node {node.name}: concatenation of different map sizes {[tuple(s) for s in operands]}")
    return sum(s[0] for s in operands), *operands[0][1:]


CONCAT = Operator(
    name="concat",
    roles=("branch",),
    variadic=True,
    computes=False,
    channels=Channels.JOINED,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.NONE,
    shape=shape,
    negative=any,
    reach=max,
    exponents=None,
    bound=None,
    macs=no_macs,
)
