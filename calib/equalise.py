"""Cross-layer equalisation: channels of a layer that are large are scaled down, and up again in the next layer.

Data-free quantisation, Nagel et al., 2019: between two layers, channel c of
the first is divided by s and that of the second multiplied, with s chosen so
that both have the same range. ReLU lets a positive s through; ReLU6 does not
(its six would have to become 6 / s per channel, which the engine has not), so
a tensor behind a ReLU6 is left as it is.
"""

from __future__ import annotations

import numpy as np

from bfp.graph import Graph, Node
from calib.float_network import FloatNetwork, FloatWeights

SWEEPS = 4  # chains of three layers settle within a few
LARGEST = 2.0**8  # one channel's scale, either way
POOLS = ("max_pool", "avg_pool", "identity")


def equalise(network: FloatNetwork) -> FloatNetwork:
    """The same function, up to float rounding, with equalised ranges of weights."""
    weights = dict(network.weights)
    links = [(n, readers(network.graph, n)) for n in network.graph.nodes if n.op in ("conv", "depthwise")]
    for _ in range(SWEEPS):
        for node, after in links:
            if after:
                _balance(weights, node, after)
    return FloatNetwork(network.graph, weights)


def readers(graph: Graph, node: Node) -> list[Node]:
    """The convolutions that read a layer's output, pools between them included; empty where it may not be scaled."""
    found, tensors = [], [node.output]
    if node.activation == "relu6" or node.shortcut:
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


def _balance(weights: dict[str, FloatWeights], node: Node, after: list[Node]) -> None:
    first = weights[node.name]
    own = np.abs(first.weight).max(axis=(1, 2, 3)).astype(np.float64)
    # the input channel is the filter's own index for depthwise, the second axis otherwise
    spans = [np.abs(weights[n.name].weight).max(axis=(1, 2, 3) if n.op == "depthwise" else (0, 2, 3)) for n in after]
    following = np.max(spans, axis=0).astype(np.float64)
    alive = (own > 0) & (following > 0)
    scale = np.sqrt(np.where(alive, own, 1) / np.where(alive, following, 1))
    if alive.any():
        scale = scale / np.exp(np.log(scale[alive]).mean())  # the layers as a whole keep their scale
    scale = np.where(alive, np.clip(scale, 1 / LARGEST, LARGEST), 1).astype(np.float32)
    weights[node.name] = FloatWeights(first.weight / scale[:, None, None, None], first.bias / scale)
    for reader in after:
        w = weights[reader.name]
        shape = (-1, 1, 1, 1) if reader.op == "depthwise" else (1, -1, 1, 1)
        weights[reader.name] = FloatWeights(w.weight * scale.reshape(shape), w.bias)
