"""The integer constants of every node, and the proof that no accumulator overflows.

Everything a node does to mantissas is fixed here: packed weights, bias, and
the static shifts that follow from the exponents. ``derive`` computes the
shifts; ``accumulator_bound`` proves the 32-bit accumulator for each filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.graph import Graph, Node

ACC_LIMIT = 2**31
MAX_ALIGN_SHIFT = 15  # four bits in the weight stream
MAX_ROUND_SHIFT = 30
MIN_ROUND_SHIFT = -24
MAX_OPERAND_SHIFT = 30
RECIPROCAL_BITS = 22  # 255 * 2**22 leaves room for the rounding half below 2**31
MAX_DIVISOR = 65_000


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
    round_shift: accumulator to output mantissa (right; negative shifts left).
    main_shift: left shift of the main operand (add, identity) or of the psum
    (depthwise); zero elsewhere.
    shortcut_shift: left shift of the shortcut's mantissas, or None.
    bias: int64 at the accumulator's exponent (zero where there is none).
    align_splits, align_shift: input-channel groups of one psum each, and the
    left shift [filters, groups] that brings it to the accumulator (conv only).
    clamp_high: ReLU6's upper limit at the accumulator's exponent, or None: six, or what six
    became where a channel was scaled (see calib.transforms.cross_layer_equalisation).
    """

    acc_exponent: np.ndarray
    round_shift: np.ndarray
    main_shift: np.ndarray
    shortcut_shift: np.ndarray | None
    bias: np.ndarray
    weights: Weights | None
    align_splits: tuple[int, ...]
    align_shift: np.ndarray
    clamp_high: np.ndarray | None


def refine(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Common refinement of two lists of channel boundaries."""
    return tuple(sorted(set(a) | set(b)))


def block_of(splits: tuple[int, ...], boundaries: tuple[int, ...]) -> np.ndarray:
    """For each group that ``boundaries`` delimit, the index of the block of ``splits`` that holds it."""
    return np.searchsorted(np.asarray(splits), np.asarray(boundaries[:-1]), side="right") - 1


def clamp_integer(acc_exponent: np.ndarray, limit: float | np.ndarray = 6.0) -> np.ndarray:
    """ReLU6's limit as an accumulator integer, half up, int64 [channels]; ``ACC_LIMIT - 1`` where it cannot matter."""
    return np.minimum(np.floor(np.ldexp(limit, -acc_exponent.astype(np.int64)) + 0.5), ACC_LIMIT - 1).astype(np.int64)


def reciprocal(divisor: np.ndarray) -> np.ndarray:
    """``2**RECIPROCAL_BITS / divisor``, rounded half up; int64, same shape."""
    divisor = np.asarray(divisor, np.int64)
    return (2 * 2**RECIPROCAL_BITS + divisor) // (2 * divisor)


def product_exponents(weights: Weights, source: BlockFormat) -> tuple[tuple[int, ...], np.ndarray]:
    """Alignment groups of a convolution and the exponent of each psum, int64 [filters, groups]."""
    splits = refine(weights.splits, source.splits)
    activation = np.asarray(source.exponents, np.int64)[block_of(source.splits, splits)]
    return splits, weights.exponents[:, block_of(weights.splits, splits)] + activation


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
    ``limit`` [filters] replaces the six of a ReLU6 channel by channel.
    Raises BfpError naming the node where a shift leaves its range.
    """
    out_exp = target.channel_exponents()
    channels = target.channels
    align_splits: tuple[int, ...] = ()
    align_shift = np.zeros((channels, 0), np.int64)
    if node.op == "conv":
        align_splits, psum_exp = product_exponents(weights, source)
        own = psum_exp.min(axis=1)
    elif node.op == "depthwise":
        own = weights.exponents[:, 0] + source.channel_exponents()
    elif node.op == "slice_pad":
        index = np.arange(channels) - node.channel_offset
        inside = (index >= 0) & (index < source.channels)
        own = np.where(inside, source.channel_exponents()[np.clip(index, 0, source.channels - 1)], out_exp)
    elif node.op == "avg_pool":
        own = source.channel_exponents() - RECIPROCAL_BITS
    else:
        own = source.channel_exponents()
    if acc_exponent is None:
        acc_exponent = own if shortcut is None else np.minimum(own, shortcut.channel_exponents())
    acc_exponent = np.asarray(acc_exponent, np.int64)

    def check(name: str, shift: np.ndarray, low: int, high: int) -> np.ndarray:
        if shift.size and (shift.min() < low or shift.max() > high):
            f = int(np.argmax(np.max((shift < low) | (shift > high), axis=tuple(range(1, shift.ndim)))))
            raise BfpError(
                f"node {node.name}, filter {f}: {name} {shift.min()}..{shift.max()} leaves {low}..{high}; "
                "choose exponents that lie closer together"
            )
        return shift

    if node.op == "conv":
        align_shift = check("alignment shift", psum_exp - acc_exponent[:, None], 0, MAX_ALIGN_SHIFT)
    main_shift = np.zeros(channels, np.int64)
    if node.op in ("depthwise", "add", "identity"):
        main_shift = check("operand shift", own - acc_exponent, 0, MAX_OPERAND_SHIFT)
    shortcut_shift = None
    if shortcut is not None:
        shortcut_shift = check("shortcut shift", shortcut.channel_exponents() - acc_exponent, 0, MAX_OPERAND_SHIFT)
    round_shift = check("rounding shift", out_exp - acc_exponent, MIN_ROUND_SHIFT, MAX_ROUND_SHIFT)
    if node.op == "max_pool" and np.any(round_shift != 0):
        raise BfpError(f"node {node.name}: max pooling must keep its input's exponents")
    integer_bias = np.zeros(channels, np.int64)
    if bias is not None:
        scaled = np.floor(np.ldexp(np.asarray(bias, np.float64), -acc_exponent) + 0.5)
        integer_bias = np.clip(scaled, -float(2**62), float(2**62)).astype(np.int64)
    return Parameters(
        acc_exponent=acc_exponent,
        round_shift=round_shift,
        main_shift=main_shift,
        shortcut_shift=shortcut_shift,
        bias=integer_bias,
        weights=weights,
        align_splits=align_splits,
        align_shift=align_shift,
        clamp_high=clamp_integer(acc_exponent, 6.0 if limit is None else limit) if node.activation == "relu6" else None,
    )


def accumulator_bound(
    node: Node, p: Parameters, source: BlockFormat, target: BlockFormat, shortcut: BlockFormat | None, divisor: int = 1
) -> np.ndarray:
    """Largest magnitude the accumulator of each output channel can reach, float64 [channels].

    The worst case of docs/numerics.md: sum of |weight| times the largest
    activation, shifted, plus |bias|, plus the aligned shortcut, plus the half
    that rounding adds (or the left shift of a negative rounding shift).
    ``divisor`` is the largest divisor of an average pool.
    """
    top = float(source.high)
    if node.op == "conv":
        magnitude = np.abs(p.weights.mantissas.astype(np.int64)).sum(axis=(2, 3))
        per_group = np.add.reduceat(magnitude, np.asarray(p.align_splits[:-1]), axis=1)
        bound = top * (per_group.astype(np.float64) * np.exp2(p.align_shift)).sum(axis=1)
    elif node.op == "depthwise":
        magnitude = np.abs(p.weights.mantissas.astype(np.int64)).sum(axis=(1, 2, 3))
        bound = top * magnitude * np.exp2(p.main_shift)
    elif node.op == "avg_pool":
        # sum <= divisor * top and reciprocal <= 2**bits / divisor + 1/2
        bound = np.full(target.channels, top * (2.0**RECIPROCAL_BITS + divisor / 2))
    else:
        bound = top * np.exp2(p.main_shift.astype(np.float64))
    bound = bound + np.abs(p.bias.astype(np.float64))
    if shortcut is not None:
        bound = bound + float(shortcut.high) * np.exp2(p.shortcut_shift.astype(np.float64))
    half = np.where(p.round_shift > 0, np.exp2(p.round_shift - 1.0), 0.0)
    return np.where(p.round_shift < 0, bound * np.exp2(-p.round_shift.astype(np.float64)), bound + half)


def prove(graph: Graph, node: Node, p: Parameters, formats: dict[str, BlockFormat]) -> None:
    """Raise BfpError, naming layer and filter, unless every accumulator stays inside 32 bits."""
    divisor = 1
    if node.op == "avg_pool":
        _, h, w = graph.shapes[node.main]
        rows, cols = node.divisors(h, w)
        divisor = max(rows) * max(cols)
        if min(rows) < 1 or min(cols) < 1 or divisor > MAX_DIVISOR:
            raise BfpError(f"node {node.name}: average over {divisor} pixels; 1 to {MAX_DIVISOR} are supported")
    bound = accumulator_bound(
        node, p, formats[node.main], formats[node.output], formats.get(node.shortcut or ""), divisor
    )
    if np.any(bound >= ACC_LIMIT):
        f = int(np.argmax(bound))
        raise BfpError(
            f"node {node.name}, filter {f}: the accumulator can reach {bound[f]:.4g}, 32 bits end at {ACC_LIMIT}; "
            "use narrower mantissas, smaller exponent spreads or an unfused residual for this layer"
        )
