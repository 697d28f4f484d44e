"""The default method: which exponents, rounding and bias suit this network, from its calibration images alone.

A part of the calibration images is held out of the corrections of weights and
biases (the statistics of ranges see all images). Every candidate is judged by
the signal-to-quantisation-noise ratio of the network's output on those held
out: no labels are needed, and none are read.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.artifact import Artifact
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
    """Output values of the quantised network in float32 emulation, [N, outputs]; fast, not the last word.

    floats: whose weights take the place of the artifact's; only activations are quantised then.
    """
    network = None if floats is None else FloatNetwork(artifact.graph, without_offset(floats, artifact.result.offset))
    return fake_quant.run(artifact, images, network, np.float32)


def without_offset(network: FloatNetwork, offset: float) -> dict[str, FloatWeights]:
    """The float weights, their last layer without the output's offset."""
    last = network.graph.producer(network.graph.output)
    if not offset:
        return network.weights
    return {**network.weights, last.name: replace(w := network.weights[last.name], bias=w.bias - np.float32(offset))}


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

