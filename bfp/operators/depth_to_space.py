"""Rearranges channels as pixels: pixel (y, x) of output channel c is that of phase (y mod rows, x mod columns).

The operand's channels are its phases, one behind the other: those of row 0 and column 0, then of row 0 and column 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.operators.record import Alignment, Channels, Exponents, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs, shifted_operand

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.parameters import Weights


def shape(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """One channel of every phase, more rows and columns. Raises BfpError where phases have parts of channels."""
    (down, across), (count, height, width) = node.factors, operands[0]
    if count % (down * across):
        raise BfpError(f"node {node.name}: {count} channels are not {down} x {across} phases of equally many")
    return count // (down * across), height * down, width * across


def own(node: Node, source: BlockFormat, target: BlockFormat, weights: Weights | None) -> np.ndarray:
    """The operand's one exponent. Raises BfpError where it has several: a row mixes pixels of different channels."""
    if len(set(source.exponents)) != 1:
        raise BfpError(f"node {node.name}: the operand of depth_to_space has one exponent for all of its channels")
    return np.full(target.channels, source.exponents[0], np.int64)


def needed(node: Node, source: BlockFormat, wanted: np.ndarray) -> np.ndarray:
    """Of every channel what is wanted of the one that it becomes pixels of."""
    return np.tile(wanted, source.channels // len(wanted))


DEPTH_TO_SPACE = Operator(
    name="depth_to_space",
    roles=("input",),
    channels=Channels.PHASED,
    scaling=Scaling.BLOCKED,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.OPERAND,
    enlarges=True,
    shape=shape,
    negative=any,
    reach=max,
    exponents=Exponents(own, needed),
    bound=shifted_operand,
    macs=no_macs,
)
