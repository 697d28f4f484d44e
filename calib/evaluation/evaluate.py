"""Float network against the artifact's exact integers over the evaluation images.

The integers come from ``calib.evaluation.integer_model`` (torch, CPU or GPU), which is
compared with the golden model on every stored tensor of the first images.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.files import write_json
from calib.network import float_model
from calib.data.images import ImageSet, open_images
from calib.evaluation.integer_model import IntegerModel, choose_device, full_precision
from calib.pipeline import Prepared, batch_size
from calib.progress import Progress
from calib.evaluation.resume import Tally, evaluation_key, load_tally, save_tally

CHECKED = 2  # images whose every tensor is compared with the golden model's


def compare(
    prepared: Prepared, artifact: Artifact, images: ImageSet, device: str = "auto", state: Path | None = None
) -> dict:
    """Accuracy and agreement; the BFP figures come from the bit-exact integer path.

    device: where torch computes, see ``choose_device``. state: a file that is
    rewritten after every batch; an evaluation of the same artifact, weights
    and images goes on from it, and ends with the figures it would have had
    without the interruption. Removing it is up to the caller.

    Returns images; top1_float, top1_bfp: fractions 0..1, None without labels;
    agreement: fraction of images with the same top class; sqnr_db: signal to
    quantisation noise of the network's output over all images, in dB (None
    where there is no noise or no signal); device; seconds. Raises BfpError
    where the artifact is not this network's or a label is no class of it.
    """
    network = prepared.network
    if artifact.graph != network.graph:
        raise BfpError(
            f"the artifact of {artifact.graph.name} is not that of {prepared.config.path}; run `doit calibrate` again"
        )
    labels = images.labels
    outputs = int(np.prod(network.graph.shapes[network.graph.output]))
    if labels is not None and labels.max() >= outputs:
        raise BfpError(f"label {labels.max()} of the evaluation images is no class: the network has {outputs} outputs")
    where, size = choose_device(device), batch_size(network)
    tally, key = Tally(), {}
    if state is not None:
        key = evaluation_key(artifact.digest, network, images, size, where.type)
        tally, found = load_tally(state, key, len(images))
        if found:
            print(f"{artifact.graph.name}: {found}", file=sys.stderr)
    model = IntegerModel(artifact, where)
    last = time.perf_counter()
    checked = False
    with Progress(f"{artifact.graph.name}: evaluation on {len(images)} images", len(images)) as progress:
        progress.done = tally.done
        for batch in _ahead(images.batches(size, tally.done)):
            mantissas = golden.quantise_input(artifact, batch)
            if not checked:
                check(model, mantissas[:CHECKED])
                checked = True
            with full_precision():
                reference = float_model.logits(network, torch.from_numpy(batch).to(where)).cpu().double().numpy()
            truth = None if labels is None else labels[tally.done : tally.done + len(batch)]
            _add(tally, reference, model.logits(mantissas), truth)
            tally.seconds += time.perf_counter() - last
            last = time.perf_counter()
            if state is not None:
                save_tally(state, key, tally)
            progress.step(len(batch))
    return {
        "images": tally.done,
        "top1_float": None if labels is None else tally.float_hits / tally.done,
        "top1_bfp": None if labels is None else tally.bfp_hits / tally.done,
        "agreement": tally.same / tally.done,
        "sqnr_db": 10 * float(np.log10(tally.signal / tally.noise)) if tally.signal > 0 and tally.noise > 0 else None,
        "device": where.type,
        "seconds": round(tally.seconds, 3),
    }


def _add(tally: Tally, reference: np.ndarray, quantised: np.ndarray, truth: np.ndarray | None) -> None:
    """Add one batch: outputs of both networks, float64 [N, outputs], and labels [N] or None."""
    best_float, best_bfp = reference.argmax(1), quantised.argmax(1)
    tally.same += int((best_float == best_bfp).sum())
    if truth is not None:
        tally.float_hits += int((best_float == truth).sum())
        tally.bfp_hits += int((best_bfp == truth).sum())
    tally.signal += float((reference**2).sum())
    tally.noise += float(((reference - quantised) ** 2).sum())
    tally.done += len(reference)


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


def _ahead(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same batches; the next one is read while one is being computed on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def evaluate(
    prepared: Prepared, artifact: Artifact, folder: Path, limit: int | None = None, device: str = "auto"
) -> dict:
    """Compare over the file's evaluation images (the calibration images where it names none); write evaluation.json.

    An interrupted evaluation goes on where it was, from evaluation.part.json.
    """
    config = prepared.config
    if config.evaluation is not None:
        images = open_images(config.evaluation, config.input, config.seed)
    else:
        images = prepared.calibration
    if limit is not None and images.augment == 1:
        images = ImageSet(images.items[:limit], images.pre, 1, images.seed, images.notes)
    state = folder / "evaluation.part.json"
    figures = compare(prepared, artifact, images, device, state)
    seconds = figures.pop("seconds")
    result = {
        "network": config.name,
        **figures,
        "weights": prepared.weights,
        "method": artifact.provenance.get("method"),
        "weight_bits": config.bfp.weights,
        "activation_bits": config.bfp.activations,
        "calibration_images": artifact.provenance.get("calibration_images"),
        "artifact": artifact.digest,
        "notes": [*prepared.notes, *images.notes],
        "seconds": seconds,
    }
    write_json(folder / "evaluation.json", result)
    state.unlink(missing_ok=True)
    return result
