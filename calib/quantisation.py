"""The passes from a prepared float network to its artifact: statistics, exponents, method, rounding and biases.

Where the method is ``auto``, a part of the calibration images is held out of
the corrections of weights and biases (the statistics of ranges see all images),
and what becomes of the network's answers on that part decides; see calib.auto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from bfp.artifact import Artifact
from calib import auto
from calib.data.images import ImageSet
from calib.formats.solver import quantise_network
from calib.network import float_model
from calib.observers.observer import observe, some_images, with_variants
from calib.options import AUTO, DESCENT, GPTQ
from calib.progress import Progress
from calib.reconstruction import layerwise
from calib.state import CalibrationState

RECONSTRUCTION_IMAGES = 256  # with fewer, variants of them join
REFINED, PLAIN = "refined", "plain"  # with all corrections, and without; of equals the first is taken
READS_HISTOGRAMS = "mse"  # one of auto.CANDIDATES: histograms do not depend on the rule that reads them


def gather_statistics(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: statistics of all calibration images, as the method asks for them, or any that ``auto`` tries."""
    plan = state.with_method(READS_HISTOGRAMS).plan if state.method == AUTO else state.plan
    statistics = plan.new_statistics()
    observe(state.network, images, statistics, f"statistics of {len(images)} images")
    return replace(state, statistics=statistics)


def quantise(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: the artifact by the state's method, from its statistics. No image is looked at."""
    with Progress(f"{state.name}: artifact") as progress:
        artifact = quantise_network(
            *(state.network, state.statistics, state.plan, state.classes, state.float_digest), progress.text
        )
    return replace(state, artifact=artifact)


def choose_method(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: the artifact by the best of ``auto.CANDIDATES``, which becomes the state's method.

    They differ in the activations' exponents, and are compared on held-out images
    with the weights still in float.
    """
    _, held = auto.split(_usable(state, images))
    reference = _outputs(state, held)
    trials: dict[str, auto.Trial] = {}
    drafts: dict[str, CalibrationState] = {}
    for method in auto.CANDIDATES:
        draft = quantise(state.with_method(method), images)
        # where channels are scaled their exponents are no method's, and two methods may come to the same
        same = next((m for m, d in drafts.items() if d.artifact.formats == draft.artifact.formats), None)
        fresh = None if same else auto.tried(draft.artifact, held, reference, state.judge, state.network)
        trials[method] = fresh or trials[same]
        drafts[method] = draft
    best = auto.best(trials, state.judge)
    evidence = replace(state.evidence, signal=_signal(state, reference))
    return replace(drafts[best], held_out=_held_out(images, held), evidence=evidence, **_noted(trials))


def reconstruct(state: CalibrationState, images: ImageSet, rounding: str | None = None) -> CalibrationState:
    """The pass: weights rounded and biases corrected as the options ask, on some of the images and their variants.

    rounding: in place of what the options ask for.
    """
    if not state.options.reconstructs:
        return state
    limit = layerwise.image_limit(state.network, rounding or state.options.rounding)
    several = with_variants(images, min(limit, RECONSTRUCTION_IMAGES))
    chosen = some_images(state.network, several, limit)
    return replace(state, artifact=_reconstructed(state, chosen, several.augment, rounding))


def reconstruct_where_better(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: ``reconstruct``, unless doing it on the images that are not held out for certain harms those that are.

    A few images rarely tell the noise of the two apart; the corrections are then taken, since they lessen it in the mean.
    Where descent is asked for, GPTQ without it is compared with it first, in the same way.
    """
    rest, held = auto.split(_usable(state, images))
    reference = _outputs(state, held)
    roundings = {REFINED: state.options.rounding, **({GPTQ: GPTQ} if state.options.rounding == DESCENT else {})}
    candidates = {name: _reconstructed(state, rest, images.augment, r) for name, r in roundings.items()}
    candidates[PLAIN] = state.artifact
    trials = {name: auto.tried(artifact, held, reference, state.judge) for name, artifact in candidates.items()}
    noted = _noted(trials)
    judged = replace(state, sqnr_db={**state.sqnr_db, **noted["sqnr_db"]}, figures={**state.figures, **noted["figures"]})
    best = auto.best(trials, state.judge, REFINED)
    if _held_out(images, held):
        judged = replace(judged, evidence=replace(judged.evidence, output_db=trials[best].sqnr_db))
    return judged if best == PLAIN else reconstruct(judged, images, roundings[best])


def _held_out(images: ImageSet, held: np.ndarray) -> int:
    """How many images had no part in the corrections that they judge; none where one image does both."""
    return len(held) if len(images.items) > 1 else 0


def _noted(trials: Mapping[str, auto.Trial]) -> dict[str, dict[str, float]]:
    """Fields of the state that remember trials."""
    figures = {name: trial.figure for name, trial in trials.items() if trial.figure is not None}
    return {"sqnr_db": {name: trial.sqnr_db for name, trial in trials.items()}, "figures": figures}


def _usable(state: CalibrationState, images: ImageSet) -> np.ndarray:
    """As many images as may take part in reconstruction, normalised, float32 [N, C, H, W]."""
    return some_images(state.network, images, layerwise.image_limit(state.network, state.options.rounding))


def _outputs(state: CalibrationState, images: np.ndarray) -> np.ndarray:
    """All outputs of the float network side by side, float64 [N, values]."""
    return float_model.logits(state.network, torch.from_numpy(images)).double().numpy()


def _signal(state: CalibrationState, reference: np.ndarray) -> float:
    """Mean power of an image's outputs, which count as of ``float_model.output_weights``."""
    graph = state.network.graph
    return float((reference**2).sum(axis=1).mean()) if len(graph.outputs) == 1 else float(len(graph.outputs))


def _reconstructed(state: CalibrationState, images: np.ndarray, variants: int, rounding: str | None = None) -> Artifact:
    """The artifact with the rounding (or another one) and the biases that the options ask for; it stays where they ask for none."""
    if not state.options.reconstructs:
        return state.artifact
    rounding, bias = rounding or state.options.rounding, state.options.bias_correction
    with Progress(f"{state.name}: reconstruction on {len(images)} images") as progress:
        return layerwise.reconstruct(
            *(state.network, state.artifact, images, rounding, bias, state.seed, progress.text, variants)
        )
