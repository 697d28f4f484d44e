"""Pools that divide unevenly, reductions over rows and columns, and operators along one axis."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn, conv
from torch import nn


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize("target", [4, (3, 4), (5, 3), (2, 8), (1, 3), (None, 2), (7, 7), 9, (12, 1)], ids=str)
def test_adaptive_pools_before_a_linear_layer(pool, target):
    """Output sizes that do not divide the map, and larger ones."""
    layer = pool(target)
    count = layer(torch.zeros(1, 3, 9, 8)).numel()
    graph = check(nn.Sequential(layer, nn.Flatten(), nn.Linear(count, 2)))
    assert {n.op for n in graph.nodes} <= {"avg_pool", "max_pool", "concat", "conv"}


def test_adaptive_pools_with_regular_windows_stay_maps():
    check(nn.Sequential(nn.AdaptiveAvgPool2d((4, 4)), conv()), (3, 9, 8), "avg_pool conv")
    check(nn.Sequential(nn.AdaptiveAvgPool2d((9, 8)), conv()), (3, 9, 8), "conv")


def test_one_pixel_that_becomes_many():
    """A classifier behind 7x7 cells, as AlexNet and VGG have, on images so small that one pixel is left."""
    head = nn.Sequential(nn.MaxPool2d(8), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(3 * 49, 5))
    check(head, operators="max_pool conv")


MEANS = {
    "mean twice": lambda x: x.mean(3).mean(2),
    "mean of rows, then columns": lambda x: x.mean(2).mean(-1),
    "kept": lambda x: x.mean(-1, keepdim=True).mean(-2, keepdim=True).flatten(1),
    "sum": lambda x: x.sum((2, 3)) / 72,
    "amax": lambda x: x.amax((2, 3)),
    "amax twice": lambda x: x.amax(3).amax(2),
    "max": lambda x: x.flatten(2).max(2)[0],
    "max along an axis": lambda x: x.max(3).values.max(dim=2, keepdim=False).values,
    "max of a transposed map": lambda x: x.transpose(1, 3).amax((1, 2)),
    "channels last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    "one axis pools": lambda x: F.adaptive_avg_pool1d(x.mean(3), 1).squeeze(-1),
}


@pytest.mark.parametrize("case", MEANS)
def test_reductions(case):
    graph = check(Fn(lambda m, x: m[0](MEANS[case](x)), nn.Linear(3, 5)))
    assert {n.op for n in graph.nodes} <= {"avg_pool", "max_pool", "conv"} and len(graph.nodes) <= 3


OTHER_ORDERS = {
    "rows of a shuffled map": lambda x: F.channel_shuffle(x, 3)[:, :, ::2, :5].amax(2, keepdim=True),
    "columns of a shuffled map": lambda x: F.channel_shuffle(x, 3)[:, :, 1:].amax(3),
    "means of shuffled pixels": lambda x: F.pixel_shuffle(x, 2).mean(2, keepdim=True).amax((2, 3)),
    "largest of shuffled pixels": lambda x: F.pixel_shuffle(x, 2).amax(3).amax(2),
}


@pytest.mark.parametrize("case", OTHER_ORDERS)
def test_reductions_of_values_in_another_order(case):
    """What no window of the tensor covers is brought into order first."""
    check(Fn(lambda m, x: OTHER_ORDERS[case](m[0](x)), conv(3, 12)))


def test_means_of_rows_are_maps():
    check(Fn(lambda m, x: x.mean(2)), operators="avg_pool")
    check(Fn(lambda m, x: m[0](x.mean(3, keepdim=True)), conv(3, 4, (3, 1))), operators="avg_pool conv")


ONE_AXIS = {
    "conv": [nn.Conv1d(3, 6, 3)],
    "strided": [nn.Conv1d(3, 6, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(6), nn.ReLU()],
    "same": [nn.Conv1d(3, 6, 4, padding="same")],
    "depthwise": [nn.Conv1d(3, 3, 3, groups=3, padding=1), nn.Conv1d(3, 8, 1)],
    "grouped": [nn.Conv1d(3, 6, 1), nn.Conv1d(6, 6, 3, groups=2)],
    "max pool": [nn.Conv1d(3, 6, 3), nn.MaxPool1d(3, 2, 1, ceil_mode=True)],
    "avg pool": [nn.AvgPool1d(3, 2, 1), nn.Conv1d(3, 6, 3)],
    "avg pool without padding": [nn.AvgPool1d(3, 2, 1, count_include_pad=False)],
    "adaptive": [nn.Conv1d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)],
    "adaptive max": [nn.AdaptiveMaxPool1d(5), nn.Conv1d(3, 6, 3)],
    "flat": [nn.Conv1d(3, 6, 3), nn.Flatten(), nn.Linear(6 * 18, 4)],
    "padded": [nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(3, 6, 3)],
}


@pytest.mark.parametrize("case", ONE_AXIS)
@pytest.mark.parametrize("axis", [2, 3])
def test_one_axis(case, axis):
    """Rows or columns are the axis, behind layers of maps."""
    torch.manual_seed(3)
    tail = nn.Sequential(*ONE_AXIS[case])
    size = [4, 4]
    size[axis - 2] = 22
    kernel = (4, 3) if axis == 3 else (3, 4)
    check(Fn(lambda m, x: m[1](m[0](x).squeeze(5 - axis)), conv(2, 3, kernel), tail), (2, *size))


def test_one_axis_of_the_input():
    """Sequences [N, C, L] are maps of one row."""
    network = nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3), nn.Flatten(), nn.Linear(64, 3))
    check(network, (4, 20))
    graph = check(nn.Sequential(nn.Conv1d(1, 8, 3, padding=1)), (1, 20))
    assert graph.shapes[graph.input] == (1, 1, 20)


def test_dropouts():
    dropouts = nn.AlphaDropout(), nn.FeatureAlphaDropout(), nn.Dropout2d(), nn.Dropout1d(), nn.Dropout3d()
    check(nn.Sequential(conv(), *dropouts[:3], nn.ReLU()), operators="conv")


PADDED = {
    "a batch norm": (lambda m, x: m[1](m[0](F.pad(x, (1, 2, 0, 1)))), conv(3), "conv"),
    "a batch norm and more zeros": (lambda m, x: m[1](m[0](F.pad(x, (1, 2, 0, 1)))), conv(3, padding=1), "depthwise conv"),
    "a factor and more zeros": (lambda m, x: m[1](F.pad(x, (1, 2, 0, 1)) * 2), conv(3, padding=1), "conv"),
    "a number": (lambda m, x: m[1](F.pad(x, (1, 1, 0, 2), value=0.5)), conv(3), "depthwise conv"),
    "a number, in the middle": (lambda m, x: m[1](F.pad(F.relu(m[0](x)), (2, 0), value=-1)), conv(3), "depthwise depthwise conv"),
    "a number, before a ReLU": (lambda m, x: m[1](F.relu(nn.ConstantPad2d(1, -0.25)(x))), conv(3), None),
    "a channel of ones": (lambda m, x: m[2](F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)), conv(3), None),
}


@pytest.mark.parametrize("case", PADDED)
def test_what_is_around_a_map_and_what_scales_both(case):
    """Zeros are scaled and shifted like the map that they surround; numbers stay what they are."""
    function, layer, operators = PADDED[case]
    check(Fn(function, nn.BatchNorm2d(3), layer, conv(4)), operators=operators)


def test_sums_of_windows():
    check(Fn(lambda m, x: F.avg_pool2d(m[0](x), 2, divisor_override=1), conv()), operators="conv avg_pool")
    check(nn.AvgPool2d(3, 2, 1, divisor_override=5), operators="avg_pool depthwise")


@pytest.mark.parametrize("size, target", [((2, 2), 7), ((3, 5), 7), ((4, 4), 6)])
def test_adaptive_pools_that_enlarge_before_a_kernel_that_covers_them(size, target):
    """As VGG has them at small pictures, of too many channels to move: the convolution is a fully connected layer of the cells."""
    module = Fn(lambda m, x: m[1](F.adaptive_avg_pool2d(m[0](x), target)).relu(), conv(3, 200, 1), conv(200, 5, target))
    graph = check(module, (3, *size))
    assert {node.op for node in graph.nodes} == {"conv", "avg_pool", "concat"} and sum(node.op == "conv" for node in graph.nodes) == 2
