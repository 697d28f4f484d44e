"""The same network under other names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bfp.artifact import Artifact


def renamed(artifact: Artifact, text: str) -> Artifact:
    """The same network with every name ending in ``text``."""
    return named(artifact, lambda name: name + text)


def named(artifact: Artifact, new: Callable[[str], str]) -> Artifact:
    """The same network with other names: of the network, its nodes and its tensors."""
    graph = artifact.graph
    nodes = tuple(
        replace(n, name=new(n.name), inputs=tuple(map(new, n.inputs)), output=new(n.output))
        for n in graph.nodes
    )
    shapes = {new(t): shape for t, shape in graph.shapes.items()}
    inputs, outputs = (tuple(map(new, ends)) for ends in (graph.inputs, graph.outputs))
    return replace(
        artifact,
        graph=replace(graph, name=new(graph.name), inputs=inputs, outputs=outputs, nodes=nodes, shapes=shapes),
        formats={new(t): f for t, f in artifact.formats.items()},
        parameters={new(name): p for name, p in artifact.parameters.items()},
        inputs=tuple(replace(end, tensor=new(end.tensor)) for end in artifact.inputs),
        outputs=tuple(replace(end, tensor=new(end.tensor)) for end in artifact.outputs),
    )
