"""The same network under other names."""

from __future__ import annotations

from dataclasses import replace

from bfp.artifact import Artifact


def renamed(artifact: Artifact, text: str) -> Artifact:
    """The same network with every name ending in ``text``."""
    graph = artifact.graph
    nodes = tuple(
        replace(n, name=n.name + text, inputs=tuple(t + text for t in n.inputs), output=n.output + text)
        for n in graph.nodes
    )
    shapes = {t + text: shape for t, shape in graph.shapes.items()}
    inputs, outputs = (tuple(t + text for t in ends) for ends in (graph.inputs, graph.outputs))
    return replace(
        artifact,
        graph=replace(graph, name=graph.name + text, inputs=inputs, outputs=outputs, nodes=nodes, shapes=shapes),
        formats={t + text: f for t, f in artifact.formats.items()},
        parameters={name + text: p for name, p in artifact.parameters.items()},
        inputs=tuple(replace(end, tensor=end.tensor + text) for end in artifact.inputs),
        outputs=tuple(replace(end, tensor=end.tensor + text) for end in artifact.outputs),
    )
