"""What the accelerator stores of a network: all but the maps that only a fused pool reads, and what is pooled on load."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfp.artifact import Artifact
from bfp.deployment import read_deployment
from bfp.graph import Graph, Window


def check_stored(graph: Graph, stored: set[str]) -> None:
    """Assert that what is not stored is only read by a max pool, whose result is, or made by a pool for convolutions,
    or a slice of what is stored, or the index of a table."""
    for tensor in set(graph.stored_tensors()) - stored:
        assert tensor not in graph.outputs
        if graph.channel_slice(graph.producer(tensor)):
            assert all(user.operator.computes for user in graph.consumers(tensor)), tensor
            continue
        users, whole = graph.consumers(tensor), tensor
        if len(users) == 1 and users[0].operator.has_function:
            continue
        while len(users) == 1 and users[0].op == "concat":
            whole, users = users[0].output, graph.consumers(users[0].output)
        if [user.op for user in users] == ["max_pool"] and users[0].output in stored:
            assert whole not in graph.outputs
            continue
        assert graph.producer(tensor).op in ("max_pool", "avg_pool"), tensor
        assert users and all(user.op == "conv" and user.window == Window() for user in users), tensor


def stored_values(artifact: Artifact, deploy: Path) -> int:
    """Mantissas of all stored tensors of one image, by the deployment's manifest."""
    stored = {t.name for t in read_deployment(deploy).tensors}
    check_stored(artifact.graph, stored)
    return sum(int(np.prod(artifact.graph.shapes[t])) for t in artifact.graph.stored_tensors() if t in stored)
