"""A network under construction: the graph's own nodes, before anything is fused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from bfp.combinations import CONCAT
from bfp.errors import BfpError
from bfp.graph import Graph, Node
from bfp.joined import JoinedOutput
from calib.network.float_network import FloatNetwork, FloatWeights, TrainedSums


@dataclass(frozen=True)
class Join:
    """A value that the host makes of others. parts: numbers of the draft's outputs, or ``~n`` of the join of number n.

    axis, host, how, data: of bfp.joined.JoinedOutput.
    """

    name: str
    parts: tuple[int, ...]
    axis: int
    host: tuple[str, ...]
    how: str = CONCAT
    data: str = ""


@dataclass
class Draft:
    """Nodes in topological order that the passes rewrite in place.

    weights: per convolution (weight, bias), shaped as in FloatWeights;
    float64 where a batch normalisation is in them.
    affine: names of the depthwise nodes that scale and shift channels, as batch normalisations do.
    gathers: names of the convolutions that only bring channels and pixels to new places.
    outputs: names of tensors; host: steps of bfp.host_operators behind each of them. joins: what the host makes of several.
    results: what the network returns, in order, numbered as in ``Join``.
    word: channels of a memory word of the engine that costs are counted for; no result depends on it.
    groups: of a grouped convolution by its name; its weight array has the channels of one group.
    trained: of layers whose sums a batch normalisation has measured, by name; a layer under a new name has none.
    """

    name: str
    inputs: tuple[str, ...]
    shapes: dict[str, tuple[int, int, int]]
    outputs: tuple[str, ...] = ()
    word: int = 16
    host: tuple[tuple[str, ...], ...] = ()
    joins: tuple[Join, ...] = ()
    results: tuple[int, ...] = ()
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    affine: set[str] = field(default_factory=set)
    gathers: set[str] = field(default_factory=set)
    groups: dict[str, int] = field(default_factory=dict)
    trained: dict[str, TrainedSums] = field(default_factory=dict)

    def producer(self, tensor: str) -> Node | None:
        """The node that writes ``tensor``; None for an input of the network."""
        return next((n for n in self.nodes if n.output == tensor), None)

    def negative(self, tensor: str) -> bool:
        """Whether a value of ``tensor`` may be below zero."""
        node = self.producer(tensor)
        if node is None:
            return True
        return node.can_be_negative([self.negative(t) for t in node.inputs])

    def only_consumer(self, tensor: str) -> Node | None:
        """The node that reads ``tensor``, if nothing else does and it is no output of the network."""
        readers = [n for n in self.nodes if tensor in n.inputs]
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def unique(self, name: str) -> str:
        """``name``, or the first of ``name_2``, ``name_3``, ... that is not taken."""
        taken, candidate, count = {*self.shapes, *(n.name for n in (*self.nodes, *self.joins))}, name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def current(self, node: Node) -> Node | None:
        """The node of this name as it is now, None where it is gone."""
        return next((n for n in self.nodes if n.name == node.name), None)

    def remove(self, node: Node) -> None:
        """Take a node out; its output has, or gets, another producer, or the caller takes out the tensor as well."""
        self.nodes.remove(node)
        self.weights.pop(node.name, None)
        self.trained.pop(node.name, None)

    def substitute(self, old: Node, new: Node) -> None:
        """Put ``new`` at the place of ``old``."""
        self.nodes[self.nodes.index(old)] = new

    def bypass(self, node: Node, tensor: str) -> None:
        """Remove ``node``; whoever read its output reads ``tensor``."""
        self.remove(node)
        self.shapes.pop(node.output)
        for reader in [n for n in self.nodes if node.output in n.inputs]:
            inputs = tuple(tensor if t == node.output else t for t in reader.inputs)
            self.substitute(reader, replace(reader, inputs=inputs))
        self.outputs = tuple(tensor if t == node.output else t for t in self.outputs)

    def absorb(self, producer: Node, consumer: Node, **changes: object) -> None:
        """Let ``producer`` do the work of its only consumer: apply ``changes`` to it, remove the consumer."""
        self.shapes[producer.output] = self.shapes[consumer.output]
        source = dict.fromkeys(producer.source + consumer.source)
        self.substitute(producer, replace(producer, source=tuple(source), **changes))
        self.bypass(consumer, producer.output)

    def finish(self) -> FloatNetwork:
        """The validated network. Raises BfpError where folding left float32's range."""
        weights = {}
        for node in self.nodes:
            if node.name not in self.weights:
                continue
            with np.errstate(over="ignore"):
                weight, bias = (np.array(a, np.float32, order="C") for a in self.weights[node.name])
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise BfpError(
                    f"network {self.name}, layer {' + '.join(node.source)}: its weights with batch normalisation "
                    "folded in are NaN or infinite; check the weights file"
                )
            weights[node.name] = FloatWeights(weight, bias, trained=self.trained.get(node.name))
        graph = Graph(self.name, self.inputs, self.outputs, tuple(self.nodes), dict(self.shapes))
        graph.validate()
        hosts = {t: steps for t, steps in zip(self.outputs, self.host) if steps}
        return FloatNetwork(graph, weights, hosts=hosts, joins=self.joined())

    def joined(self) -> tuple[JoinedOutput, ...]:
        """The joins, with the names of their parts."""
        return tuple(
            JoinedOutput(j.name, tuple(map(self.result_name, j.parts)), j.axis, j.host, j.how, j.data) for j in self.joins
        )

    def result_name(self, number: int) -> str:
        """The name of an output or of a join, numbered as in ``Join``."""
        return self.outputs[number] if number >= 0 else self.joins[~number].name
