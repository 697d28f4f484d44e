"""Brevitas: its own flow after training, scales free or powers of two.

Equalisation and bias correction are on by default in its evaluation script, GPTQ (an option of it) is off: with and without it.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import brevitas
import torch
from brevitas.graph.quantize import preprocess_for_quantize
from brevitas.graph.utils import is_quant_module
from brevitas_examples.imagenet_classification.ptq.ptq_common import (
    apply_bias_correction,
    apply_gptq,
    calibrate,
    quantize_model,
)
from exchange import Given, Model, Row, serve

SCALES = {"float_scale": "free scales", "po2_scale": "scales that are powers of two"}
ROUNDINGS = {"nearest": "equalisation, bias correction", "gptq": "equalisation, GPTQ, bias correction"}


def quantised(given: Given, widths: tuple[int, int], scale: str, rounding: str) -> Model:
    """Each filter a scale, each feature map one; inputs of first and last layer as Brevitas does by default, 8 bits wide."""
    loader = [(batch, torch.zeros(len(batch))) for batch in given.batches()]
    model = preprocess_for_quantize(deepcopy(given.module), trace_model=True, equalize_iters=20, merge_bn=True)
    weights, activations = widths
    model = quantize_model(
        model, "layerwise", weights, activations, 32, "per_channel", 99.999, "sym", scale, "int",
    )  # fmt: skip
    refuse_float(model)
    with torch.no_grad():
        model(given.example)  # its weights' scales come into being with a first pass
    calibrate(loader, model)
    if rounding == "gptq":
        apply_gptq(loader, model)
    apply_bias_correction(loader, model)
    return model.eval()


def refuse_float(model: torch.fx.GraphModule) -> None:
    """Raise ValueError where a layer is left in float, one that is called as a function or whose class is not known."""
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    functions = [n for n in model.graph.nodes if n.target in (torch.nn.functional.conv2d, torch.nn.functional.linear)]
    left = len(functions) + sum(not is_quant_module(m) for m in layers)
    if left:
        raise ValueError(f"{left} of {len(functions) + len(layers)} convolutions and fully connected layers stay in float")


def offered(widths: tuple[tuple[int, int], ...]) -> list[Row]:
    return [
        Row(
            f"{scale}_{rounding}_{w}_{a}", f"{done}, {words}", w, a,
            partial(quantised, widths=(w, a), scale=scale, rounding=rounding),
        )
        for rounding, done in ROUNDINGS.items() for scale, words in SCALES.items() for w, a in widths
    ]  # fmt: skip


if __name__ == "__main__":
    serve(brevitas.__version__, offered)
