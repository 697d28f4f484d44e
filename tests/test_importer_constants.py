"""Arithmetic with constants, and subgraphs that do not depend on the image, as the importer brings them in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from support.imported import check
from support.small_modules import Fn, conv
from torch import nn

from calib.frontend.importer import import_module


class Stored(nn.Module):
    """A module whose forward is ``function(layer, level, x)`` with a stored ``level``: buffer, parameter or plain tensor."""

    def __init__(self, function, kind, shape, layer=None):
        super().__init__()
        self.function, self.layer = function, layer or conv(padding=0)
        torch.manual_seed(7)
        level = torch.rand(shape) + 0.5
        if kind == "buffer":
            self.register_buffer("level", level)
        else:
            self.level = nn.Parameter(level) if kind == "parameter" else level

    def forward(self, x):
        return self.function(self.layer, self.level, x)


SPELLINGS = {
    "mul": lambda layer, level, x: layer(x) * level,
    "mul from the left": lambda layer, level, x: level * layer(x),
    "torch.mul": lambda layer, level, x: torch.mul(layer(x), level),
    "mul method": lambda layer, level, x: layer(x).mul(level),
    "mul in place": lambda layer, level, x: layer(x).mul_(level),
    "add": lambda layer, level, x: layer(x) + level,
    "add from the left": lambda layer, level, x: level + layer(x),
    "torch.add": lambda layer, level, x: torch.add(layer(x), level, alpha=3),
    "add in place": lambda layer, level, x: layer(x).add_(level),
    "sub": lambda layer, level, x: layer(x) - level,
    "sub from the left": lambda layer, level, x: level - layer(x),
    "rsub": lambda layer, level, x: torch.rsub(layer(x), level, alpha=2),
    "sub method": lambda layer, level, x: layer(x).sub(level, alpha=0.5),
    "div": lambda layer, level, x: layer(x) / level,
    "torch.div": lambda layer, level, x: torch.div(layer(x), level),
    "true_divide": lambda layer, level, x: torch.true_divide(layer(x), level),
    "negated": lambda layer, level, x: -layer(x) * level,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_constants_go_into_the_convolution_before_them(spelling):
    for shape in ((), (4, 1, 1), (1, 4, 1, 1)):
        check(Stored(SPELLINGS[spelling], "buffer", shape), operators="conv")


@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("kind", ["buffer", "parameter", "plain"])
def test_kinds_of_constants(kind, shape):
    check(Stored(lambda layer, level, x: (layer(x) - level) / level, kind, shape), operators="conv")


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m[0](x) * 2,
        lambda m, x: 2.5 * m[0](x) + 1,
        lambda m, x: (1 - m[0](x)) / 4,
        lambda m, x: m[0](x).neg().add(3).true_divide(-0.5),
        lambda m, x: torch.subtract(m[0](x), 1.5).multiply(torch.tensor(2.0)),
        lambda m, x: sum([m[0](x), 3]),
        lambda m, x: m[0](x).flatten(2) * torch.arange(1.0, 5)[:, None],
        lambda m, x: m[0](x) * torch.ones(4, 7, 6) * 2,
    ],
)
def test_numbers_go_into_the_convolution_before_them(function):
    check(Fn(function, conv()), operators="conv")


@pytest.mark.parametrize("shape", [(), (3, 1, 1), (1, 3, 1, 1)], ids=str)
def test_constants_go_into_the_convolutions_behind_them(shape):
    """As long as no zero padding meets a shift; every one of several readers takes them in."""
    normalised = Stored(lambda layer, level, x: layer((x - level) / (level + 1)), "buffer", shape)
    check(normalised, operators="conv")
    padded = Stored(lambda layer, level, x: layer((x - level) / (level + 1)), "buffer", shape, conv(padding=1))
    check(padded, operators="depthwise conv")
    scaled = Stored(lambda layer, level, x: layer(x / level), "buffer", shape, conv(padding=1))
    check(scaled, operators="conv")
    two = Fn(lambda m, x: F.relu(m[0](y := x * 2 + 1)) + m[1](y), conv(), conv(3, 4, groups=1))
    check(two, operators="conv conv")
    grouped = Stored(lambda layer, level, x: layer(x * level + 1), "buffer", shape, conv(3, 6, groups=3))
    check(grouped, operators="conv")
    depthwise = Stored(lambda layer, level, x: layer(x * level + 1), "buffer", shape, conv(3, 3, groups=3))
    check(depthwise, operators="depthwise")


def test_batch_norm_goes_into_the_convolution_behind_it():
    check(nn.Sequential(nn.BatchNorm2d(3), conv()), operators="conv")
    check(nn.Sequential(nn.BatchNorm2d(3), conv(padding=1)), operators="depthwise conv")
    head = nn.Sequential(conv(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    check(head, operators="conv avg_pool conv")


def test_what_changes_nothing_leaves_no_node():
    check(Fn(lambda m, x: m[0]((x * 1 + 0) / 1), nn.MaxPool2d(2)), operators="max_pool")
    check(Fn(lambda m, x: sum([m[0](x), m[1](F.relu(x))]), conv(), conv()), operators="conv identity conv")


def test_differences_of_maps():
    """The subtrahend's convolution takes the sign; without one it is a depthwise convolution, which takes the sum in."""
    same = conv(3, 3, padding=1)
    for function in (
        lambda m, x: m[0](F.relu(x)) - x,
        lambda m, x: x - m[0](F.relu(x)),
        lambda m, x: torch.add(x, m[0](F.relu(x)), alpha=-2),
        lambda m, x: torch.rsub(x, m[0](F.relu(x))),
        lambda m, x: F.relu(x).sub_(m[0](x)),
    ):
        ops = [n.op for n in check(Fn(function, same)).nodes]
        assert "conv" in ops and "add" not in ops and len(ops) <= 3
    check(Fn(lambda m, x: x - F.relu(x)), operators="identity depthwise")
    check(Fn(lambda m, x: x - m[0](x), same), operators="conv")  # DnCNN's last step, of one layer


LIMITS = {
    "maximum with zero": (lambda y: torch.maximum(y, torch.zeros(())), "relu", "conv"),
    "zero's maximum": (lambda y: torch.maximum(torch.zeros(1, 4, 1, 1), y), "relu", "conv"),
    "threshold": (lambda y: F.threshold(y, 0, 0), "relu", "conv"),
    "clip": (lambda y: torch.clip(y, 0, 6), "relu6", "conv"),
    "clamp by tensors": (lambda y: torch.clamp(y, torch.zeros(1), torch.full((), 6.0)), "relu6", "conv"),
    "minimum of a ReLU": (lambda y: torch.minimum(F.relu(y), torch.tensor(6.0)), "relu6", "conv"),
    "clamp_max of a ReLU": (lambda y: F.relu(y).clamp(max=6), "relu6", "conv"),
    "clamp to 1": (lambda y: y.clamp(0, 1), "relu6", "conv depthwise"),
    "hardtanh": (lambda y: F.hardtanh(y), "relu6", "conv depthwise"),
    "hard sigmoid": (lambda y: F.hardsigmoid(y), "relu6", "conv depthwise"),
    "from one": (lambda y: y.clamp(min=1), "relu", "conv depthwise"),
    "up to one": (lambda y: y.clamp(max=1), "relu", "conv depthwise"),
    "threshold of its own": (lambda y: F.threshold(y, 0.5, 0.5), "relu", "conv depthwise"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits(case):
    function, activation, operators = LIMITS[case]
    graph = check(Fn(lambda m, x: function(m[0](x)), conv()), operators=operators)
    assert graph.nodes[0].activation == activation
    graph = check(Fn(lambda m, x: m[1](function(m[0](x))), conv(), conv(4)), operators="conv conv")
    assert graph.nodes[0].activation == activation


def test_limits_of_each_channel():
    high = torch.tensor([1.0, 2.0, 6.0, 9.0]).view(4, 1, 1)
    check(Fn(lambda m, x: m[1](torch.minimum(F.relu(m[0](x)), high)), conv(), conv(4)), operators="conv conv")


def test_minimum_of_two_maps():
    check(Fn(lambda m, x: torch.minimum(m[0](x), m[1](x)), conv(), conv()), operators="conv conv minimum")


def weight_norm(layer):
    return nn.utils.parametrizations.weight_norm(layer)


def pruned(layer):
    nn.utils.prune.random_unstructured(layer, "weight", amount=0.5)
    return layer


def old_spectral_norm(layer):
    return nn.utils.spectral_norm(layer)


class FrozenBatchNorm(nn.Module):
    """As torchvision's: buffers, and arithmetic in forward."""

    def __init__(self, channels):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x):
        w, b, m, v = (getattr(self, n).reshape(1, -1, 1, 1) for n in ("weight", "bias", "running_mean", "running_var"))
        scale = w * (v + 1e-5).rsqrt()
        return x * scale + (b - m * scale)


class Standardised(nn.Conv2d):
    """Weight standardisation."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)


@pytest.mark.parametrize("wrap", [weight_norm, pruned, old_spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_computed_weights_are_computed_at_import(wrap):
    check(nn.Sequential(wrap(conv()), nn.ReLU(), wrap(conv(4, 3))), operators="conv conv")
    check(nn.Sequential(nn.Flatten(), wrap(nn.Linear(3 * 9 * 8, 5))), operators="conv")


def test_constant_subgraphs():
    check(nn.Sequential(conv(), FrozenBatchNorm(4), nn.ReLU()), operators="conv")
    check(nn.Sequential(Standardised(3, 4, 3)), operators="conv")
    check(Fn(lambda m, x: F.conv2d(x, torch.flip(m[0].weight, [2, 3]) * 2), conv()), operators="conv")
    pair = Fn(lambda m, x: F.conv2d(x, torch.chunk(m[0].weight, 2)[1]), conv())
    check(pair, operators="conv")


def test_constants_in_double_precision_and_integers():
    check(Fn(lambda m, x: m[0](x) * torch.tensor([1, 2, 3, 4]).view(4, 1, 1), conv()), operators="conv")
    module = Fn(lambda m, x: m[0](x) * (1 / 3), conv()).eval()
    network = import_module(module, (3, 9, 8), "net")
    weight = module.get_submodule("l0").weight.detach().numpy().astype(np.float64)
    assert np.array_equal(network.weights["l0"].weight, (weight * (1 / 3)).astype(np.float32))


def test_branches_of_one_operand_are_merged():
    """As RepVGG trains them: 3x3, 1x1 and a batch norm of the operand itself."""

    def block(m, x):
        return F.relu(m[1](m[0](x)) + m[3](m[2](x)) + m[4](x))

    layers = conv(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), conv(3, 3, 1, bias=False), nn.BatchNorm2d(3)
    graph = check(Fn(block, *layers, nn.BatchNorm2d(3)), operators="conv")
    assert graph.nodes[0].activation == "relu" and graph.nodes[0].window.padding == (1, 1, 1, 1)
    strided = conv(3, 4, 3, padding=1, stride=2), conv(3, 4, 1, stride=2)
    check(Fn(lambda m, x: m[0](x) + m[1](x), *strided), operators="conv")
    depthwise = conv(3, 3, 5, padding=2, groups=3), conv(3, 3, 3, padding=1, groups=3), nn.BatchNorm2d(3)
    check(Fn(lambda m, x: m[0](x) + m[1](x) + m[2](x), *depthwise), operators="depthwise")
    grouped = conv(4, 4, 3, padding=1, groups=2), conv(4, 4, 1, groups=2)
    check(Fn(lambda m, x: m[0](x) - m[1](x), *grouped), (4, 9, 8), operators="conv")
    even = conv(3, 4, 2, stride=2), conv(3, 4, 1, stride=2)
    check(Fn(lambda m, x: m[0](x) + m[1](x[:, :, :, :]), *even), (3, 8, 8), operators="conv")


def test_branches_that_are_not_merged():
    crossed = conv(k=(1, 7), padding=(0, 3)), conv(k=(7, 1), padding=(3, 0))
    check(Fn(lambda m, x: m[0](x) + m[1](x), *crossed), operators="conv conv")
    check(Fn(lambda m, x: (y := m[0](x)) + m[1](x) + m[2](y), conv(), conv(), conv(4, 4, 1)), operators="conv conv conv")
    check(Fn(lambda m, x: m[0](x) + F.relu(m[1](x)), conv(), conv()), operators="conv conv")


@pytest.mark.parametrize("padding, wanted", [(0, "conv"), (1, "depthwise conv")])
def test_normalisation_channel_by_channel(padding, wanted):
    """As torchvision's GoogLeNet and Inception-v3 have it: where zeros surround the result, a layer of its own."""

    def normalised(m, x):
        parts = [x[:, c].unsqueeze(1) * (0.2 + 0.01 * c) / 0.5 + (0.4 + 0.01 * c - 0.5) / 0.5 for c in range(3)]
        return m[0](torch.cat(parts, 1))

    check(Fn(normalised, conv(3, padding=padding)), operators=wanted)
    check(Fn(lambda m, x: m[0](torch.cat([x[:, 2:3] * 2 + 1, x[:, :2] - 1], 1)), conv(3, padding=padding)))
    own = Fn(lambda m, x: m[0](torch.cat([x[:, :2], x[:, 2:3] * 2], 1)), conv(3, padding=1))
    check(own, operators="conv")


def test_parts_that_others_read_stay():
    def both(m, x):
        a, b = x[:, :1] * 2 + 1, x[:, 1:] * 3
        return m[0](torch.cat([a, b], 1)) + m[1](a)

    check(Fn(both, conv(3, padding=1), conv(1, padding=1)))
