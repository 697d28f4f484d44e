"""What the float network does with every operator and every activation, in torch, in the operands' own precision."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch.nn import functional

from bfp.functions import FUNCTIONS
from bfp.graph import Node, Window
from bfp.limits import SHARE_BITS
from bfp.operators import Join
from bfp.operators.interpolate import along, looks_back
from bfp.tables import Table, activation_table, join_table, operator_table
from calib.network.float_network import FloatNetwork


def pad(x: torch.Tensor, window: Window, value: float = 0.0) -> torch.Tensor:
    """[N, C, H, W] padded by the window's padding; a negative amount crops."""
    top, left, bottom, right = window.padding
    return functional.pad(x, (left, right, top, bottom), value=value) if any(window.padding) else x


def place_channels(x: torch.Tensor, node: Node, channels: int) -> torch.Tensor:
    """Channels, rows and columns at their new places, zero elsewhere: [N, channels, OH, OW]."""
    height, width = node.window.output_size(*x.shape[2:])
    (sh, sw), offset = node.window.stride, node.channel_offset
    view = pad(x, node.window)[:, :, : (height - 1) * sh + 1 : sh, : (width - 1) * sw + 1 : sw]
    start, stop = max(offset, 0), min(channels, x.shape[1] + offset)
    out = x.new_zeros((len(x), channels, height, width))
    if start < stop:  # otherwise no input channel is left
        out[:, start:stop] = view[:, start - offset : stop - offset]
    return out


def conv(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """Every filter over all channels."""
    return _convolve(node, network, operands[0], groups=1)


def depthwise(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """One filter for each channel."""
    return _convolve(node, network, operands[0], groups=operands[0].shape[1])


def _convolve(node: Node, network: FloatNetwork, x: torch.Tensor, groups: int) -> torch.Tensor:
    weights, window = network.weights[node.name], node.window
    top, left, bottom, right = window.padding
    symmetric = top == bottom >= 0 and left == right >= 0
    return functional.conv2d(
        x if symmetric else pad(x, window),
        torch.from_numpy(weights.weight).to(x.device),
        torch.from_numpy(weights.bias).to(x.device),
        stride=window.stride,
        padding=(top, left) if symmetric else 0,
        dilation=window.dilation,
        groups=groups,
    )


def max_pool(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """The largest value under the window; padding never wins."""
    window = node.window
    padded = pad(operands[0], window, float("-inf"))
    return functional.max_pool2d(padded, window.kernel, window.stride, dilation=window.dilation)


def avg_pool(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """The window's sum over the number of pixels that count."""
    x, window = operands[0], node.window
    rows, cols = node.divisors(*x.shape[2:])
    total = functional.avg_pool2d(pad(x, window), window.kernel, window.stride, divisor_override=1)
    return total / torch.outer(*(torch.tensor(n, dtype=x.dtype, device=x.device) for n in (rows, cols)))


def main_operand(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """The main operand as it is; a shortcut joins any operator's result."""
    return operands[0]


def slice_pad(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """The main operand's channels and pixels at their new places."""
    return place_channels(operands[0], node, network.graph.shapes[node.output][0])


def elu(x: torch.Tensor, alpha: float, scale: float, input_scale: float) -> torch.Tensor:
    """ELU, SELU and CELU."""
    return torch.ops.aten.elu(x, alpha, scale, input_scale)


# of a map, and of the function's arguments
FUNCTION = Table(
    "the float model",
    "function",
    list(FUNCTIONS),
    {
        "sigmoid": torch.sigmoid,
        "hardsigmoid": functional.hardsigmoid,
        "tanh": torch.tanh,
        "silu": functional.silu,
        "hardswish": functional.hardswish,
        "gelu": functional.gelu,
        "gelu_tanh": partial(functional.gelu, approximate="tanh"),
        "mish": functional.mish,
        "softplus": functional.softplus,
        "softsign": functional.softsign,
        "log_sigmoid": functional.logsigmoid,
        "leaky_relu": functional.leaky_relu,
        "elu": elu,
        "abs": torch.abs,
        "swish": lambda x, beta: x * torch.sigmoid(beta * x),
        "erf": torch.erf,
        "square": torch.square,
        "cube": lambda x: x**3,
        "not_below_zero": lambda x: (x >= 0).to(x.dtype),
        "whole_power": lambda x, exponent: x**exponent,
        **{name: getattr(torch, name) for name in "sin cos atan sign floor ceil round trunc sinh cosh expm1 exp".split()},
        "softshrink": functional.softshrink,
        "hardshrink": functional.hardshrink,
        "threshold": functional.threshold,
        "limited_log": lambda x, least: x.clamp(min=max(least, 0.0)).log(),
        "reciprocal": torch.reciprocal,
        "limited_power": lambda x, exponent, least: x.clamp(min=max(least, 0.0)) ** exponent,
    },
)


def lookup(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """The node's function of every value."""
    return FUNCTION[node.function.name](operands[0], *node.function.arguments)


def concat(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """All operands' channels, one behind the other."""
    return torch.cat(operands, 1)


def repeat(x: torch.Tensor, node: Node) -> torch.Tensor:
    """Every pixel in ``factors`` rows and columns."""
    return x.repeat_interleave(node.factors[0], 2).repeat_interleave(node.factors[1], 3)


def phases_as_pixels(x: torch.Tensor, node: Node) -> torch.Tensor:
    """Phases [N, rows * columns * C, H, W] as the pixels of [N, C, OH, OW]."""
    (down, across), (count, _, height, width) = node.factors, x.shape
    phases = x.reshape(count, down, across, -1, height, width)
    return phases.permute(0, 3, 4, 1, 5, 2).reshape(count, -1, height * down, width * across)


def upsample_nearest(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """Every pixel repeated."""
    return repeat(operands[0], node)


def upsample_bilinear(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """Weighted means of neighbours, of pixels as squares."""
    return functional.interpolate(operands[0], scale_factor=[float(f) for f in node.factors], mode="bilinear")


def pad_edge(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """The edges repeated."""
    return functional.pad(operands[0], (1, 1, 1, 1), mode="replicate")


def differences(x: torch.Tensor, node: Node) -> torch.Tensor:
    """Of each pixel of [N, C, H, W] to the other one of its window; beyond the edge lies zero."""
    top, left, bottom, right = node.window.padding
    other = functional.pad(x, (left, right, top, bottom))
    other = other[..., : x.shape[2], : x.shape[3]] if looks_back(node) else other[..., bottom:, right:]
    return other - x


def interpolate(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """Shares of the differences to other pixels."""
    x = operands[0]
    shares = torch.tensor(node.shares, device=x.device).to(x.dtype) / 2**SHARE_BITS
    return differences(x, node) * along(node, shares)


def depth_to_space(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """Channels as pixels."""
    return phases_as_pixels(operands[0], node)


# node, network, operands [N, C, H, W] each: the operator's own result [N, C', OH, OW], before shortcut and activation
APPLY = operator_table(
    "the float model",
    {
        "conv": conv,
        "depthwise": depthwise,
        "max_pool": max_pool,
        "avg_pool": avg_pool,
        "add": main_operand,
        "maximum": main_operand,
        "minimum": main_operand,
        "multiply": main_operand,
        "identity": main_operand,
        "slice_pad": slice_pad,
        "lookup": lookup,
        "upsample_nearest": upsample_nearest,
        "upsample_bilinear": upsample_bilinear,
        "depth_to_space": depth_to_space,
        "pad_edge": pad_edge,
        "interpolate": interpolate,
        "concat": concat,
    },
)
# of the operator's own result, [N, C, H, W], and a shortcut that is broadcast to its shape
JOIN = join_table(
    "the float model",
    {Join.SUM: torch.add, Join.LARGER: torch.maximum, Join.SMALLER: torch.minimum, Join.PRODUCT: torch.mul},
)


def none(x: torch.Tensor, limit: np.ndarray | None) -> torch.Tensor:
    """The sum as it is."""
    return x


def relu(x: torch.Tensor, limit: np.ndarray | None) -> torch.Tensor:
    """Nothing below zero."""
    return functional.relu(x)


def relu6(x: torch.Tensor, limit: np.ndarray | None) -> torch.Tensor:
    """Nothing below zero, nothing above six, or above the limits that scaled channels have."""
    if limit is None:
        return functional.relu6(x)
    return torch.minimum(functional.relu(x), torch.from_numpy(limit).to(x.dtype)[:, None, None])


# x [N, C, H, W]; limit: what replaces the activation's own upper limit, [C], or None
ACTIVATE = activation_table("the float model", {"none": none, "relu": relu, "relu6": relu6})
