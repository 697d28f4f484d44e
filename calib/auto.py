"""The default method: which exponents, rounding and bias suit this network, from its calibration images alone.

A part of the calibration images is held out of the corrections of weights and
biases (the statistics of ranges see all images). On those held out, candidates
are compared with the float network; no labels are needed, and none are read.

The task's own figure, or the user's, decides where these images show a
difference: one that is more than SURE standard errors from none, estimated by
leaving out one image after the other (the jackknife), which holds for figures
that are no means, too. A handful of images rarely tells two agreements apart,
so that where they do not, the signal-to-quantisation-noise ratio of the
output does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bfp.artifact import Artifact, NetworkOutput
from calib.judge import Judge
from calib.network import fake_quant
from calib.network.float_network import FloatNetwork, FloatWeights

CANDIDATES = ("max", "mse", "kl", "percentile")
HELD_OUT = 4  # one image in so many
MOST_HELD_OUT = 16
SURE = 2.0  # standard errors by which figures differ for certain
LEAST_DIFFERENCE = 1e-9  # below it two figures are the same but for rounding


@dataclass(frozen=True)
class Trial:
    """What became of one candidate on the images held out.

    sqnr_db: of the output, see ``sqnr_db``; rows: the judge's [N, k], empty where nobody judges; figure: of them.
    powers: of the signal and of the noise of each image, float64 [N, outputs, 2], as of ``powers``.
    """

    sqnr_db: float
    rows: np.ndarray
    figure: float | None = None
    powers: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 2)))


def tried(
    artifact: Artifact, images: np.ndarray, reference: np.ndarray, judge: Judge | None, floats: FloatNetwork | None = None
) -> Trial:
    """A candidate on images that were held out. reference: the float network's outputs side by side, float64 [N, values];
    floats: see ``outputs``. Raises BfpError where the user's metric gives no number.
    """
    found = outputs(artifact, images, floats).astype(np.float64)
    power = powers(artifact, found, reference)
    ratio = noise_ratio(power)
    if judge is None:
        return Trial(ratio, np.zeros((len(images), 0)), powers=power)
    rows = judge.rows(*(judge.part(artifact.graph, x) for x in (reference, found)))
    return Trial(ratio, rows, judge.measure.of_set(rows), power)


def best(trials: Mapping[str, Trial], judge: Judge | None, usual: str | None = None) -> str:
    """The candidate to take: the one of the best figure among those that are for certain better by it than the one of the
    least noise; that one, the first of equals, where there is none.

    usual: the candidate that stands in place of the one of the least noise, unless that is quieter for certain.
    """
    quietest = max(trials, key=lambda name: trials[name].sqnr_db)
    if usual is not None and not certainly_better(trials[quietest].powers, trials[usual].powers, noise_ratio):
        quietest = usual
    if judge is None:
        return quietest
    of_set = judge.measure.of_set
    better = [name for name in trials if certainly_better(trials[name].rows, trials[quietest].rows, of_set)]
    return max(better, key=lambda name: trials[name].figure, default=quietest)


def certainly_better(rows: np.ndarray, others: np.ndarray, of_set: Callable[[np.ndarray], float]) -> bool:
    """Whether the figure of these rows [N, ...], one an image, is for certain larger than that of others of the same images."""
    count = len(rows)
    if count < 2:
        return False

    def difference(chosen: np.ndarray) -> float:
        return of_set(rows[chosen]) - of_set(others[chosen])

    whole = difference(np.arange(count))
    without = np.array([difference(np.delete(np.arange(count), n)) for n in range(count)])
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    return bool(whole > max(SURE * error, LEAST_DIFFERENCE))


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


def sqnr_db(artifact: Artifact, images: np.ndarray, reference: np.ndarray) -> float:
    """``noise_ratio`` of the quantised network on these images [N, C, H, W]."""
    return noise_ratio(powers(artifact, outputs(artifact, images).astype(np.float64), reference))


def powers(artifact: Artifact, found: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Power of the signal and of the noise of each image's outputs, float64 [N, outputs, 2].

    found, reference: all outputs side by side, float64 [N, values]. Logits that saturate by design, below what the
    output's mantissas resolve, are no noise.
    """
    ours, theirs = artifact.graph.output_parts(found), artifact.graph.output_parts(reference)
    return np.stack([_of_one(artifact, e, ours[e.tensor], theirs[e.tensor]) for e in artifact.outputs], axis=1)


def noise_ratio(power: np.ndarray) -> float:
    """Signal-to-quantisation-noise of the outputs over these images, dB, the mean over the outputs; power: of ``powers``.

    Minus infinity where nothing is left of one. Capped at 300.
    """
    sums = power.sum(axis=0).tolist()
    return float(np.mean([10 * np.log10(max(s, 1e-300) / max(n, s * 1e-30, 1e-300)) for s, n in sums]))


def _of_one(artifact: Artifact, end: NetworkOutput, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Signal and noise of one output of each image, [N, 2], from its values [N, values] in both networks."""
    if end.offset:
        fmt = artifact.formats[end.tensor]
        lowest = fmt.low * np.exp2(fmt.channel_exponents())
        wanted = np.maximum(wanted, end.values(lowest[None]))
    return np.stack([(wanted**2).sum(axis=1), ((found - wanted) ** 2).sum(axis=1)], axis=1)
