"""Moves every pixel towards the one that lies some rows (or columns) before it, or behind it, by a static share of their difference.

Each row (or column) has a share of its own, a whole number of 2**-SHARE_BITS; what is moved is the second operand, mostly
the first one itself. The window says where the other pixel lies: two kernel positions, of which the one that is not the
pixel's own lies in the padding at an edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.limits import SHARE_BITS
from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs, same_exponents, windowed

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.parameters import Parameters


def axis_of(node: Node) -> int:
    """Along what the other pixel lies: 0 for rows, 1 for columns."""
    return int(node.window.kernel[1] == 2)


def looks_back(node: Node) -> bool:
    """Whether the other pixel lies before the pixel itself, not behind it."""
    return node.window.padding[axis_of(node)] > 0


def along(node: Node, values: np.ndarray) -> np.ndarray:
    """Values of rows or of columns, to broadcast over maps [..., H, W]."""
    return values[:, None] if axis_of(node) == 0 else values


def bound(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> np.ndarray:
    """The largest share of the largest difference, shifted to the accumulator."""
    return float(source.high - source.low) * max(node.shares) * np.exp2(p.main_alignment.astype(np.float64))


def check(node: Node, operand: Shape) -> None:
    """Raise BfpError where the window is none of two pixels, of which one is the pixel itself, or shares do not fit it."""
    axis = axis_of(node)
    away, kernel = node.window.dilation[axis], (2, 1) if axis == 0 else (1, 2)
    before, behind = (tuple(away if n == side else 0 for n in range(4)) for side in (axis, axis + 2))
    plain = node.window.kernel == kernel and node.window.stride == (1, 1) and node.window.dilation[1 - axis] == 1
    if not plain or node.window.padding not in (before, behind):
        raise BfpError(f"node {node.name}: its window {node.window} is not that of a pixel and one other in its row or column")
    size = operand[1 + axis]
    if len(node.shares) != size:
        raise BfpError(f"node {node.name}: {len(node.shares)} shares for {size} {('rows', 'columns')[axis]}; one each is needed")
    alone = node.shares[:away] if looks_back(node) else node.shares[max(size - away, 0) :]
    if any(alone):
        raise BfpError(f"node {node.name}: a share of a pixel beyond the edge is not zero")


INTERPOLATE = Operator(
    name="interpolate",
    roles=("input", "shortcut"),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    has_window=True,
    dilates=True,
    has_shares=True,
    shape=windowed,
    negative=any,
    reach=max,
    exponents=same_exponents(-SHARE_BITS),
    bound=bound,
    macs=no_macs,
    check=check,
)
