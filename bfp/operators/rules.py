"""Rules that several operators share; each record names those that hold for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.limits import NEVER
from bfp.operators.record import Broadcast, Exponents, Shape

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.operators.record import OwnRule, RangeRule
    from bfp.parameters import Parameters, Weights


def windowed(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """The window's output size, with the channels of the main operand."""
    return operands[0][0], *node.window.output_size(*operands[0][1:])


def windowed_filters(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """The window's output size, with the channels that the node states."""
    return channels, *node.window.output_size(*operands[0][1:])


def always(operands: Sequence[bool]) -> bool:
    """Weights give any result a sign."""
    return True


def no_macs(node: Node, operand: Shape, output: Shape) -> int:
    """Nothing is multiplied in the array."""
    return 0


def weighted_exponents(own: OwnRule, operand_range: RangeRule) -> Exponents:
    """The rule of operators with weights: a result is no finer than wanted where the weights make up for the finest
    activation that they meet."""

    def needed(source: BlockFormat, wanted: np.ndarray, splits: tuple[int, ...]) -> np.ndarray:
        return wanted[:, None] - operand_range(source, splits)[0]

    return Exponents(own, needed, operand_range)


def same_exponents(gain: int = 0) -> Exponents:
    """The rule of operators without weights: the operand's exponents, ``gain`` added, at the channels' new places."""

    def origin(node: Node, source: int, channels: int) -> np.ndarray:
        return node.operator.origins(node, [source], channels)[0]

    def own(node: Node, source: BlockFormat, target: BlockFormat, weights: Weights | None) -> np.ndarray:
        # an output channel that is made of none holds zeros, at whatever exponent it has
        at = origin(node, source.channels, target.channels)
        have = source.channel_exponents()[np.clip(at, 0, source.channels - 1)] + gain
        return np.where(at >= 0, have, target.channel_exponents())

    def needed(node: Node, source: BlockFormat, wanted: np.ndarray) -> np.ndarray:
        at = origin(node, source.channels, len(wanted))
        need = np.full(source.channels, NEVER, np.int64)
        need[at[at >= 0]] = wanted[at >= 0] - gain
        return need

    return Exponents(own, needed)


def shifted_operand(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> np.ndarray:
    """The largest mantissa, shifted to the accumulator."""
    return float(source.high) * np.exp2(p.main_alignment.astype(np.float64))


def broadcast_size(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """The main operand's shape, to which the others are broadcast. Raises BfpError where one cannot be."""
    for other in operands[1:]:
        if Broadcast.of(other, operands[0]) is None:
            raise BfpError(
                f"node {node.name}: {node.op} of {tuple(operands[0])} and {tuple(other)}; the second operand must have "
                "that shape, one channel, one pixel, or one value"
            )
    return operands[0]


def same_size(node: Node, operands: Sequence[Shape], channels: int) -> Shape:
    """The operands' common shape. Raises BfpError where they differ."""
    if len(set(operands)) != 1:
        raise BfpError(f"node {node.name}: {node.op} of different shapes {[tuple(s) for s in operands]}")
    return operands[0]
