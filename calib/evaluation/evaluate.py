"""Float network against the artifact's exact integers over the evaluation images.

The integers come from ``calib.evaluation.integer_model`` (torch, CPU or GPU), which is
compared with the golden model on every stored tensor of the first images.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.files import write_json
from calib.network import float_model
from calib.data.images import ImageSet
from calib.evaluation.integer_model import IntegerModel, choose_device, full_precision
from calib.evaluation.outputs import OutputTallies
from calib.evaluation.resume import evaluation_key, load_tallies, save_tallies
from calib.evaluation.shown import targets_note
from calib.evaluation.tally import chance_note, remaining
from calib.judge import informed
from calib.observers.observer import batch_size
from calib.pipeline import Prepared, check_artifact
from calib.used_files import write_record

CHECKED = 2  # images whose every tensor is compared with the golden model's


def compare(
    prepared: Prepared, artifact: Artifact, images: ImageSet, device: str = "auto", state: Path | None = None
) -> dict:
    """Accuracy and agreement; the BFP figures come from the bit-exact integer path.

    device: where torch computes, see ``choose_device``. state: a file that is
    rewritten after every batch; an evaluation of the same artifact, weights
    and images goes on from it, and ends with the figures it would have had
    without the interruption. Removing it is up to the caller.

    Returns the figures of ``OutputTallies.figures``, device and seconds. Raises BfpError
    where the artifact is not of this network and its weights, or a label is no class of it.
    """
    network = prepared.network
    check_artifact(prepared, artifact)
    graph, judge = network.graph, informed(prepared.state.judge, images)
    where, size = choose_device(device), batch_size(network)
    each, key = None, {}
    if state is not None:
        added = {"batch": size, "device": where.type, "metric_files": dict(prepared.metric_files)}
        key = evaluation_key(artifact.digest, network, images, judge, added)
        each, found = load_tallies(state, key, graph.outputs, len(images))
        if found:
            print(f"{artifact.graph.name}: {found}", file=sys.stderr)
    tallies = OutputTallies.of(graph, judge, each)
    tally = tallies.main
    model = IntegerModel(artifact, where)
    last = time.perf_counter()
    checked = False
    for batch in remaining(tally, images, size, f"{artifact.graph.name}: evaluation on {len(images)} images"):
        mantissas = golden.quantise_input(artifact, batch)
        if not checked:
            check(model, mantissas[:CHECKED])
            checked = True
        with full_precision():
            reference = float_model.logits(network, torch.from_numpy(batch).to(where)).cpu().double().numpy()
        tallies.add(reference, model.logits(mantissas))
        tally.seconds += time.perf_counter() - last
        last = time.perf_counter()
        if state is not None:
            save_tallies(state, key, tallies.each)
    return {**tallies.figures(), "device": where.type, "seconds": round(tally.seconds, 3)}


def check(model: IntegerModel, mantissas: np.ndarray) -> None:
    """Compare every tensor with the golden model's, for input mantissas [N, C, H, W].

    Raises BfpError naming the first that differs.
    """
    got = model.run(mantissas)
    for tensor, want in golden.run(model.artifact, mantissas).items():
        values = got[tensor].cpu().numpy()
        if not np.array_equal(values, want):
            wrong = np.count_nonzero(values != want)
            raise BfpError(
                f"network {model.artifact.graph.name}, tensor {tensor}: torch on {model.device} computes {wrong} of "
                f"{want.size} integers otherwise than the golden model; evaluate on another device, and report this"
            )


def images_to_evaluate(prepared: Prepared, limit: int | None = None) -> ImageSet:
    """The file's evaluation images (its calibration images where it names none), or the first ``limit`` of them."""
    images = prepared.evaluation
    if limit is not None and images.augment == 1:
        images = replace(images, items=images.items[:limit])
    return images


def evaluate(
    prepared: Prepared, artifact: Artifact, folder: Path, limit: int | None = None, device: str = "auto"
) -> dict:
    """Compare over the file's evaluation images (the calibration images where it names none); write evaluation.json.

    An interrupted evaluation goes on where it was, from evaluation.part.json.
    """
    config, images = prepared.config, images_to_evaluate(prepared, limit)
    state = folder / "evaluation.part.json"
    figures = compare(prepared, artifact, images, device, state)
    seconds = figures.pop("seconds")
    judge = prepared.state.judge
    several = OutputTallies.of(prepared.network.graph, judge)
    notes = [*prepared.notes, *images.notes, judge.note, several.note, targets_note(figures)]
    if prepared.weights != "random":
        notes.append(chance_note(figures, judge))
    result = {
        "network": config.name,
        **figures,
        "weights": prepared.weights,
        "method": artifact.provenance.get("method"),
        "weight_bits": config.bfp.weights,
        "activation_bits": config.bfp.activations,
        "calibration_images": artifact.provenance.get("calibration_images"),
        "artifact": artifact.digest,
        "notes": list(dict.fromkeys(filter(None, notes))),
        "seconds": seconds,
    }
    write_json(folder / "evaluation.json", result)
    write_record(folder / "evaluate.files.json", prepared.metric_files)
    state.unlink(missing_ok=True)
    return result
