"""Cross-layer equalisation: channels between two convolutions are divided by a scale, and multiplied in the next.

Between two layers, channel c of the first is divided by s and that of the
second multiplied. ReLU lets a positive s through; behind a ReLU6 the channel's
limit becomes 6 / s, which the engine keeps as one integer per channel. The
network's function stays the same. Two choices of s:

- ``equalise_weights``: both layers' weights get the same range in every
  channel (data-free quantisation, Nagel et al., 2019, eq. 11).
- ``fill_ranges``: the values of all channels of a block end where the block's
  mantissas end. An exponent can only choose among powers of two, and only one
  for all of the block; s gives every channel the real-valued scale of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.activations import ACTIVATIONS
from bfp.format import mantissa_range
from bfp.graph import Graph, Node
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.formats.activations import FormatPlan

SWEEPS = 4  # chains of three layers settle within a few
LARGEST = 2.0**8  # one channel's scale, either way
POOLS = ("max_pool", "avg_pool", "identity")
SIX = ACTIVATIONS["relu6"].high


def equalise_weights(network: FloatNetwork) -> FloatNetwork:
    """The same function, up to float rounding, with equalised ranges of weights."""
    weights = dict(network.weights)
    links = [(n, readers(network.graph, n)) for n in network.graph.nodes if n.op in ("conv", "depthwise")]
    for _ in range(SWEEPS):
        for node, after in links:
            if after:
                _scale(weights, node, after, _balance(weights, node, after))
    return replace(network, weights=weights)


def fill_ranges(network: FloatNetwork, ends: dict[str, np.ndarray], plan: FormatPlan) -> FloatNetwork:
    """The same function, up to float rounding, with channels scaled so that their ranges end with their mantissas'.

    ends: furthest value that each channel shall hold, float64 [C], of every
    tensor of ``scalable``; 0 where it holds none. plan: its blocks, widths and signs.
    """
    weights, reach = dict(network.weights), dict(network.reach)
    for node, after in scalable(network.graph):
        tensor = node.output
        end, splits = ends[tensor], plan.splits[tensor]
        top = mantissa_range(plan.bits[tensor], plan.signed[tensor])[1]
        largest = np.maximum.reduceat(end, splits[:-1])
        largest = np.repeat(np.where(largest > 0, largest, top), np.diff(splits))
        block_end = top * np.exp2(np.round(np.log2(largest / top)))
        scale = np.where(end > 0, end, largest) / block_end
        _scale(weights, node, after, scale.astype(np.float32))
        reach[tensor] = np.where(end > 0, block_end, 0.0)
    return replace(network, weights=weights, reach=reach)


def scalable(graph: Graph) -> list[tuple[Node, list[Node]]]:
    """Layers whose output channels may be scaled, with the convolutions that read them."""
    links = [(n, readers(graph, n)) for n in graph.nodes if n.op in ("conv", "depthwise")]
    return [(node, after) for node, after in links if after]


def readers(graph: Graph, node: Node) -> list[Node]:
    """The convolutions that read a layer's output, pools between them included; empty where it may not be scaled."""
    found, tensors = [], [node.output]
    if node.shortcut:
        return []
    for tensor in tensors:  # grows while it is walked
        if tensor == graph.output:
            return []
        for reader in graph.consumers(tensor):
            if reader.main == tensor and reader.op in ("conv", "depthwise") and reader.shortcut != tensor:
                found.append(reader)
            elif reader.op in POOLS and not reader.shortcut and reader.activation != "relu6":
                tensors.append(reader.output)
            else:
                return []
    return found


def _balance(weights: dict[str, FloatWeights], node: Node, after: list[Node]) -> np.ndarray:
    own = np.abs(weights[node.name].weight).max(axis=(1, 2, 3)).astype(np.float64)
    # the input channel is the filter's own index for depthwise, the second axis otherwise
    spans = [np.abs(weights[n.name].weight).max(axis=(1, 2, 3) if n.op == "depthwise" else (0, 2, 3)) for n in after]
    following = np.max(spans, axis=0).astype(np.float64)
    alive = (own > 0) & (following > 0)
    scale = np.sqrt(np.where(alive, own, 1) / np.where(alive, following, 1))
    if alive.any():
        scale = scale / np.exp(np.log(scale[alive]).mean())  # the layers as a whole keep their scale
    return np.where(alive, np.clip(scale, 1 / LARGEST, LARGEST), 1).astype(np.float32)


def _scale(weights: dict[str, FloatWeights], node: Node, after: list[Node], scale: np.ndarray) -> None:
    """Divide a layer's output channels by ``scale`` [C], float32, and multiply what reads them."""
    first = weights[node.name]
    limit = first.limit
    if node.activation == "relu6":
        limit = ((SIX if limit is None else limit) / scale).astype(np.float32)
    weights[node.name] = FloatWeights(first.weight / scale[:, None, None, None], first.bias / scale, limit)
    for reader in after:
        w = weights[reader.name]
        shape = (-1, 1, 1, 1) if reader.op == "depthwise" else (1, -1, 1, 1)
        weights[reader.name] = replace(w, weight=w.weight * scale.reshape(shape))
