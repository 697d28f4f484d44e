"""The integer constants of every node, and the proof that no accumulator overflows.

Everything a node does to mantissas is fixed here: packed weights, bias, and
the static shifts that follow from the exponents. ``derive`` computes the
shifts; ``accumulator_bound`` proves the 32-bit accumulator for each filter.
What differs between operators comes from their records (bfp.operators).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.functions import table_of
from bfp.graph import Graph, Node
from bfp.limits import (
    ACC_LIMIT,
    MAX_ALIGN_SHIFT,
    MAX_OPERAND_SHIFT,
    MAX_REQUANTISATION_SHIFT,
    MIN_REQUANTISATION_SHIFT,
    RECIPROCAL_BITS,
)
from bfp.operators import Alignment, Join
from bfp.operators.conv import psum_exponents
from bfp.tables import join_table

# largest magnitude of what a shortcut makes, from those of the operator's own result and of the shortcut
JOIN_BOUNDS = join_table(
    "the proof", {Join.SUM: np.add, Join.LARGER: np.maximum, Join.SMALLER: np.maximum, Join.PRODUCT: np.multiply}
)
# finest exponent at which both meet, of the operator's own result and of the shortcut
JOIN_EXPONENTS = join_table(
    "the exponents", {Join.SUM: np.minimum, Join.LARGER: np.minimum, Join.SMALLER: np.minimum, Join.PRODUCT: np.add}
)


@dataclass(frozen=True)
class Weights:
    """Block floating point weights of a convolution.

    mantissas: int8 [filters, input channels (1 for depthwise), kh, kw].
    splits: input-channel boundaries of the weight blocks; exponents: int64
    [filters, blocks]. Depthwise has one block.
    """

    bits: int
    mantissas: np.ndarray
    splits: tuple[int, ...]
    exponents: np.ndarray


@dataclass(frozen=True)
class Parameters:
    """Static integers of one node; arrays are indexed by output channel.

    acc_exponent: weight of the accumulator's least significant bit.
    requantisation_shift: accumulator to output mantissa (right; negative shifts left).
    main_alignment: left shift of the main operand (add, identity) or of the psum
    (depthwise); zero elsewhere.
    shortcut_alignment: left shift of the shortcut's mantissas, or None.
    bias: int64 at the accumulator's exponent (zero where there is none).
    align_splits, align_shift: input-channel groups of one psum each, and the
    left shift [filters, groups] that brings it to the accumulator (conv only).
    clamp_high: the activation's upper limit at the accumulator's exponent, or None where it has none: six for ReLU6,
    or what six became where a channel was scaled (see docs/numerics.md, "Epilogue").
    table: mantissas of a function's results, int16 [2**bits of the operand], or None where there is no function.
    """

    acc_exponent: np.ndarray
    requantisation_shift: np.ndarray
    main_alignment: np.ndarray
    shortcut_alignment: np.ndarray | None
    bias: np.ndarray
    weights: Weights | None
    align_splits: tuple[int, ...]
    align_shift: np.ndarray
    clamp_high: np.ndarray | None
    table: np.ndarray | None = None


def clamp_integer(acc_exponent: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """An upper limit as an accumulator integer, half up, int64 [channels]; ``ACC_LIMIT - 1`` where it cannot matter."""
    return np.minimum(np.floor(np.ldexp(limit, -acc_exponent.astype(np.int64)) + 0.5), ACC_LIMIT - 1).astype(np.int64)


def reciprocal(divisor: np.ndarray) -> np.ndarray:
    """``2**RECIPROCAL_BITS / divisor``, rounded half up; int64, same shape."""
    divisor = np.asarray(divisor, np.int64)
    return (2 * 2**RECIPROCAL_BITS + divisor) // (2 * divisor)


def integer_bias(bias: np.ndarray, acc_exponent: np.ndarray) -> np.ndarray:
    """A float bias [filters] at the accumulator's exponent, half up, int64; what no proof allows is cut at 2**62."""
    scaled = np.floor(np.ldexp(np.asarray(bias, np.float64), -acc_exponent) + 0.5)
    return np.clip(scaled, -float(2**62), float(2**62)).astype(np.int64)


def _within(node: Node, name: str, shift: np.ndarray, low: int, high: int) -> np.ndarray:
    """The shift, int64 [filters, ...]. Raises BfpError, naming node and filter, where it leaves its range."""
    if shift.size and (shift.min() < low or shift.max() > high):
        f = int(np.argmax(np.max((shift < low) | (shift > high), axis=tuple(range(1, shift.ndim)))))
        raise BfpError(
            f"node {node.name}, filter {f}: {name} {shift.min()}..{shift.max()} leaves {low}..{high}; "
            "choose exponents that lie closer together"
        )
    return shift


def derive(
    node: Node,
    source: BlockFormat,
    target: BlockFormat,
    shortcut: BlockFormat | None = None,
    weights: Weights | None = None,
    bias: np.ndarray | None = None,
    acc_exponent: np.ndarray | None = None,
    limit: np.ndarray | None = None,
) -> Parameters:
    """All static shifts of a node, from the exponents of its tensors.

    ``bias`` is the float bias [filters]. ``acc_exponent`` may be given where
    it is stored; otherwise it is the finest exponent that meets in the sum.
    ``limit`` [filters] replaces the activation's own upper limit channel by channel.
    Raises BfpError naming the node where a shift leaves its range.
    """
    kind, act, channels = node.operator, node.act, target.channels
    own = kind.exponents.own(node, source, target, weights)
    joined = own if shortcut is None else JOIN_EXPONENTS[kind.join](own, shortcut.channel_exponents())
    if acc_exponent is None:
        acc_exponent = joined
    acc_exponent = np.asarray(acc_exponent, np.int64)
    align_splits: tuple[int, ...] = ()
    align_shift = np.zeros((channels, 0), np.int64)
    main_alignment = np.zeros(channels, np.int64)
    if kind.alignment is Alignment.BLOCKS:
        align_splits, psum = psum_exponents(weights, source)
        align_shift = _within(node, "alignment shift", psum - acc_exponent[:, None], 0, MAX_ALIGN_SHIFT)
    else:
        most = MAX_OPERAND_SHIFT if kind.alignment is Alignment.OPERAND else 0
        meets = own if kind.join.aligns else joined
        main_alignment = _within(node, "operand alignment", meets - acc_exponent, 0, most)
    shortcut_alignment = None
    if shortcut is not None:
        shift = (shortcut.channel_exponents() if kind.join.aligns else joined) - acc_exponent
        shortcut_alignment = _within(node, "shortcut alignment", shift, 0, MAX_OPERAND_SHIFT)
    shift = target.channel_exponents() - acc_exponent
    limits = MIN_REQUANTISATION_SHIFT, MAX_REQUANTISATION_SHIFT
    requantisation_shift = _within(node, "requantisation shift", shift, *limits)
    if kind.keeps_exponents and np.any(requantisation_shift != 0):
        raise BfpError(f"node {node.name}: {node.op} must keep its input's exponents")
    high = act.high if limit is None else limit
    table = None
    if node.function is not None:
        table = table_of(node.function, source, target, f"node {node.name}")
    return Parameters(
        acc_exponent=acc_exponent,
        requantisation_shift=requantisation_shift,
        main_alignment=main_alignment,
        shortcut_alignment=shortcut_alignment,
        bias=np.zeros(channels, np.int64) if bias is None else integer_bias(bias, acc_exponent),
        weights=weights,
        align_splits=align_splits,
        align_shift=align_shift,
        clamp_high=None if act.high is None else clamp_integer(acc_exponent, high),
        table=table,
    )


def accumulator_bound(
    node: Node, p: Parameters, source: BlockFormat, shortcut: BlockFormat | None, size: tuple[int, int]
) -> np.ndarray:
    """Largest magnitude the accumulator of each output channel can reach, float64 [channels].

    The worst case of docs/numerics.md: the operator's own sum, plus |bias|, joined by the aligned shortcut, plus the half
    that rounding adds (or the left shift of a negative requantisation shift). size: height and width of the main
    operand.
    """
    bound = node.operator.bound(node, p, source, size) + np.abs(p.bias.astype(np.float64))
    if shortcut is not None:
        aligned = float(shortcut.high) * np.exp2(p.shortcut_alignment.astype(np.float64))
        bound = JOIN_BOUNDS[node.operator.join](bound, aligned)
    half = np.where(p.requantisation_shift > 0, np.exp2(p.requantisation_shift - 1.0), 0.0)
    left = np.exp2(-p.requantisation_shift.astype(np.float64))
    return np.where(p.requantisation_shift < 0, bound * left, bound + half)


def prove(graph: Graph, node: Node, p: Parameters, formats: dict[str, BlockFormat]) -> None:
    """Raise BfpError, naming layer and filter, unless every accumulator stays inside 32 bits."""
    shape = graph.shapes[node.main]
    node.operator.check(node, shape)
    bound = accumulator_bound(node, p, formats[node.main], formats.get(node.shortcut or ""), shape[1:])
    if np.any(bound >= ACC_LIMIT):
        f = int(np.argmax(bound))
        raise BfpError(
            f"node {node.name}, filter {f}: the accumulator can reach {bound[f]:.4g}, 32 bits end at {ACC_LIMIT}; "
            "use narrower mantissas, smaller exponent spreads or an unfused residual for this layer"
        )
