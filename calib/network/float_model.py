"""The float network, executed from the engine's graph in torch float32.

Calibration observes it and evaluation compares with it. Running the graph,
not the original module, also proves that the import preserved the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.nn import functional

from bfp.errors import BfpError
from bfp.graph import Node, Window
from calib.network.float_network import FloatNetwork, FloatWeights


@torch.no_grad()
def run(
    network: FloatNetwork,
    images: torch.Tensor,
    keep: Iterable[str] | None = None,
    observe: Callable[[str, torch.Tensor], None] | None = None,
) -> dict[str, torch.Tensor]:
    """All tensors of the network for a batch of normalised images [N, C, H, W], float32.

    Returns [N, C, H, W] by tensor name; with ``keep`` only those named (the
    others are freed after their last use). ``observe(name, tensor)`` sees each
    tensor as it is computed, the input included. Raises BfpError where the
    images have another shape than the network's input.
    """
    graph = network.graph
    expected = graph.shapes[graph.input]
    if images.ndim != 4 or tuple(images.shape[1:]) != tuple(expected):
        raise BfpError(f"network {graph.name} takes images of shape {expected}, got {tuple(images.shape[1:])}")
    kept = set(graph.shapes if keep is None else keep)
    last_use = {t: i for i, node in enumerate(graph.nodes) for t in node.inputs}
    values = {graph.input: network.entry(images.float())}
    if observe:
        observe(graph.input, values[graph.input])
    for i, node in enumerate(graph.nodes):
        out = compute(node, network, [values[t] for t in node.inputs])
        values[node.output] = out
        if observe:
            observe(node.output, out)
        for t in {*node.inputs, node.output}:
            if last_use.get(t, i) == i and t not in kept:
                del values[t]
    return {t: v for t, v in values.items() if t in kept}


def logits(network: FloatNetwork, images: torch.Tensor) -> torch.Tensor:
    """The network's output for a batch [N, C, H, W], flattened to [N, outputs]."""
    out = network.graph.output
    return run(network, images, keep=[out])[out].flatten(1) * network.output_scale


def pad(x: torch.Tensor, window: Window, value: float = 0.0) -> torch.Tensor:
    """[N, C, H, W] padded by the window's padding; a negative amount crops."""
    top, left, bottom, right = window.padding
    return functional.pad(x, (left, right, top, bottom), value=value) if any(window.padding) else x


def compute(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """One node's output [N, C', OH, OW] from its operands [N, C, H, W], in their precision (the weights' too)."""
    x, window = operands[0], node.window
    if node.op == "concat":
        return torch.cat(operands, 1)
    if node.op in ("conv", "depthwise"):
        weights = network.weights[node.name]
        top, left, bottom, right = window.padding
        symmetric = top == bottom >= 0 and left == right >= 0
        out = functional.conv2d(
            x if symmetric else pad(x, window),
            torch.from_numpy(weights.weight).to(x.device),
            torch.from_numpy(weights.bias).to(x.device),
            stride=window.stride,
            padding=(top, left) if symmetric else 0,
            groups=x.shape[1] if node.op == "depthwise" else 1,
        )
    elif node.op == "max_pool":
        out = functional.max_pool2d(pad(x, window, float("-inf")), window.kernel, window.stride)
    elif node.op == "avg_pool":
        rows, cols = node.divisors(*x.shape[2:])
        total = functional.avg_pool2d(pad(x, window), window.kernel, window.stride, divisor_override=1)
        out = total / torch.outer(*(torch.tensor(n, dtype=x.dtype, device=x.device) for n in (rows, cols)))
    elif node.op == "slice_pad":
        out = slice_pad(x, node, network.graph.shapes[node.output][0])
    else:  # add, identity
        out = x
    if node.shortcut:
        out = out + operands[1]
    if node.activation == "relu":
        return functional.relu(out)
    if node.activation == "relu6":
        return relu6(out, network.weights.get(node.name))
    return out


def relu6(x: torch.Tensor, weights: FloatWeights | None) -> torch.Tensor:
    """[N, C, H, W] clamped to 0..6, or to the limits that scaled channels have."""
    if weights is None or weights.limit is None:
        return functional.relu6(x)
    return torch.minimum(functional.relu(x), torch.from_numpy(weights.limit).to(x.dtype)[:, None, None])


def slice_pad(x: torch.Tensor, node: Node, channels: int) -> torch.Tensor:
    """Channels, rows and columns at their new places, zero elsewhere: [N, channels, OH, OW]."""
    height, width = node.window.output_size(*x.shape[2:])
    (sh, sw), offset = node.window.stride, node.channel_offset
    view = pad(x, node.window)[:, :, : (height - 1) * sh + 1 : sh, : (width - 1) * sw + 1 : sw]
    start, stop = max(offset, 0), min(channels, x.shape[1] + offset)
    out = x.new_zeros((len(x), channels, height, width))
    if start < stop:  # otherwise no input channel is left
        out[:, start:stop] = view[:, start - offset : stop - offset]
    return out
