"""Importing: every operator and fusion against the module's own output."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from support.imported import check

from calib.network.float_model import run
from calib.frontend.importer import import_module
from support.small_modules import Fn, conv


@pytest.mark.parametrize(
    "layer, op",
    [
        (conv(), "conv"),
        (conv(k=(1, 7), padding=(0, 3)), "conv"),
        (conv(k=(7, 1), padding=(3, 0), stride=(2, 3), bias=False), "conv"),
        (conv(k=4, padding="same"), "conv"),
        (conv(k=3, padding="valid"), "conv"),
        (conv(k=2, stride=3), "conv"),
        (conv(3, 3, 3, groups=3, padding=1), "depthwise"),
        (conv(3, 3, 5, groups=3, stride=2, bias=False), "depthwise"),
        (nn.MaxPool2d(3, 2, 1), "max_pool"),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), "max_pool"),
        (nn.MaxPool2d((2, 3), (3, 2), ceil_mode=True), "max_pool"),
        (nn.AvgPool2d(3, 2, 1), "avg_pool"),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), "avg_pool"),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), "avg_pool"),
        (nn.AvgPool2d(4, 3, 2, ceil_mode=True, count_include_pad=False), "avg_pool"),
        (nn.AvgPool2d((4, 3), (3, 4), (1, 0), ceil_mode=True), "avg_pool"),
        (nn.AdaptiveAvgPool2d(1), "avg_pool"),
        (nn.AdaptiveAvgPool2d((3, 4)), "avg_pool"),
        (nn.AdaptiveMaxPool2d((3, 2)), "max_pool"),
        (nn.ReLU(), "identity"),
        (nn.ReLU6(inplace=True), "identity"),
        (nn.Hardtanh(0, 6), "identity"),
        (nn.BatchNorm2d(3), "depthwise"),
        (nn.BatchNorm2d(3, affine=False), "depthwise"),
        (nn.ZeroPad2d((1, 2, 0, 3)), "slice_pad"),
        (nn.ZeroPad2d((-1, 2, 0, -3)), "slice_pad"),
    ],
    ids=str,
)
def test_single_layer(layer, op):
    check(nn.Sequential(layer), operators=op)


@pytest.mark.parametrize("height, width, kernel, stride, padding", [(7, 7, 3, 2, 1), (8, 11, 2, 2, 0), (5, 6, 3, 3, 1)])
@pytest.mark.parametrize("include", [True, False])
def test_ceil_mode_sizes(height, width, kernel, stride, padding, include):
    check(nn.AvgPool2d(kernel, stride, padding, True, include), (2, height, width), "avg_pool")
    check(nn.MaxPool2d(kernel, stride, padding, ceil_mode=True), (2, height, width), "max_pool")


def test_batch_norm_activation_and_dropout_are_folded():
    graph = check(nn.Sequential(conv(bias=False), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU6(), nn.Identity()))
    assert [(n.name, n.op, n.activation) for n in graph.nodes] == [("0", "conv", "relu6")]
    assert graph.nodes[0].source == ("0", "1", "3")


def test_batch_norm_folds_into_depthwise_and_linear_and_twice():
    check(nn.Sequential(conv(3, 3, groups=3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)), operators="depthwise")
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU())
    assert check(head, operators="avg_pool conv").nodes[1].activation == "relu"


def test_batch_norm_of_a_tensor_with_another_reader_stays():
    check(Fn(lambda m, x: (y := m[0](x)) + m[1](y), conv(), nn.BatchNorm2d(4)), operators="conv depthwise")


def test_zero_variance_is_carried_by_eps():
    module = nn.Sequential(conv(), nn.BatchNorm2d(4, eps=1e-3))
    with torch.no_grad():
        module[1].running_var.zero_()
    images = torch.randn(1, 3, 5, 5)
    network = import_module(module.eval(), (3, 5, 5), "net")
    found = run(network, images)[network.graph.output].numpy()
    np.testing.assert_allclose(found, module(images).detach().numpy(), rtol=1e-4, atol=1e-3)


def test_pre_activation_order_keeps_batch_norm_and_relu_in_front():
    graph = check(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), conv()), operators="depthwise conv")
    assert graph.nodes[0].activation == "relu"


@pytest.mark.parametrize(
    "function, activation",
    [
        (lambda m, x: m[0](x).clamp(0, 6), "relu6"),
        (lambda m, x: m[0](x).clamp(min=0), "relu"),
        (lambda m, x: m[0](x).clamp_min(0), "relu"),
        (lambda m, x: m[0](x).relu_(), "relu"),
        (lambda m, x: F.relu6(F.relu(m[0](x))), "relu6"),
        (lambda m, x: F.relu(F.relu6(m[0](x), inplace=True)), "relu6"),
    ],
)
def test_spellings_of_activations(function, activation):
    assert check(Fn(function, conv()), operators="conv").nodes[0].activation == activation


def test_activation_moves_in_front_of_max_pooling():
    pools = nn.Sequential(conv(), nn.MaxPool2d(2), nn.MaxPool2d(2, 1, 1), nn.ReLU())
    graph = check(pools, operators="conv max_pool max_pool")
    assert [n.activation for n in graph.nodes] == ["relu", "none", "none"]
    graph = check(Fn(lambda m, x: F.relu(F.max_pool2d(y := m[0](x), 1, 2)) + y[:, :, ::2, ::2], conv()))
    assert [(n.op, n.activation) for n in graph.nodes][:2] == [("conv", "none"), ("max_pool", "relu")]
    graph = check(nn.Sequential(nn.MaxPool2d(2), nn.ReLU6()), operators="max_pool")
    assert graph.nodes[0].activation == "relu6"
    check(nn.Sequential(conv(), nn.AvgPool2d(2), nn.ReLU()), operators="conv avg_pool")


def test_relu_of_a_tensor_with_a_second_reader_is_its_own_node():
    module = Fn(lambda m, x: m[1](y := m[0](x)) + m[2](F.relu(y)), conv(), conv(4), conv(4))
    check(module, operators="conv conv identity conv")


def test_in_place_relu_reaches_the_other_readers():
    def through_alias(m, x):
        y = m[0](x)
        F.relu_(F.dropout(y, training=False))
        return m[1](y)

    graph = check(Fn(through_alias, conv(), conv(4)), operators="conv conv")
    assert graph.nodes[0].activation == "relu"
    check(Fn(lambda m, x: (y := m[0](x)) + F.relu_(y), conv()), operators="conv add")


def test_in_place_through_a_view_and_after_a_copy():
    def view(m, x):
        y = x + x
        F.relu_(y.flatten(1))
        return m[0](y)

    def copy(m, x):
        y = x + x
        z = y.clone()
        F.relu_(y)
        return m[0](z) + m[0](y)

    assert check(Fn(view, conv()), operators="add conv").nodes[0].activation == "relu"
    assert len(check(Fn(copy, conv()), operators="add identity conv conv").nodes) == 4


def test_in_place_on_the_input():
    graph = check(nn.Sequential(nn.ReLU(inplace=True), conv()), operators="identity conv")
    assert graph.nodes[0].inputs == ("input",)


def test_residual_add_is_fused():
    def block(m, x):
        x = m[0](x)
        return F.relu(m[1](x) + x)

    graph = check(Fn(block, conv(), conv(4, padding=1)), operators="conv conv")
    last = graph.nodes[-1]
    assert last.inputs == ("l0", "l0") and last.shortcut == "l0" and last.activation == "relu"


def test_shortcut_computed_after_the_convolution():
    """The later of two convolutions takes the sum; an operand without one makes the convolution move behind it."""
    graph = check(Fn(lambda m, x: m[0](x) + m[1](F.relu(x)), conv(), conv()), operators="conv identity conv")
    assert graph.nodes[2].name == "l1" and graph.nodes[2].inputs == ("relu", "l0")
    late = Fn(lambda m, x: m[0](x) + F.max_pool2d(m[1](x), 3), conv(k=3, stride=3), conv(k=1))
    graph = check(late, operators="conv max_pool conv")
    assert graph.nodes[2].name == "l0" and graph.nodes[2].shortcut == "max_pool2d"
    assert graph.nodes[2].source == ("l0", "add")


def test_sums_that_cannot_be_fused():
    check(Fn(lambda m, x: F.relu(m[0](x)) + F.relu6(m[1](x)), conv(), conv()), operators="conv conv add")
    check(Fn(lambda m, x: x + x), operators="add")
    check(Fn(lambda m, x: (y := m[0](x)) + y, conv()), operators="conv add")
    check(Fn(lambda m, x: F.relu(x + F.relu(x))), operators="identity add")


def test_maximum_of_two_maps():
    """No convolution takes it in, and an activation behind it runs in it."""
    larger = Fn(lambda m, x: F.relu(torch.maximum(m[0](x), m[1](x))), conv(), conv())
    graph = check(larger, operators="conv conv maximum")
    assert graph.nodes[-1].activation == "relu" and graph.nodes[-1].shortcut == "l1"


def test_three_way_sum():
    three = Fn(lambda m, x: m[0](x) + m[1](F.relu(x)) + m[2](F.relu6(x)), conv(), conv(), conv())
    graph = check(three, operators="conv identity conv identity conv")
    assert [n.shortcut for n in graph.nodes if n.op == "conv"] == [None, "l0", "l1"]
    right = Fn(lambda m, x: m[0](x) + (m[1](F.relu6(x)) + F.relu(m[2](x))), conv(), conv(), conv())
    check(right, operators="identity conv conv conv")


def test_sum_that_is_read_twice_and_is_the_output_too():
    def twice(m, x):
        y = m[0](x) + x
        return m[1](y) + y

    check(Fn(twice, conv(3, 3, padding=1), conv(3, 3, padding=1)), operators="conv conv")
    check(Fn(lambda m, x: [y := m[0](x), m[1](y)][0], conv(), conv(4)), operators="conv")


def test_in_place_sum():
    def block(m, x):
        y = m[0](x)
        y += x
        return F.relu_(y)

    check(Fn(block, conv(3, 3, padding=1)), operators="conv")
