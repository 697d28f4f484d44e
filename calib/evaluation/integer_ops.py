"""What the torch integer model does with every operator and every activation: mantissas as float32, sums in int32.

No convolution routine is called (see calib.evaluation.integer_model): windows become columns of plain matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from bfp.artifact import Artifact, operand_formats
from bfp.format import BlockFormat
from bfp.golden.conv import EXACT_FLOAT32, aligned_weights, contributions, exact_parts
from bfp.graph import Node
from bfp.limits import MAX_DIVISOR
from bfp.operators.interpolate import along
from bfp.operators.upsample_bilinear import axis_weights
from bfp.parameters import Parameters, reciprocal
from bfp.operators import Join
from bfp.tables import activation_table, computes, join_table, operator_table
from calib.network.float_ops import differences, pad, phases_as_pixels, place_channels, repeat

COLUMN_VALUES = {"cpu": 1 << 22, "cuda": 1 << 28}  # of one block of columns
LARGEST_MANTISSA = 255
NEVER_WINS = -(2.0**15)
assert MAX_DIVISOR * LARGEST_MANTISSA < EXACT_FLOAT32  # sums of an average pool are exact in float32


@dataclass(frozen=True)
class Factors:
    """What a node's main operand is multiplied by; empty where it is by nothing.

    matrices: float32 or float64, whichever keeps their sums exact. Of a dense convolution [F, channels * kh * kw], one
    for each range of input channels in ``parts``; of a depthwise one a single [C, kh, kw].
    reciprocals: of an average pool's divisors, int32 [OH, OW]. table: of a function, int32 [entries].
    """

    matrices: tuple[torch.Tensor, ...] = ()
    parts: tuple[tuple[int, int], ...] = ()
    reciprocals: torch.Tensor | None = None
    table: torch.Tensor | None = None

    def to(self, device: torch.device) -> Factors:
        """The same on a device."""
        moved = (None if t is None else t.to(device) for t in (self.reciprocals, self.table))
        return Factors(tuple(m.to(device) for m in self.matrices), self.parts, *moved)


@dataclass(frozen=True)
class IntegerLayer:
    """What the model does at a node that computes, and its integers on the device.

    accumulate, activate: of the tables below. low, high: least and largest mantissa of the output; channels: their
    number. The tensors are int32 [C, 1, 1]: bias, main_alignment, shortcut_alignment, clamp_high as in bfp.parameters; half is
    added before the shift to the right, left is shifted by after it. None: nothing to add, to shift by or to clamp to.
    """

    node: Node
    accumulate: Callable[[IntegerLayer, torch.Tensor], torch.Tensor]
    activate: Callable[[torch.Tensor, torch.Tensor | None], None]
    low: int
    high: int
    channels: int
    factors: Factors
    bias: torch.Tensor | None
    main_alignment: torch.Tensor | None
    shortcut_alignment: torch.Tensor | None
    clamp_high: torch.Tensor | None
    half: torch.Tensor | None
    right: torch.Tensor | None
    left: torch.Tensor | None


def prepare(node: Node, artifact: Artifact, device: torch.device) -> IntegerLayer:
    """The layer of a node that computes.

    Raises BfpError for an operator or an activation that the integer model lacks.
    """
    kind, activate = COMPUTE[node.op], ACTIVATE[node.activation]
    p = artifact.parameters[node.name]
    source, target, _ = operand_formats(node, artifact.formats)
    factors = kind.factors(node, p, source, artifact.graph.shapes[node.main][1:])
    right, left = np.maximum(p.requantisation_shift, 0), np.maximum(-p.requantisation_shift, 0)

    def per_channel(values: np.ndarray | None) -> torch.Tensor | None:
        return None if values is None else torch.from_numpy(values.astype(np.int32)).to(device)[:, None, None]

    def unless_zero(values: np.ndarray | None) -> torch.Tensor | None:
        return per_channel(values) if values is not None and values.any() else None

    return IntegerLayer(
        node,
        kind.accumulate,
        activate,
        target.low,
        target.high,
        target.channels,
        factors.to(device),
        bias=unless_zero(p.bias),
        main_alignment=unless_zero(p.main_alignment),
        shortcut_alignment=unless_zero(p.shortcut_alignment),
        clamp_high=per_channel(p.clamp_high),
        half=unless_zero(np.where(right > 0, 1 << np.maximum(right - 1, 0), 0)),
        right=unless_zero(right),
        left=unless_zero(left),
    )


def compute(layer: IntegerLayer, operands: list[torch.Tensor]) -> torch.Tensor:
    """A layer's stored mantissas, float32 [N, C', OH, OW], from its operands'."""
    acc = layer.accumulate(layer, operands[0])
    if layer.node.shortcut:
        shortcut = operands[1].int()
        shortcut = shortcut if layer.shortcut_alignment is None else shortcut << layer.shortcut_alignment
        JOIN[layer.node.operator.join](acc, shortcut, out=acc)
    layer.activate(acc, layer.clamp_high)
    if layer.half is not None:
        acc += layer.half
    if layer.right is not None:
        acc >>= layer.right
    if layer.left is not None:
        acc <<= layer.left
    return acc.clamp_(layer.low, layer.high).float()


def no_factors(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> Factors:
    """The operator multiplies by nothing."""
    return Factors()


def conv_factors(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> Factors:
    """Aligned weights, in as many parts as float32 needs to be exact."""
    filters, channels = p.weights.mantissas.shape[:2]
    parts = exact_parts(contributions(p, source))
    weights = aligned_weights(p, np.float32 if parts else np.float64)
    parts = parts or [(0, channels)]
    matrices = [np.ascontiguousarray(weights[:, a:b].reshape(filters, -1)) for a, b in parts]
    return Factors(tuple(map(torch.from_numpy, matrices)), tuple(parts))


def depthwise_factors(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> Factors:
    """Weights before alignment, which the sum gets."""
    magnitude = np.abs(p.weights.mantissas.astype(np.int64)).sum(axis=(1, 2, 3)).max() * source.high
    dtype = np.float32 if magnitude < EXACT_FLOAT32 else np.float64
    return Factors((torch.from_numpy(p.weights.mantissas[:, 0].astype(dtype)),))


def avg_pool_factors(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> Factors:
    """Reciprocals of the numbers of pixels that count."""
    rows, cols = node.divisors(*size)
    return Factors(reciprocals=torch.from_numpy(reciprocal(np.multiply.outer(rows, cols)).astype(np.int32)))


def table_factors(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> Factors:
    """Entries of the table."""
    return Factors(table=torch.from_numpy(p.table.astype(np.int32)))


def conv(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """Bias plus aligned psums, by matrix products of exact parts of the input channels."""
    window, matrices, parts = layer.node.window, layer.factors.matrices, layer.factors.parts
    (kh, kw), (sh, sw), (oh, ow) = window.kernel, window.stride, window.output_size(*x.shape[2:])
    x = pad(x, window).to(matrices[0].dtype)
    filters, taps = len(matrices[0]), kh * kw
    if oh * ow == 1:
        (eh, ew), (dh, dw) = window.extent, window.dilation
        flat = x[:, :, :eh:dh, :ew:dw].reshape(len(x), -1)
        total = sum((flat[:, a * taps : b * taps] @ m.T).int() for m, (a, b) in zip(matrices, parts))
        acc = total[:, :, None, None]
        return acc if layer.bias is None else acc + layer.bias
    acc = torch.empty((len(x), filters, oh * ow), dtype=torch.int32, device=x.device)
    count = max(1, COLUMN_VALUES[x.device.type] // (x.shape[1] * taps * oh * ow))
    for start in range(0, len(x), count):
        images = x[start : start + count]
        if taps == 1:
            columns = images[:, :, : (oh - 1) * sh + 1 : sh, : (ow - 1) * sw + 1 : sw].reshape(len(images), -1, oh * ow)
        else:
            columns = functional.unfold(images, (kh, kw), window.dilation, stride=(sh, sw))
        for i, (matrix, (a, b)) in enumerate(zip(matrices, parts)):
            product = torch.bmm(matrix.expand(len(images), -1, -1), columns[:, a * taps : b * taps])
            if i == 0:
                acc[start : start + count] = product
            else:
                acc[start : start + count] += product.int()
    acc = acc.reshape(len(x), filters, oh, ow)
    if layer.bias is not None:
        acc += layer.bias
    return acc


def depthwise(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """Bias plus the aligned psum of each channel, tap by tap."""
    window, weights = layer.node.window, layer.factors.matrices[0]
    (kh, kw), (sh, sw), (oh, ow) = window.kernel, window.stride, window.output_size(*x.shape[2:])
    dh, dw = window.dilation
    x = pad(x, window).to(weights.dtype)
    total = torch.zeros((*x.shape[:2], oh, ow), dtype=weights.dtype, device=x.device)
    for ky in range(kh):
        for kx in range(kw):
            top, left = ky * dh, kx * dw
            view = x[:, :, top : top + (oh - 1) * sh + 1 : sh, left : left + (ow - 1) * sw + 1 : sw]
            total.addcmul_(view, weights[:, ky, kx, None, None])
    acc = total.int()
    if layer.main_alignment is not None:
        acc <<= layer.main_alignment
    if layer.bias is not None:
        acc += layer.bias
    return acc


def max_pool(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The window's largest mantissas; padding never wins."""
    window = layer.node.window
    padded = pad(x, window, NEVER_WINS)
    return functional.max_pool2d(padded, window.kernel, window.stride, dilation=window.dilation).int()


def avg_pool(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The window's sums (a divisor of one) times their reciprocals."""
    window = layer.node.window
    total = functional.avg_pool2d(pad(x, window), window.kernel, window.stride, divisor_override=1)
    return total.int() * layer.factors.reciprocals


def main_operand(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The main operand at the accumulator's exponent; a shortcut is added to any operator's result."""
    acc = x.int()
    if layer.main_alignment is not None:
        acc <<= layer.main_alignment
    return acc


def slice_pad(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The main operand's mantissas at their new places."""
    return place_channels(x, layer.node, layer.channels).int()


def upsample_nearest(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The main operand's pixels repeated, at the accumulator's exponent."""
    return main_operand(layer, repeat(x, layer.node))


def upsample_bilinear(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """Sums of neighbours times whole weights; below 2**24, so that float32 has them all."""
    for axis, factor in zip((2, 3), layer.node.factors):
        size = x.shape[axis]
        at = torch.arange(-1, size + 1, device=x.device).clamp(0, size - 1)
        padded = x.index_select(axis, at)
        near = [padded.narrow(axis, n, size) for n in range(3)]
        phases = [sum(w * part for w, part in zip(weights, near)) for weights in axis_weights(factor)]
        x = torch.stack(phases, axis + 1).reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
    return x.int()


def pad_edge(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The main operand with its edges repeated, at the accumulator's exponent."""
    return main_operand(layer, functional.pad(x, (1, 1, 1, 1), mode="replicate"))


def depth_to_space(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The main operand's channels as pixels, at the accumulator's exponent."""
    return main_operand(layer, phases_as_pixels(x, layer.node))


def interpolate(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """Shares of the differences to other pixels, at the accumulator's exponent."""
    shares = torch.tensor(layer.node.shares, dtype=torch.int32, device=x.device)
    return main_operand(layer, differences(x, layer.node).int() * along(layer.node, shares))


def lookup(layer: IntegerLayer, x: torch.Tensor) -> torch.Tensor:
    """The table's entries at the operand's mantissas, as two's complement."""
    table = layer.factors.table
    return table[(x.int() & (len(table) - 1)).long()]


def concatenate(branches: list[torch.Tensor]) -> torch.Tensor:
    """[N, Ci, H, W] each, to [N, sum Ci, H, W]."""
    return torch.cat(branches, 1)


@dataclass(frozen=True)
class IntegerOperator:
    """An operator in integers.

    accumulate(layer, x): the accumulators, int32 [N, C', OH, OW] that nobody else holds, bias included, from the main
    operand's mantissas, float32 [N, C, H, W].
    factors(node, p, source, size): what ``accumulate`` multiplies by, from the main operand's format and map size.
    """

    accumulate: Callable[[IntegerLayer, torch.Tensor], torch.Tensor]
    factors: Callable[[Node, Parameters, BlockFormat, tuple[int, int]], Factors]


COMPUTE = operator_table(
    "the integer model",
    {
        "conv": IntegerOperator(conv, conv_factors),
        "depthwise": IntegerOperator(depthwise, depthwise_factors),
        "max_pool": IntegerOperator(max_pool, no_factors),
        "avg_pool": IntegerOperator(avg_pool, avg_pool_factors),
        "add": IntegerOperator(main_operand, no_factors),
        "maximum": IntegerOperator(main_operand, no_factors),
        "minimum": IntegerOperator(main_operand, no_factors),
        "multiply": IntegerOperator(main_operand, no_factors),
        "identity": IntegerOperator(main_operand, no_factors),
        "slice_pad": IntegerOperator(slice_pad, no_factors),
        "lookup": IntegerOperator(lookup, table_factors),
        "upsample_nearest": IntegerOperator(upsample_nearest, no_factors),
        "upsample_bilinear": IntegerOperator(upsample_bilinear, no_factors),
        "depth_to_space": IntegerOperator(depth_to_space, no_factors),
        "pad_edge": IntegerOperator(pad_edge, no_factors),
        "interpolate": IntegerOperator(interpolate, no_factors),
    },
    computes,
)
# branches' mantissas, float32 [N, Ci, H, W] each: the output's
PLACE = operator_table("the integer model", {"concat": concatenate}, lambda operator: not operator.computes)


def none(acc: torch.Tensor, high: torch.Tensor | None) -> None:
    """The sum as it is."""


def relu(acc: torch.Tensor, high: torch.Tensor | None) -> None:
    """Nothing below zero."""
    acc.clamp_(min=0)


def relu6(acc: torch.Tensor, high: torch.Tensor | None) -> None:
    """Nothing below zero, nothing above each channel's limit."""
    acc.clamp_(min=0)
    torch.minimum(acc, high, out=acc)


# in place, on accumulators, int32 [N, C, H, W]; high: upper limits, int32 [C, 1, 1], where the activation has one
ACTIVATE = activation_table("the integer model", {"none": none, "relu": relu, "relu6": relu6})
# of accumulators, int32 [N, C, H, W], and a shortcut, aligned where the join aligns, broadcast to their shape
JOIN = join_table(
    "the integer model",
    {Join.SUM: torch.add, Join.LARGER: torch.maximum, Join.SMALLER: torch.minimum, Join.PRODUCT: torch.mul},
)
