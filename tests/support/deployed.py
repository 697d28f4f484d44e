"""What a deployment is verified with, put into its folder as the package of a bitstream has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.random_graphs import random_input

from bfp.artifact import Artifact
from bfp.artifact_file import save
from bfp.deployment import add_files
from bfp.format import dequantise
from bfp.samples import Samples, save_samples


def put_references(deploy: Path, artifact: Artifact) -> None:
    """artifact.npz and samples.npz, two images, with their hashes in the manifest."""
    shapes, entry = artifact.graph.shapes, artifact.graph.input
    mantissas = np.concatenate([random_input(artifact, seed)[:1] for seed in (0, 1)])
    images = dequantise(mantissas, artifact.formats[entry]).astype(np.float32)
    logits = np.zeros((2, int(np.prod(shapes[artifact.graph.output]))))
    save(artifact, deploy / "artifact.npz")
    save_samples(Samples(images, np.full(2, -1), ("first", "second"), logits), deploy / "samples.npz")
    add_files(deploy, ["artifact.npz", "samples.npz"])
