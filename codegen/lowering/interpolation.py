"""Bilinear upsampling as layers that the engine has: the map with its edges repeated, a depthwise convolution of each phase of
the result, with weights that are whole numbers, and the phases as pixels.

Each value is rounded once, by the convolution that makes it; the copies before and behind change nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.artifact import Artifact, concat_format
from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from bfp.operators.upsample_bilinear import axis_weights, weight_bits
from bfp.parameters import Parameters, Weights, derive

INTERPOLATING = "upsample_bilinear"


def expanded(artifact: Artifact) -> Artifact:
    """The artifact with such layers in place of each bilinear upsampling. Raises BfpError where a table reads one."""
    if not any(node.op == INTERPOLATING for node in artifact.graph.nodes):
        return artifact
    found = Expansion(artifact)
    for node in artifact.graph.nodes:
        if node.op == INTERPOLATING:
            found.interpolate(node)
        else:
            found.nodes.append(node)
    graph = replace(artifact.graph, nodes=tuple(found.nodes), shapes=found.shapes)
    return replace(artifact, graph=graph, formats=found.formats, parameters=found.parameters)


class Expansion:
    """Nodes, shapes, formats and parameters of the artifact to be."""

    def __init__(self, artifact: Artifact) -> None:
        self.graph: Graph = artifact.graph
        self.nodes: list[Node] = []
        self.shapes, self.formats = dict(artifact.graph.shapes), dict(artifact.formats)
        self.parameters = dict(artifact.parameters)

    def add(self, node: Node, shape: tuple[int, int, int], fmt: BlockFormat, p: Parameters | None) -> str:
        """Append a node and what is known of its result."""
        self.nodes.append(node)
        self.shapes[node.output], self.formats[node.output] = shape, fmt
        if p is not None:
            self.parameters[node.name] = p
        return node.output

    def interpolate(self, node: Node) -> None:
        """Append the layers of one bilinear upsampling."""
        if any(reader.operator.has_function for reader in self.graph.consumers(node.output)):
            raise BfpError(f"node {node.name}: a table cannot read bilinear upsampling; copy it with identity")
        source, (channels, height, width) = self.formats[node.main], self.shapes[node.main]
        name = f"{node.name}.edges"
        edges = Node(name, "pad_edge", (node.main,), name, source=node.source)
        self.add(edges, (channels, height + 2, width + 2), source, moved(source))
        p = self.parameters.pop(node.name)
        rows, columns = (axis_weights(factor) for factor in node.factors)
        parts = [self.phase(node, p, name, np.multiply.outer(y, x)) for y in rows for x in columns]
        joined = f"{node.name}.phases"
        formats = concat_format([self.formats[t] for t in parts])
        self.add(Node(joined, "concat", tuple(parts), joined), (channels * len(parts), height, width), formats, None)
        pixels = Node(f"{node.name}.pixels", "depth_to_space", (joined,), node.output, source=node.source, factors=node.factors)
        target = self.formats[node.output]
        self.add(pixels, self.shapes[node.output], target, moved(target))

    def phase(self, node: Node, p: Parameters, edges: str, weights: np.ndarray) -> str:
        """The convolution of one phase, of its weights [3, 3] those that are not zero; p: of the upsampling."""
        source, target, (channels, height, width) = self.formats[edges], self.formats[node.output], self.shapes[node.main]
        (top, bottom), (left, right) = (
            (int(line.min()), int(line.max()) + 1) for line in np.nonzero(weights)
        )
        kernel = weights[top:bottom, left:right]
        window = Window(kernel.shape, (1, 1), (-top, -left, bottom - 3, right - 3))
        mantissas = np.broadcast_to(kernel, (channels, 1, *kernel.shape)).astype(np.int8)
        bits = max(2, int(kernel.max()).bit_length() + 1)
        exponents = np.full((channels, 1), -weight_bits(node.factors), np.int64)
        name = f"{node.name}.phase{len(self.nodes)}"
        made = Node(name, "depthwise", (edges,), name, window, node.activation, source=node.source)
        own = derive(made, source, target, None, Weights(bits, mantissas, (0, 1), exponents), np.zeros(channels))
        return self.add(made, (channels, height, width), target, replace(own, clamp_high=p.clamp_high))


def moved(fmt: BlockFormat) -> Parameters:
    """The parameters of what moves mantissas of this format."""
    zeros = np.zeros(fmt.channels, np.int64)
    return Parameters(
        fmt.channel_exponents(), zeros, zeros, None, zeros, None, fmt.splits, np.zeros((fmt.channels, 0)), None
    )
