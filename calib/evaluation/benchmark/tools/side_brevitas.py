"""Brevitas: its own flow after training (equalisation, GPTQ, bias correction), scales free or powers of two."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import brevitas
import torch
from brevitas.graph.quantize import preprocess_for_quantize
from brevitas_examples.imagenet_classification.ptq.ptq_common import (
    apply_bias_correction,
    apply_gptq,
    calibrate,
    quantize_model,
)
from exchange import Given, Model, Row, serve

SCALES = {"float_scale": "free scales", "po2_scale": "scales that are powers of two"}


def quantised(given: Given, widths: tuple[int, int], scale: str) -> Model:
    """Each filter a scale, each feature map one; inputs of first and last layer as Brevitas does by default, 8 bits wide."""
    loader = [(batch, torch.zeros(len(batch))) for batch in given.batches()]
    model = preprocess_for_quantize(deepcopy(given.module), trace_model=True, equalize_iters=20, merge_bn=True)
    weights, activations = widths
    model = quantize_model(
        model, "layerwise", weights, activations, 32, "per_channel", 99.999, "sym", scale, "int",
    )  # fmt: skip
    with torch.no_grad():
        model(given.example)  # its weights' scales come into being with a first pass
    calibrate(loader, model)
    apply_gptq(loader, model)
    apply_bias_correction(loader, model)
    return model.eval()


def offered(widths: tuple[tuple[int, int], ...]) -> list[Row]:
    return [
        Row(f"{scale}_{w}_{a}", f"equalisation, GPTQ, bias correction, {words}", w, a, partial(quantised, widths=(w, a), scale=scale))
        for w, a in widths for scale, words in SCALES.items()
    ]  # fmt: skip


if __name__ == "__main__":
    serve(brevitas.__version__, offered)
