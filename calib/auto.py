"""The default method: which exponents, rounding and bias suit this network, from its calibration images alone.

A part of the calibration images is held out of the corrections of weights and
biases (the statistics of ranges see all images). Every candidate is judged by
the signal-to-quantisation-noise ratio of the network's output on those held
out: no labels are needed, and none are read.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bfp.artifact import Artifact
from bfp.graph import Graph
from calib.network import float_model
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.reconstruction.layerwise import real_weights, round_to

CANDIDATES = ("max", "mse", "kl", "percentile")
HELD_OUT = 4  # one image in so many
MOST_HELD_OUT = 16


def split(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images to calibrate with, and those held out (the same ones where there is only one)."""
    if len(images) < 2:
        return images, images
    count = min(max(len(images) // HELD_OUT, 1), MOST_HELD_OUT)
    # evenly spread: calibration images are often ordered by class
    held = np.unique(np.linspace(0, len(images) - 1, count + 2).round().astype(int)[1:-1]) if len(images) > 2 else [1]
    return np.delete(images, held, axis=0), images[held]


def outputs(artifact: Artifact, images: np.ndarray, floats: FloatNetwork | None = None) -> np.ndarray:
    """Output values of the quantised network in float32 emulation, [N, outputs]; fast, not the last word.

    floats: whose weights take the place of the artifact's; only activations are quantised then.
    """
    graph = artifact.graph
    if floats is None:
        weights = {n: real_weights(p) for n, p in artifact.parameters.items() if p.weights is not None}
    else:
        weights = without_offset(floats, artifact.result.offset)
    network = FloatNetwork(graph, weights)
    entry = torch.from_numpy(artifact.preprocessing.scaled(np.asarray(images, np.float32)))
    values = {graph.input: round_to(entry, artifact.formats[graph.input])}
    for i, node in enumerate(graph.nodes):
        with torch.no_grad():
            out = float_model.compute(node, network, [values[t] for t in node.inputs])
        values[node.output] = out if node.op == "concat" else round_to(out, artifact.formats[node.output])
        for t in _last_used_by(graph, i):
            values.pop(t, None)
    return artifact.logits(values[graph.output].numpy())


def without_offset(network: FloatNetwork, offset: float) -> dict[str, FloatWeights]:
    """The float weights, their last layer without the output's offset."""
    last = network.graph.producer(network.graph.output)
    if not offset:
        return network.weights
    return {**network.weights, last.name: replace(w := network.weights[last.name], bias=w.bias - np.float32(offset))}


def _last_used_by(graph: Graph, index: int) -> set[str]:
    later = {t for n in graph.nodes[index + 1 :] for t in n.inputs} | {graph.output}
    return set(graph.nodes[index].inputs) - later


def sqnr_db(
    artifact: Artifact, images: np.ndarray, reference: np.ndarray, floats: FloatNetwork | None = None
) -> float:
    """Signal-to-quantisation-noise of the output, dB, capped at 300; minus infinity where nothing is left.

    Logits that saturate by design, below what the output's mantissas resolve, are no noise.
    """
    if artifact.result.offset:
        fmt = artifact.formats[artifact.graph.output]
        lowest = fmt.low * np.exp2(fmt.channel_exponents())
        reference = np.maximum(reference, artifact.logits(lowest[None]))
    noise = float(((outputs(artifact, images, floats).astype(np.float64) - reference) ** 2).sum())
    signal = float((reference**2).sum())
    return 10 * float(np.log10(max(signal, 1e-300) / max(noise, signal * 1e-30, 1e-300)))

