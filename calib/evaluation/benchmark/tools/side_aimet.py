"""AIMET: quantisation simulation with its own ranges (TF-enhanced), with and without cross-layer equalisation.

A scale for each filter, one for each feature map, as is its default; what a depthwise layer gives is rounded before its
rectifier and behind it, as is its default, too.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import aimet_torch
import torch
from aimet_torch.batch_norm_fold import fold_all_batch_norms
from aimet_torch.common.defs import QuantScheme
from aimet_torch.cross_layer_equalization import equalize_model
from aimet_torch.model_preparer import prepare_model
from aimet_torch.quantsim import QuantizationSimModel
from exchange import Given, Model, Row, serve

LEAST = 4  # bits of what it simulates
WIDE = 8  # bits of sensitive layers
ENDS = 5  # bits of activations below which the maps at the network's ends are sensitive, too


@dataclass(frozen=True)
class Variant:
    """settings: for people. sensitive: the layers that this project's option of that name exempts have WIDE bits."""

    settings: str
    equalised: bool = False
    sensitive: bool = False


VARIANTS = {
    "folded": Variant("TF-enhanced"),
    "equalised": Variant("cross-layer equalisation, TF-enhanced", equalised=True),
    "sensitive": Variant(f"TF-enhanced, sensitive layers at {WIDE} bits", sensitive=True),
}


def quantised(given: Given, widths: tuple[int, int], variant: Variant) -> Model:
    """Sums of the module's code made modules, batch normalisations folded, equalised where that is asked for."""
    model, example = prepare_model(deepcopy(given.module)).eval(), given.example
    if variant.equalised:
        equalize_model(model, dummy_input=example)
    else:
        fold_all_batch_norms(model, tuple(example.shape), dummy_input=example)
    weights, activations = widths
    scheme = QuantScheme.post_training_tf_enhanced
    words = {"default_param_bw": weights, "default_output_bw": activations}
    simulation = QuantizationSimModel(model, dummy_input=example, quant_scheme=scheme, **words)
    if variant.sensitive:
        widen(simulation.model, activations)
    simulation.compute_encodings(given.feed)
    return simulation.model


def widen(model: torch.fx.GraphModule, activations: int) -> None:
    """WIDE bits for weights of depthwise, first and last layers, for the network's input and output, and for what is added and
    the sums; with ``activations`` below ENDS also for the maps behind the first layer and before the last one."""
    modules = dict(model.named_modules())
    nodes = [node for node in model.graph.nodes if node.target in modules]
    layers = [node for node in nodes if isinstance(modules[node.target], (torch.nn.Conv2d, torch.nn.Linear))]
    for node in layers:
        if node in (layers[0], layers[-1]) or getattr(modules[node.target], "groups", 1) > 1:
            modules[node.target].param_quantizers["weight"].bitwidth = WIDE
    for module in modules.values():
        for quantizer in filter(None, getattr(module, "input_quantizers", ())):
            quantizer.bitwidth = WIDE
    sums = [node for node in nodes if "Add" in type(modules[node.target]).__name__]
    before, behind = [source for node in sums for source in node.all_input_nodes], [*sums, layers[-1]]
    if activations < ENDS:
        before.append(layers[-1].all_input_nodes[0])
        behind.append(layers[0])
    quantizers = [output_quantizer(node, modules, onwards=False) for node in before]
    quantizers += [output_quantizer(node, modules, onwards=True) for node in behind]
    for quantizer in filter(None, quantizers):
        quantizer.bitwidth = WIDE


def output_quantizer(node: torch.fx.Node, modules: dict[str, torch.nn.Module], onwards: bool) -> torch.nn.Module | None:
    """Where a node's result is rounded: there, or the next place in that direction; None where the network ends first.

    A layer with a rectifier behind it is not rounded itself, nor is what has become of a folded batch normalisation.
    """
    path = [node]
    while path:
        found = [q for q in getattr(modules.get(path[0].target), "output_quantizers", ()) if q is not None]
        if found:
            return found[0]
        path = list(path[0].users) if onwards else path[0].all_input_nodes
    return None


def offered(widths: tuple[tuple[int, int], ...]) -> list[Row]:
    return [
        Row(f"{name}_{w}_{a}", variant.settings, w, a, partial(quantised, widths=(w, a), variant=variant))
        for name, variant in VARIANTS.items() for w, a in widths
        if min(w, a) >= LEAST and (min(w, a) < WIDE or not variant.sensitive)
    ]  # fmt: skip


if __name__ == "__main__":
    serve(aimet_torch.__version__, offered)
