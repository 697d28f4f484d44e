"""A small network's build folder with everything that a board needs, and a compiled engine for the simulated one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from support.boards import BOARD
from support.random_graphs import random_artifact
from support.random_inputs import random_input

from bfp import golden
from bfp.artifact import Artifact
from bfp.artifact_file import load, save
from bfp.deployment import SAMPLES, add_files
from bfp.format import dequantise
from bfp.samples import Samples, save_samples
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine


def build(folder: Path, seed: int, several: bool = False) -> Artifact:
    """``build_of`` a random artifact. several: as of ``random_artifact``."""
    return build_of(folder, random_artifact(seed, lanes=16, several=several))


def build_of(folder: Path, made: Artifact) -> Artifact:
    """artifact.npz, deploy/ with what it is verified with, csim/libengine.so; returns the artifact."""
    save(made, folder / "artifact.npz")
    artifact = load(folder / "artifact.npz")  # with its digest
    generate([artifact], EngineOptions(), BOARD, folder)
    compile_engine(folder / "generated", folder / "csim", optimise=("-O1",))
    put_references(folder / "deploy", artifact)
    for name in SAMPLES:
        shutil.copyfile(folder / "deploy" / name, folder / name)
    return artifact


def samples_of(artifact: Artifact) -> Samples:
    """Two images."""
    graph = artifact.graph
    mantissas = graph.input_parts(np.concatenate([random_input(artifact, seed)[:1] for seed in (0, 1)]))
    values = [dequantise(q, artifact.formats[t]) for t, q in mantissas.items()]
    images = np.concatenate(values, axis=1).astype(np.float32)
    logits = np.zeros((2, sum(int(np.prod(graph.shapes[t])) for t in graph.outputs)))
    return Samples(images, np.full(2, -1), ("first", "second"), logits)


def put_references(deploy: Path, artifact: Artifact) -> None:
    """artifact.npz and samples.npz, two images, with their hashes in the manifest."""
    save(artifact, deploy / "artifact.npz")
    save_samples(samples_of(artifact), deploy / "samples.npz")
    add_files(deploy, SAMPLES)


def negated(artifact: Artifact, name: str) -> Artifact:
    """The artifact with a layer's weights negated."""
    changed = artifact.parameters[name]
    weights = replace(changed.weights, mantissas=-changed.weights.mantissas)
    return replace(artifact, parameters={**artifact.parameters, name: replace(changed, weights=weights)})


def telling_layer(artifact: Artifact) -> str | None:
    """The first layer whose weights, negated, make another tensor of the first sample; None where there is none."""
    mantissas = golden.quantise_input(artifact, samples_of(artifact).images[:1])
    kept = golden.run(artifact, mantissas)
    for node in artifact.graph.computed():
        if node.weighted and not np.array_equal(golden.run(negated(artifact, node.name), mantissas)[node.output], kept[node.output]):
            return node.name
    return None
