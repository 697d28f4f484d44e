"""Small networks for whose engines the kernel is checked: one that uses least of it, and one that uses every group."""

from __future__ import annotations

import numpy as np

from bfp.artifact import Artifact, Preprocessing
from bfp.format import BlockFormat
from bfp.functions import FunctionCall
from bfp.graph import Graph, Node, Window
from bfp.parameters import Parameters, Weights, derive

FORMAT = BlockFormat(8, True, (0, 2), (0,))


def pointwise(node: Node) -> Parameters:
    """Of a 1x1 convolution of two channels."""
    weights = Weights(8, np.ones((2, 2, 1, 1), np.int8), (0, 2), np.zeros((2, 1), np.int64))
    return derive(node, FORMAT, FORMAT, FORMAT if node.shortcut else None, weights)


def artifact(name: str, nodes: tuple[Node, ...], shapes: dict[str, tuple[int, int, int]]) -> Artifact:
    """A network of 1x1 convolutions and pools with these shapes, of two channels each."""
    parameters = {n.name: pointwise(n) if n.weighted else derive(n, FORMAT, FORMAT) for n in nodes}
    graph = Graph(name, ("input",), (nodes[-1].output,), nodes, shapes)
    preprocessing = Preprocessing(shapes["input"][1:], (0.0, 0.0), (1.0, 1.0))
    return Artifact.of_one(graph, dict.fromkeys(shapes, FORMAT), parameters, preprocessing, digest="0" * 64)


def smallest_artifact() -> Artifact:
    """One 1x1 convolution: whatever may be a constant of the struct Layer is one."""
    node = Node("conv", "conv", ("input",), "conv")
    return artifact("smallest", (node,), {"input": (2, 1, 1), "conv": (2, 1, 1)})


def widest_artifact() -> Artifact:
    """Every group of the struct Layer is stored: a fused pool, a shortcut, a mean of an input as it loads, a table."""
    nodes = (
        Node("first", "conv", ("input",), "first", activation="relu6"),
        Node("pool", "max_pool", ("first",), "pool", Window((2, 2), (2, 2))),
        Node("second", "conv", ("pool", "pool"), "second", activation="relu"),
        Node("mean", "avg_pool", ("second",), "mean", Window((4, 4))),
        Node("last", "conv", ("mean",), "last"),
        Node("function", "lookup", ("last",), "function", function=FunctionCall("silu")),
    )
    sizes = {"input": 8, "first": 8, "pool": 4, "second": 4, "mean": 1, "last": 1, "function": 1}
    return artifact("widest", nodes, {tensor: (2, size, size) for tensor, size in sizes.items()})
