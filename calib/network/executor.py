"""Walks a graph in order: the one loop behind everything in ``calib`` that executes a network.

What a node does, what becomes of a result, who looks at it and which results stay are arguments. A value may be
anything that an operator can be said to map: a tensor of floats or of integers, with gradients or without, or a pair
of tensors of two networks that run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from bfp.errors import BfpError
from bfp.graph import Graph, Node

Value = TypeVar("Value")


def execute(
    graph: Graph,
    compute: Callable[[Node, list[Value]], Value],
    inputs: Mapping[str, Value],
    keep: Iterable[str] | None = None,
    observe: Callable[[str, Value], None] | None = None,
    store: Callable[[str, Value], Value] | None = None,
) -> dict[str, Value]:
    """The values of the tensors named in ``keep`` (of all where it is None), in the order in which they come to be.

    compute(node, operands): the node's result. inputs: a value for every input of the graph. store(tensor, value):
    what is stored for a tensor in place of what was computed, its rounded values for example; it is asked for the
    graph's inputs and for every node that computes, but not where a node only places what is stored already.
    observe(tensor, value): sees every tensor as it is stored, the inputs first.
    A value that is not kept is let go after its last use. Raises BfpError where ``inputs`` are not the graph's.
    """
    for tensor in sorted(set(inputs) ^ set(graph.inputs)):
        what = "needs a value for its input" if tensor in graph.inputs else "has no input named"
        raise BfpError(f"network {graph.name} {what} {tensor!r}")
    kept = set(graph.shapes if keep is None else keep)
    values: dict[str, Value] = {}

    def put(tensor: str, value: Value, stored: bool) -> None:
        values[tensor] = store(tensor, value) if store and stored else value
        if observe:
            observe(tensor, values[tensor])

    for tensor in graph.inputs:
        put(tensor, inputs[tensor], stored=True)
    for node, done in zip(graph.nodes, graph.last_uses()):
        put(node.output, compute(node, [values[t] for t in node.inputs]), node.operator.computes)
        for tensor in done:
            if tensor not in kept:
                del values[tensor]
    return {t: v for t, v in values.items() if t in kept}


def downstream(graph: Graph, tensor: str) -> Graph:
    """The part of a graph that depends on a tensor, to be executed again where only that tensor has changed.

    Its inputs are the tensor and whatever else the part reads; its outputs are those of the graph that it reaches,
    and there may be none.
    """
    reached, nodes = {tensor}, []
    for node in graph.nodes:
        if reached.intersection(node.inputs):
            reached.add(node.output)
            nodes.append(node)
    made = {node.output for node in nodes}
    read = dict.fromkeys([tensor, *(t for node in nodes for t in node.inputs)])
    return replace(
        graph,
        inputs=tuple(t for t in read if t not in made),
        outputs=tuple(t for t in graph.outputs if t in reached),
        nodes=tuple(nodes),
    )
