"""The default method: which exponents, rounding and bias suit this network, from its calibration images alone.

A part of the calibration images is held out of the corrections of weights and
biases (the statistics of ranges see all images). Every candidate is judged by
the signal-to-quantisation-noise ratio of the network's outputs on those held
out: no labels are needed, and none are read.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.artifact import Artifact, NetworkOutput
from calib.network import fake_quant
from calib.network.float_network import FloatNetwork, FloatWeights

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
    """All outputs of the quantised network side by side in float32 emulation, [N, values]; fast, not the last word.

    floats: whose weights take the place of the artifact's; only activations are quantised then.
    """
    network = None if floats is None else FloatNetwork(artifact.graph, without_offsets(floats, artifact))
    return fake_quant.run(artifact, images, network, np.float32)


def without_offsets(network: FloatNetwork, artifact: Artifact) -> dict[str, FloatWeights]:
    """The float weights, those of the layers that make outputs without the constants that the artifact leaves out."""
    weights = dict(network.weights)
    for end in artifact.outputs:
        if end.offset:
            last = network.graph.producer(end.tensor).name
            weights[last] = replace(weights[last], bias=weights[last].bias - np.float32(end.offset))
    return weights


def sqnr_db(
    artifact: Artifact, images: np.ndarray, reference: np.ndarray, floats: FloatNetwork | None = None
) -> float:
    """Signal-to-quantisation-noise of the outputs, dB, the mean over them; minus infinity where nothing is left of one.

    Capped at 300. Logits that saturate by design, below what the output's mantissas resolve, are no noise.
    """
    found = artifact.graph.output_parts(outputs(artifact, images, floats).astype(np.float64))
    wanted = artifact.graph.output_parts(reference)
    return float(np.mean([_of_one(artifact, end, found[end.tensor], wanted[end.tensor]) for end in artifact.outputs]))


def _of_one(artifact: Artifact, end: NetworkOutput, found: np.ndarray, wanted: np.ndarray) -> float:
    """Signal to noise of one output, dB, from its values [N, values] in both networks."""
    if end.offset:
        fmt = artifact.formats[end.tensor]
        lowest = fmt.low * np.exp2(fmt.channel_exponents())
        wanted = np.maximum(wanted, end.values(lowest[None]))
    noise, signal = float(((found - wanted) ** 2).sum()), float((wanted**2).sum())
    return 10 * float(np.log10(max(signal, 1e-300) / max(noise, signal * 1e-30, 1e-300)))
