"""Dense convolution; a fully connected layer is one whose kernel covers the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bfp.format import BlockFormat, block_of, common_refinement
from bfp.operators.record import Alignment, Channels, Operator, Scaling, Shape, Shifting, WeightAxes
from bfp.operators.rules import always, weighted_exponents, windowed_filters

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.parameters import Parameters, Weights


def psum_exponents(weights: Weights, source: BlockFormat) -> tuple[tuple[int, ...], np.ndarray]:
    """Alignment groups of a convolution and the exponent of each partial sum, int64 [filters, groups]."""
    splits = common_refinement(weights.splits, source.splits)
    activation = np.asarray(source.exponents, np.int64)[block_of(source.splits, splits)]
    return splits, weights.exponents[:, block_of(weights.splits, splits)] + activation


def operand_range(source: BlockFormat, splits: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Finest and coarsest activation exponent that each weight block meets, int64 [1, blocks] each."""
    groups = common_refinement(splits, source.splits)
    e = np.asarray(source.exponents, np.int64)[block_of(source.splits, groups)]
    starts = np.searchsorted(groups, splits[:-1])
    return np.minimum.reduceat(e, starts)[None], np.maximum.reduceat(e, starts)[None]


def own(node: Node, source: BlockFormat, target: BlockFormat, weights: Weights | None) -> np.ndarray:
    """The finest partial sum's exponent."""
    return psum_exponents(weights, source)[1].min(axis=1)


def bound(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> np.ndarray:
    """Sum of all weights' magnitudes times the largest activation, each group shifted to the accumulator."""
    magnitude = np.abs(p.weights.mantissas.astype(np.int64)).sum(axis=(2, 3))
    per_group = np.add.reduceat(magnitude, np.asarray(p.align_splits[:-1]), axis=1)
    return float(source.high) * (per_group.astype(np.float64) * np.exp2(p.align_shift)).sum(axis=1)


def macs(node: Node, operand: Shape, output: Shape) -> int:
    """Every filter covers the kernel's window over all input channels, once a pixel."""
    return output[0] * output[1] * output[2] * operand[0] * node.window.kernel[0] * node.window.kernel[1]


CONV = Operator(
    name="conv",
    roles=("input",),
    optional=("shortcut",),
    channels=Channels.MIXED,
    scaling=Scaling.ABSORBED,
    shifting=Shifting.ABSORBED,
    alignment=Alignment.BLOCKS,
    weights=WeightAxes(inputs=1),
    states_channels=True,
    has_window=True,
    dilates=True,
    shape=windowed_filters,
    negative=always,
    reach=None,
    exponents=weighted_exponents(own, operand_range),
    bound=bound,
    macs=macs,
)
