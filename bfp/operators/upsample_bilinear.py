"""Makes a map 2 or 4 times as large: weighted means of the nearest pixels, of pixels as squares (half-pixel centres).

Of f pixels that one becomes along an axis, the centres lie at odd multiples of 1 / 2f. So two neighbours have weights of
whole 1 / 2f, and the weights of a pixel add up to a power of two. Beyond the edge lies the edge again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.operators.record import Alignment, Channels, Exponents, Operator, Scaling, Shape, Shifting
from bfp.operators.rules import no_macs, same_exponents

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.parameters import Parameters

FACTORS = (1, 2, 4)


def shape(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """More rows and columns."""
    channels, height, width = operands[0]
    return channels, height * node.factors[0], width * node.factors[1]


def check(node: Node, operand: Shape) -> None:
    """Raise BfpError for factors whose weights are no whole parts of a power of two."""
    if not set(node.factors) <= set(FACTORS):
        raise BfpError(f"node {node.name}: bilinear upsampling by {node.factors}; the engine does it by {FACTORS}")


def axis_weights(factor: int) -> list[tuple[int, int, int]]:
    """For each of the pixels that one becomes along an axis, the weights of the one before it, itself and the one behind.

    They are whole numbers whose sum is ``2 * factor``, or 1 where the factor is 1.
    """
    if factor == 1:
        return [(0, 1, 0)]
    away = [2 * n + 1 - factor for n in range(factor)]  # of the centre, in parts of 1 / 2 factor
    return [(max(-a, 0), 2 * factor - abs(a), max(a, 0)) for a in away]


def weight_bits(factors: tuple[int, int]) -> int:
    """The binary logarithm of the sum of a pixel's weights."""
    return sum((2 * f).bit_length() - 1 for f in factors if f > 1)


def _rule(node: Node) -> Exponents:
    return same_exponents(-weight_bits(node.factors))


def bound(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> np.ndarray:
    """The largest mantissa times the sum of the weights."""
    return np.full(source.channels, float(source.high) * 2.0 ** weight_bits(node.factors))


UPSAMPLE_BILINEAR = Operator(
    name="upsample_bilinear",
    roles=("input",),
    channels=Channels.KEPT,
    scaling=Scaling.PASSES,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.NONE,
    enlarges=True,
    shape=shape,
    negative=any,
    reach=max,
    exponents=Exponents(
        lambda node, source, target, weights: _rule(node).own(node, source, target, weights),
        lambda node, source, wanted: _rule(node).needed(node, source, wanted),
    ),
    bound=bound,
    macs=no_macs,
    check=check,
)
