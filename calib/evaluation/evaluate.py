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
from calib.evaluation.tally import Portion, Tally, chance_note, remaining
from calib.judge import informed
from calib.observers.observer import batch_size
from calib.pipeline import Prepared, check_artifact
from calib.threads import fixed_threads
from calib.used_files import write_record

STATE = "evaluation.part.json"  # of an evaluation that is not done
METRIC = "metric_files"  # of a key: what was read to load the user's metric
CHECKED = 2  # images whose every tensor is compared with the golden model's


class Comparison:
    """A float network and its artifact, ready to be compared on one batch of the images after the other.

    Raises BfpError where the artifact is not of this network and its weights, or a label is no class of it.
    """

    def __init__(self, prepared: Prepared, artifact: Artifact, images: ImageSet) -> None:
        check_artifact(prepared, artifact)
        self.network, self.artifact, self.images = prepared.network, artifact, images
        self.judge, self.size = informed(prepared.state.judge, images), batch_size(prepared.network)
        self.metric_files = dict(prepared.metric_files)
        self.model: IntegerModel | None = None

    def key(self, device: str) -> dict:
        """What must be equal for sums to go on; device: of torch, "cpu" or "cuda"."""
        added = {"batch": self.size, "device": device, METRIC: self.metric_files}
        return evaluation_key(self.artifact.digest, self.network, self.images, self.judge, added)

    def tallies(self, each: dict[str, Tally] | None = None) -> OutputTallies:
        """Nothing counted yet, or what ``each`` has."""
        return OutputTallies.of(self.network.graph, self.judge, each)

    def portions(self, batch: np.ndarray, first: int, device: torch.device) -> dict[str, Portion]:
        """What a batch, normalised float32 [N, C, H, W] from image ``first`` on, adds to the tally of each output.

        Of the first batch that is asked for, every tensor is compared with the golden model's.
        """
        mantissas = golden.quantise_input(self.artifact, batch)
        if self.model is None:
            self.model = IntegerModel(self.artifact, device)
            check(self.model, mantissas[:CHECKED])
        # integers are the same in any number of threads, sums in float32 are not
        with full_precision(), fixed_threads():
            reference = float_model.logits(self.network, torch.from_numpy(batch).to(device)).cpu().double().numpy()
        return self.tallies().portions(reference, self.model.logits(mantissas), first)


def compare(
    prepared: Prepared, artifact: Artifact, images: ImageSet, device: str = "auto", state: Path | None = None
) -> dict:
    """Accuracy and agreement; the BFP figures come from the bit-exact integer path.

    device: where torch computes, see ``choose_device``. state: a file that is
    rewritten after every batch; an evaluation of the same artifact, weights
    and images goes on from it, and ends with the figures it would have had
    without the interruption. Removing it is up to the caller.

    Returns the figures of ``OutputTallies.figures``, device and seconds. Raises BfpError as ``Comparison`` does.
    """
    comparison, where = Comparison(prepared, artifact, images), choose_device(device)
    each, key = None, {}
    if state is not None:
        key = comparison.key(where.type)
        each = counted_before(state, key, prepared, images)
    tallies = comparison.tallies(each)
    tally = tallies.main
    last = time.perf_counter()
    what = f"{artifact.graph.name}: evaluation on {len(images)} images"
    for batch in remaining(tally, images, comparison.size, what):
        tallies.take(comparison.portions(batch, tally.done, where))
        tally.seconds += time.perf_counter() - last
        last = time.perf_counter()
        if state is not None:
            save_tallies(state, key, tallies.each)
    return {**tallies.figures(), "device": where.type, "seconds": round(tally.seconds, 3)}


def counted_before(state: Path, key: dict, prepared: Prepared, images: ImageSet) -> dict[str, Tally]:
    """The tallies of an interrupted evaluation of the same key, else empty ones; says on stderr what was found."""
    each, found = load_tallies(state, key, prepared.network.graph.outputs, len(images))
    if found:
        print(f"{prepared.network.graph.name}: {found}", file=sys.stderr)
    return each


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
    figures = compare(prepared, artifact, images_to_evaluate(prepared, limit), device, folder / STATE)
    return written(prepared, artifact, folder, figures, limit)


def written(prepared: Prepared, artifact: Artifact, folder: Path, figures: dict, limit: int | None) -> dict:
    """Write what was found to evaluation.json, and take away what was kept to go on; figures: as of ``compare``."""
    config, images = prepared.config, images_to_evaluate(prepared, limit)
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
    (folder / STATE).unlink(missing_ok=True)
    return result
