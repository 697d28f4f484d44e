"""What the accelerator stores of a network: every tensor but those that a fused max pool reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfp.artifact import Artifact
from bfp.graph import Graph
from host.manifest import read_deployment


def check_stored(graph: Graph, stored: set[str]) -> None:
    """Assert that what is not stored is read by a max pool, whose result is, and by nothing else."""
    for tensor in set(graph.stored_tensors()) - stored:
        (user,) = graph.consumers(tensor)
        assert user.op == "max_pool" and user.output in stored and tensor != graph.output, tensor


def stored_values(artifact: Artifact, deploy: Path) -> int:
    """Mantissas of all stored tensors of one image, by the deployment's manifest."""
    stored = set(read_deployment(deploy).tensors)
    check_stored(artifact.graph, stored)
    return sum(int(np.prod(artifact.graph.shapes[t])) for t in artifact.graph.stored_tensors() if t in stored)
