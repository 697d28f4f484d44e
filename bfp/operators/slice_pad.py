"""Slices, strided sub-sampling and zero padding of channels, rows and columns: mantissas at new places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfp.errors import BfpError
from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs, same_exponents, shifted_operand, windowed_filters

if TYPE_CHECKING:
    from bfp.graph import Node


def check(node: Node, operand: Shape) -> None:
    """Raise BfpError unless the window is a single pixel: it places mantissas, one by one."""
    if node.window.kernel != (1, 1):
        raise BfpError(f"node {node.name}: slice_pad has a kernel of {node.window.kernel}; it takes single pixels")


SLICE_PAD = Operator(
    name="slice_pad",
    roles=("input",),
    channels=Channels.MOVED,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.NONE,
    states_channels=True,
    moves=True,
    idle_at_one_pixel=True,
    has_window=True,
    shape=windowed_filters,
    negative=any,
    reach=max,
    exponents=same_exponents(),
    bound=shifted_operand,
    macs=no_macs,
    check=check,
)
