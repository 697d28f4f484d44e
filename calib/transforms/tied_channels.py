"""Which channels of which tensors must be changed together, for the function of the network to stay the same.

A change is a positive factor for each channel, or another order of channels.
An operator hands it from an operand to its output, so that the two are tied
channel by channel, unless its weights take it in, so that both are free. What
an operator does is read from its record; what it cannot hand on must not be
changed at all. Cross-layer equalisation, the equalisation of tied channels and
channel permutation all ask here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from bfp.graph import Graph, Node
from bfp.operators import Channels, Scaling


class Change(Enum):
    """What is done to channels."""

    SCALE = "each is divided by a positive factor of its own"
    ORDER = "they are put into another order"


@dataclass(frozen=True)
class Chain:
    """Channels that only the layers of one chain have a part in.

    tensors: tied to each other one to one, and to nothing else; the first one's layer comes first. layers: whose
    filters are these channels. readers: the layers whose weights take the change in, along their input channels.
    """

    tensors: tuple[str, ...]
    layers: tuple[Node, ...]
    readers: tuple[Node, ...]


@dataclass(frozen=True)
class TiedChannels:
    """The channels of a graph in classes that must be changed alike.

    of: class of every channel, int64 [C] by tensor. free: whether a class may be changed at all, bool [classes].
    """

    graph: Graph
    change: Change
    of: dict[str, np.ndarray]
    free: np.ndarray

    def chain(self, layer: Node) -> Chain | None:
        """The chain that begins with a layer's output; None where a sum, a concatenation or a slice has a part in it.

        Its tensors are listed from near to far.
        """
        tensors, layers, readers = [layer.output], [layer], []
        if layer.shortcut or not self.free[self.of[layer.output]].all():
            return None
        for tensor in tensors:  # grows while it is walked
            for node in self.graph.consumers(tensor):
                if takes_in(node, tensor, self.change):
                    readers.append(node)
                elif node.operator.channels is Channels.KEPT and len(node.inputs) == 1:
                    tensors.append(node.output)
                    if node.weighted:
                        layers.append(node)
                else:
                    return None
        return Chain(tuple(tensors), tuple(layers), tuple(readers))

    def chains(self) -> list[Chain]:
        """The chains that begin with a layer and end in others, in the graph's order.

        For an order, only layers that mix channels begin one: the others have the order of what they read.
        """
        starts = self.graph.weighted()
        if self.change is Change.ORDER:
            starts = [n for n in starts if n.operator.channels is Channels.MIXED]
        found = [self.chain(n) for n in starts]
        return [c for c in found if c is not None and c.readers]


def takes_in(node: Node, tensor: str, change: Change) -> bool:
    """Whether the node reads the tensor as its main operand only, and its weights take in a change of its channels."""
    return _separates(node, change) and node.main == tensor and node.inputs.count(tensor) == 1


def _separates(node: Node, change: Change) -> bool:
    """Whether the node's weights keep changes of its main operand's channels apart from those of its output's."""
    if change is Change.SCALE:
        return node.weighted and node.operator.scaling is Scaling.ABSORBED
    return node.weighted and node.operator.channels is Channels.MIXED


def tied_channels(graph: Graph, change: Change) -> TiedChannels:
    """The classes of all channels. Those of the network's inputs and outputs are not free."""
    first, count = {}, 0
    for tensor, shape in graph.shapes.items():
        first[tensor] = np.arange(count, count + shape[0])
        count += shape[0]
    parent = list(range(count))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    fixed = [first[t] for t in (*graph.inputs, *graph.outputs)]
    for node in graph.nodes:
        if change is Change.SCALE and node.operator.scaling is Scaling.MAIN_PASSES:
            fixed += [first[t] for t in node.inputs[1:]]
        out = first[node.output]
        for tensor, origin in _operands(graph, node, change):
            if origin is None:
                fixed += [out, first[tensor]]
                continue
            made = origin >= 0
            for a, b in zip(out[made].tolist(), first[tensor][origin[made]].tolist()):
                parent[find(a)] = find(b)
        if change is Change.SCALE and not _activation_hands_on(node):
            fixed.append(out)
    roots = np.array([find(i) for i in range(count)])
    _, index = np.unique(roots, return_inverse=True)
    free = np.ones(index.max() + 1, bool)
    free[index[np.concatenate(fixed)]] = False
    return TiedChannels(graph, change, {t: index[i] for t, i in first.items()}, free)


def _operands(graph: Graph, node: Node, change: Change) -> Iterator[tuple[str, np.ndarray | None]]:
    """Each operand that the output is tied to, with the channel that each output channel is tied to (-1: none).

    None in the channels' place: neither the operand's channels nor the output's may be changed.
    """
    channels = graph.shapes[node.output][0]
    origins = node.operator.origins(node, [graph.shapes[t][0] for t in node.inputs], channels)
    for index, (tensor, origin) in enumerate(zip(node.inputs, origins)):
        if index == 0 and _separates(node, change):
            continue
        blocked = change is Change.SCALE and node.operator.scaling is Scaling.BLOCKED
        apart = change is Change.SCALE and node.operator.scaling is Scaling.MAIN_PASSES
        one_for_all = change is Change.ORDER and graph.shapes[tensor][0] == 1 < channels
        if index == 0 or not (apart or one_for_all):  # such an operand has no part in it
            yield tensor, None if blocked else origin


def _activation_hands_on(node: Node) -> bool:
    """Whether the activation leaves factors to whoever comes behind it, or to limits that the node's weights have."""
    scaling = node.act.scaling
    return scaling is Scaling.PASSES or (scaling is Scaling.ABSORBED and node.weighted)
