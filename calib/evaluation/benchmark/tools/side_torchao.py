"""torchao's PT2E: the quantiser for x86, and the symmetric one of any width that it tests with (XNNPACK's)."""

from __future__ import annotations

import warnings
from functools import partial

import torch
import torchao
from exchange import Given, Model, Row, serve
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)
from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

X86_WIDTHS = (8, 8)
LAYERS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)


def x86(widths: tuple[int, int]) -> X86InductorQuantizer:
    return X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())


def xnnpack(widths: tuple[int, int]) -> XNNPACKQuantizer:
    """Symmetric weights, a scale for each filter."""
    weights, activations = widths
    low, high = -(2 ** (activations - 1)), 2 ** (activations - 1) - 1
    top = 2 ** (weights - 1) - 1
    ends = {"act_qmin": low, "act_qmax": high, "weight_qmin": -top, "weight_qmax": top}
    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True, **ends))


QUANTISERS = {"x86": (x86, "X86InductorQuantizer"), "xnnpack": (xnnpack, "XNNPACKQuantizer, per channel")}


def quantised(given: Given, widths: tuple[int, int], name: str) -> Model:
    """Exported with a free number of images, observed, converted."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    exported = torch.export.export(given.module, (given.example,), dynamic_shapes=({0: batch},), strict=False).module()
    prepared = prepare_pt2e(exported, QUANTISERS[name][0](widths))
    given.feed(prepared)
    model = convert_pt2e(prepared)
    refuse_float(model)
    return model


def refuse_float(model: torch.fx.GraphModule) -> None:
    """Raise ValueError where a layer is left in float: a quantiser passes over what it does not know, without a word."""
    layers = [node for node in model.graph.nodes if node.target in LAYERS]
    left = sum(any("dequantize" not in str(argument.target) for argument in node.args[:2]) for node in layers)
    if left:
        raise ValueError(f"{left} of {len(layers)} convolutions and fully connected layers stay in float")


def offered(widths: tuple[tuple[int, int], ...]) -> list[Row]:
    return [
        Row(f"{name}_{w}_{a}", words, w, a, partial(quantised, widths=(w, a), name=name))
        for w, a in widths for name, (_, words) in QUANTISERS.items() if name != "x86" or (w, a) == X86_WIDTHS
    ]  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(torchao.__version__, offered)
