"""What the importer refuses, and that each message names layer, operator and reason."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bfp.errors import BfpError
from calib.frontend.importer import import_module
from support.small_modules import Fn, conv


class Two(nn.Module):
    def forward(self, image, mask):
        return image + mask


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += 1
        return x + self.seen


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else x + x


def in_place_slice(m, x):
    y = x + x
    y[:, ::2].relu_()
    return y


class Constant(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.level = nn.Parameter(torch.ones(1, 3, 9, 8))

    def forward(self, x):
        return self.function(self.level, x)


REFUSALS = {
    "bicubic": (nn.Sequential(nn.Upsample(scale_factor=2, mode="bicubic", align_corners=True), conv()), ["layer 0", "cubic interpolation of (9, 8) to (18, 16)", "end the network before it"]),
    "asinh": (nn.Sequential(conv(), Fn(lambda m, x: torch.asinh(x)), conv(4)), ["layer 1", "aten.asinh", "supported are conv2d"]),
    "unpooled": (
        Fn(lambda m, x: m[1](F.max_unpool2d(*F.max_pool2d(m[0](x), 2, return_indices=True), 2, output_size=(7, 6))), conv(), conv(4)),
        ["unpooling is supported to whole windows side by side"],
    ),
    "divide by zero": (Fn(lambda m, x: x / 0), ["NaN or infinite"]),
    "rounded quotient": (Fn(lambda m, x: torch.div(x, 2, rounding_mode="floor")), ["rounding_mode floor"]),
    "position": (Constant(lambda level, x: x + level.cumsum(3)), ["aten.add", "(3, 9, 8)", "pixel to pixel"]),
    "places of a large map": (
        Fn(lambda m, x: m[0](F.pad(x, (0, 163, 0, 64)) + torch.arange(73 * 171.0).reshape(73, 171)), conv()),
        ["aten.add", "(3, 73, 171)", "pixel to pixel"],
    ),
    "clamp upside down": (Fn(lambda m, x: x.clamp(3, 2)), ["clamping to 3..2"]),
    "clamp by a map": (Fn(lambda m, x: torch.clamp(x, min=x[:, :1])), ["computed from the image"]),
    "random": (Fn(lambda m, x: x + torch.rand(1)), ["aten.rand is not supported"]),
    "divisor": (nn.Sequential(nn.AvgPool2d(2, ceil_mode=True, divisor_override=3)), ["layer 0", "divisor_override"]),
    "mean of all": (Fn(lambda m, x: x.mean()), ["the batch axis must stay"]),
    "concat of two sizes": (
        Fn(lambda m, x: m[1](torch.cat([m[0](x).flatten(1), x.mean((2, 3))], 1)[..., None, None]), conv(3, 99), conv(4161, 2, 1)),
        ["(99, 7, 6), (3, 1, 1)"],
    ),
    "view": (Fn(lambda m, x: F.relu(m[0](x.view(1, 9, 3, 8))), conv(9)), ["rearranging a map of (3, 9, 8) into (1, 9, 3, 8)"]),
    "one image": (Fn(lambda m, x: x[0]), ["aten.select", "batch axis must stay"]),
    "flipped rows": (Fn(lambda m, x: m[0](F.pad(x, (0, 0, 0, 50)).flip(2)), conv()), ["aten.flip", "rearranging"]),
    "permute": (Fn(lambda m, x: m[0](x.permute(0, 2, 1, 3)), conv(9)), ["aten.permute", "rearranging"]),
    "batch axis": (Fn(lambda m, x: x.flatten()), ["reshaping", "batch axis"]),
    "pool of flat": (Fn(lambda m, x: F.max_pool2d(x.view(1, 3, 72), 2)), ["not a map"]),
    "batch statistics": (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), ["layer 0", "batch_norm"]),
    "active dropout": (Fn(lambda m, x: F.dropout(x + x)), ["dropout that stays active"]),
    "in-place on every other channel": (Fn(in_place_slice), ["aten.slice_scatter"]),
    "layer norm": (nn.Sequential(nn.LayerNorm(8)), ["layer 0", "layer_norm"]),
    "computed weight": (Fn(lambda m, x: F.conv2d(x, x)), ["weight is computed by x"]),
    "two inputs": (Two(), ["takes 2 inputs (image, mask)"]),
    "no output": (Fn(lambda m, x: (None, 3)), ["returns 0 values"]),
    "no input": (Constant(lambda level, x: level), ["p_level, which does not depend on its input"]),
    "state": (Counter(), ["buffer seen: writes to it", "keeps no state"]),
    "data-dependent": (Branching(), ["cannot be traced", "(3, 9, 8)", "control flow on data"]),
    "wrong size": (nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), ["cannot be traced", "check the input size"]),
    "too small": (nn.Sequential(conv(k=11)), ["cannot be traced", "Kernel size"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case, capfd):
    module, fragments = REFUSALS[case]
    shape = (3, 9, 8)
    with pytest.raises(BfpError) as error:
        import_module(module, shape, "net")
    message = str(error.value)
    assert "\n" not in message and message.startswith("network net")
    for fragment in fragments:
        assert fragment in message, message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("layer, name", [(0, "weight"), (0, "bias"), (1, "running mean"), (1, "weight")])
def test_weights_that_are_not_finite(value, layer, name):
    module = nn.Sequential(conv(), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        getattr(module[layer], name.replace(" ", "_")).flatten()[0] = value
    with pytest.raises(BfpError, match=f"layer {layer} .*its {name} holds NaN or infinity"):
        import_module(module, (3, 9, 8), "net")


def test_folding_that_overflows_float32():
    module = nn.Sequential(conv(), nn.BatchNorm2d(4, eps=0.0)).eval()
    with torch.no_grad():
        module[1].running_var.fill_(1e-30)
        module[1].weight.fill_(1e30)
    with pytest.raises(BfpError, match="layer 0 \\+ 1: .*NaN or infinite"):
        import_module(module, (3, 9, 8), "net")


def test_negative_variance():
    module = nn.Sequential(nn.BatchNorm2d(3)).eval()
    module[0].running_var.fill_(-1.0)
    with pytest.raises(BfpError, match="layer 0 .*running variance"):
        import_module(module, (3, 9, 8), "net")


@pytest.mark.parametrize("shape", [(3,), (0, 9, 8), (3, 9.0, 8)])
def test_input_shape_that_is_none(shape):
    with pytest.raises(BfpError, match="input shape"):
        import_module(nn.ReLU(), shape, "net")


def test_all_obstacles_are_listed_once_with_hints():
    """Each operator where it occurs first, what follows from one is no other, and what no result needs is none."""

    def forward(m, x):
        F.softshrink(m[0](x))
        y = m[1](m[0](x))
        y = torch.fmod(m[2](torch.asinh(y)), torch.exp(y.mean((2, 3), keepdim=True)))
        return m[3](torch.asinh(y))

    with pytest.raises(BfpError) as error:
        import_module(Fn(forward, conv(), nn.GroupNorm(2, 4), Fn(lambda m, x: torch.asinh(x)), Fn(lambda m, x: x.cumsum(1))), (3, 9, 8), "net")
    message = str(error.value)
    assert message.startswith("network net has 5 obstacles: (1) the top module (Fn, node asinh, aten.asinh.default)")
    for fragment in ("(and 2 more of aten.asinh: l2, the top module)", "aten.fmod is not supported", "cumsum is not", "supported are"):
        assert message.count(fragment) == 1, message
    assert "softshrink" not in message and "\n" not in message


def test_an_attention_network_is_refused():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    with pytest.raises(BfpError, match="attention and recurrent layers are not taken"):
        import_module(Fn(lambda m, x: m[0](x.flatten(2).mT).mean(1), layer), (16, 4, 4), "net")
