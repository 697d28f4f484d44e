"""AIMET: quantisation simulation with its own ranges (TF-enhanced), with and without cross-layer equalisation."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import aimet_torch
from aimet_torch.batch_norm_fold import fold_all_batch_norms
from aimet_torch.common.defs import QuantScheme
from aimet_torch.cross_layer_equalization import equalize_model
from aimet_torch.model_preparer import prepare_model
from aimet_torch.quantsim import QuantizationSimModel
from exchange import Given, Model, Row, serve

LEAST = 4  # bits of what it simulates
VARIANTS = {"folded": "TF-enhanced", "equalised": "cross-layer equalisation, TF-enhanced"}


def quantised(given: Given, widths: tuple[int, int], variant: str) -> Model:
    """Sums of the module's code made modules, batch normalisations folded, equalised where that is asked for."""
    model, example = prepare_model(deepcopy(given.module)).eval(), given.example
    if variant == "equalised":
        equalize_model(model, dummy_input=example)
    else:
        fold_all_batch_norms(model, tuple(example.shape), dummy_input=example)
    weights, activations = widths
    scheme = QuantScheme.post_training_tf_enhanced
    words = {"default_param_bw": weights, "default_output_bw": activations}
    simulation = QuantizationSimModel(model, dummy_input=example, quant_scheme=scheme, **words)
    simulation.compute_encodings(given.feed)
    return simulation.model


def offered(widths: tuple[tuple[int, int], ...]) -> list[Row]:
    return [
        Row(f"{variant}_{w}_{a}", words, w, a, partial(quantised, widths=(w, a), variant=variant))
        for w, a in widths if min(w, a) >= LEAST for variant, words in VARIANTS.items()
    ]  # fmt: skip


if __name__ == "__main__":
    serve(aimet_torch.__version__, offered)
