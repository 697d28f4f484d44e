"""Float network against the bit-exact golden model over the evaluation images."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Artifact
from bfp.errors import BfpError
from calib import float_model
from calib.images import ImageSet, open_images
from calib.pipeline import Prepared, batch_size
from calib.progress import Progress


def compare(prepared: Prepared, artifact: Artifact, images: ImageSet) -> dict:
    """Accuracy and agreement; the BFP figures come from the bit-exact integer path.

    Returns images; top1_float, top1_bfp: fractions 0..1, None without labels;
    agreement: fraction of images with the same top class; sqnr_db: signal to
    quantisation noise of the network's output over all images, in dB (None
    where there is no noise or no signal). Raises BfpError where the artifact
    is not this network's or a label is no class of it.
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
    hits = {"float": 0, "bfp": 0, "same": 0}
    signal = noise = 0.0
    done = 0
    with Progress(f"{artifact.graph.name}: evaluation on {len(images)} images", len(images)) as progress:
        for batch in images.batches(batch_size(network)):
            reference = float_model.logits(network, torch.from_numpy(batch)).numpy().astype(np.float64)
            quantised = golden.logits(artifact, golden.quantise_input(artifact, batch))
            best_float, best_bfp = reference.argmax(1), quantised.argmax(1)
            hits["same"] += int((best_float == best_bfp).sum())
            if labels is not None:
                truth = labels[done : done + len(batch)]
                hits["float"] += int((best_float == truth).sum())
                hits["bfp"] += int((best_bfp == truth).sum())
            signal += float((reference**2).sum())
            noise += float(((reference - quantised) ** 2).sum())
            done += len(batch)
            progress.step(len(batch))
    return {
        "images": done,
        "top1_float": None if labels is None else hits["float"] / done,
        "top1_bfp": None if labels is None else hits["bfp"] / done,
        "agreement": hits["same"] / done,
        "sqnr_db": 10 * float(np.log10(signal / noise)) if signal > 0 and noise > 0 else None,
    }


def evaluate(prepared: Prepared, artifact: Artifact, folder: Path, limit: int | None = None) -> dict:
    """Compare over the file's evaluation images (the calibration images where it names none); write evaluation.json."""
    config = prepared.config
    start = time.perf_counter()
    if config.evaluation is not None:
        images = open_images(config.evaluation, config.input, config.seed)
    else:
        images = prepared.calibration
    if limit is not None and images.augment == 1:
        images = ImageSet(images.items[:limit], images.pre, 1, images.seed, images.notes)
    result = {
        "network": config.name,
        **compare(prepared, artifact, images),
        "weights": prepared.weights,
        "method": artifact.provenance.get("method"),
        "weight_bits": config.bfp.weights,
        "activation_bits": config.bfp.activations,
        "calibration_images": artifact.provenance.get("calibration_images"),
        "artifact": artifact.digest,
        "notes": [*prepared.notes, *images.notes],
        "seconds": round(time.perf_counter() - start, 3),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "evaluation.json"
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return result
