"""Depthwise convolution: one filter and one exponent for each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bfp.format import BlockFormat
from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting, WeightAxes
from bfp.operators.rules import always, weighted_exponents, windowed

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.parameters import Parameters, Weights


def operand_range(source: BlockFormat, splits: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The one activation exponent that each filter meets, as finest and as coarsest, int64 [filters, 1] each."""
    e = source.channel_exponents()[:, None]
    return e, e


def own(node: Node, source: BlockFormat, target: BlockFormat, weights: Weights | None) -> np.ndarray:
    """The product's exponent."""
    return weights.exponents[:, 0] + source.channel_exponents()


def bound(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> np.ndarray:
    """Sum of the filter's magnitudes times the largest activation, shifted to the accumulator."""
    magnitude = np.abs(p.weights.mantissas.astype(np.int64)).sum(axis=(1, 2, 3))
    return float(source.high) * magnitude * np.exp2(p.main_alignment)


def macs(node: Node, operand: Shape, output: Shape) -> int:
    """Every channel has the kernel's window, once a pixel."""
    return output[0] * output[1] * output[2] * node.window.kernel[0] * node.window.kernel[1]


DEPTHWISE = Operator(
    name="depthwise",
    roles=("input",),
    optional=("shortcut",),
    channels=Channels.KEPT,
    scaling=Scaling.ABSORBED,
    shifting=Shifting.ABSORBED,
    alignment=Alignment.OPERAND,
    weights=WeightAxes(inputs=0),
    has_window=True,
    dilates=True,
    shape=windowed,
    negative=always,
    reach=None,
    exponents=weighted_exponents(own, operand_range),
    bound=bound,
    macs=macs,
)
