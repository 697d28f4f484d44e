"""Channels of like range beside each other, so that a group's one exponent suits all of them.

The order of the channels between two convolutions is free: filters of the
first, channels of the depthwise convolutions and pools between, and input
channels of the second are permuted together. The network's function is the
same bit for bit up to the order of float sums, through any activation; at run
time it costs nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.graph import Graph, Node
from calib.network.float_network import FloatNetwork, FloatWeights

KEEPS_CHANNELS = ("depthwise", "max_pool", "avg_pool", "identity")


def sort_channels(network: FloatNetwork, maximum: dict[str, np.ndarray]) -> FloatNetwork:
    """The network with its free channels in ascending order of range.

    maximum: largest |x| per channel of every tensor, [C]. Where a chain holds
    several tensors, the geometric mean of their ranges decides.
    """
    weights = dict(network.weights)
    for node in network.graph.nodes:
        if node.op != "conv":
            continue
        chain = free_chain(network.graph, node)
        if chain is None:
            continue
        tensors, members, readers = chain
        tiny = np.finfo(np.float64).tiny
        key = sum(np.log2(np.maximum(maximum[t], tiny)) for t in tensors)
        order = np.argsort(key, kind="stable")
        for member in members:  # the convolution itself and depthwise ones: all indexed by this channel
            w = weights[member.name]
            limit = None if w.limit is None else w.limit[order]
            weights[member.name] = FloatWeights(w.weight[order], w.bias[order], limit)
        for reader in readers:
            w = weights[reader.name]
            weights[reader.name] = replace(w, weight=np.ascontiguousarray(w.weight[:, order]))
    return replace(network, weights=weights)


def free_chain(graph: Graph, start: Node) -> tuple[list[str], list[Node], list[Node]] | None:
    """Tensors whose channels follow ``start``'s filters, the nodes whose filters they are, and the last readers.

    None where anything else depends on the order: a sum, a concatenation, a
    slice, or the network's output.
    """
    if start.shortcut:
        return None
    tensors, members, readers = [start.output], [start], []
    for tensor in tensors:  # grows while it is walked
        if tensor == graph.output:
            return None
        for node in graph.consumers(tensor):
            if node.shortcut and (node.op != "conv" or node.shortcut == tensor):
                return None
            if node.op == "conv":
                readers.append(node)
            elif node.op in KEEPS_CHANNELS:
                tensors.append(node.output)
                if node.op == "depthwise":
                    members.append(node)
            else:
                return None
    return tensors, members, readers
