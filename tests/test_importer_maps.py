"""Concatenations, slices, paddings, reshapes and names, as the importer brings them in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from support.small_modules import Fn, conv, random_module
from support.imported import check, lively

from calib.network.float_model import run
from calib.frontend.importer import import_module


def test_concat():
    check(Fn(lambda m, x: torch.cat([m[0](x), m[1](x)], 1), conv(), conv(3, 5)), operators="conv conv concat")
    graph = check(Fn(lambda m, x: torch.cat([x, m[0](x)], -3), conv(padding=1)), operators="conv identity concat")
    assert graph.nodes[2].inputs == (graph.nodes[1].output, "l0")


def test_concat_of_the_same_tensor_and_in_two_concats():
    check(Fn(lambda m, x: torch.cat([y := m[0](x), y, y], 1), conv()), operators="conv identity identity concat")

    def two(m, x):
        y = m[0](x)
        return m[1](torch.cat([y, F.relu(y)], 1)) + m[2](torch.cat([F.relu6(y), y], 1))

    check(Fn(two, conv(), conv(8), conv(8)), operators="conv identity concat conv identity identity concat conv")


def test_nested_concat_and_activation_behind_it():
    def nested(m, x):
        inner = torch.cat([m[0](x), m[1](x)], 1)
        return torch.cat([F.relu(inner), inner, inner], 1)

    check(Fn(nested, conv(), conv()), operators="conv conv concat identity identity concat")
    module = Fn(lambda m, x: F.relu(torch.cat([m[0](x), m[1](x)], 1)), conv(), conv())
    check(module, operators="conv conv concat")  # each branch's own


def test_batch_norm_and_sum_behind_a_concat():
    def dense(m, x):
        y = torch.cat([x, m[0](x)], 1)
        return m[2](F.relu(y)) + m[1](y)

    layers = conv(padding=1), nn.BatchNorm2d(7), conv(7, 7, 1)
    check(Fn(dense, *layers), operators="conv identity concat identity conv depthwise")


def layers_of(filters):
    return conv(3, filters), conv(3, filters), conv(2 * filters), conv(2 * filters)


def test_a_concatenation_that_grows_is_stored_once():
    """As in DenseNet: all features so far, and the new ones behind them."""

    def dense(m, x):
        features = [m[0](x)]
        for layer in m[1:]:
            features.append(layer(F.relu(torch.cat(features, 1)) if len(features) > 1 else F.relu(features[0])))
        return torch.cat(features, 1)

    layers = [conv(padding=1), *(conv(4 * n, 4, padding=1) for n in range(1, 6))]
    graph = check(Fn(dense, *layers))
    concats = [n for n in graph.nodes if n.op == "concat"]
    assert [len(n.inputs) for n in concats] == [2] * 5 and all(a.output in b.inputs for a, b in zip(concats, concats[1:]))
    assert [n.op for n in graph.nodes].count("identity") == 5  # the activations, no copies

    def two_tails(m, x):
        y, z = m[0](x), m[1](x)
        joined = [torch.cat(parts, 1) for parts in ([y, z], [y, z, F.relu(y)], [y, z, F.relu(z)])]
        return sum(layer(part) for layer, part in zip(m[2:], joined))

    check(Fn(two_tails, conv(), conv(), conv(8), conv(12), conv(12)))
    same = Fn(lambda m, x: m[2](torch.cat([y := m[0](x), z := m[1](x)], 1)) + m[3](F.relu(torch.cat([y, z], 1))), *layers_of(4))
    check(same, operators="conv conv concat conv identity conv")


def test_flat_concat_of_single_pixels():
    def heads(m, x):
        return m[2](torch.cat([m[0](x).mean((2, 3)), m[1](x).mean((2, 3))], 1))

    check(Fn(heads, conv(), conv(), nn.Linear(8, 3)), operators="conv avg_pool conv avg_pool concat conv")


def test_zero_padding_is_fused_into_the_window_or_kept():
    same = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 2)), conv(stride=2))
    assert check(same, operators="conv").nodes[0].window.padding == (0, 0, 2, 1)
    both = nn.Sequential(nn.ZeroPad2d((2, 0, 1, 0)), conv(3, 3, groups=3, padding=1))
    assert check(both, operators="depthwise").nodes[0].window.padding == (2, 3, 1, 1)
    check(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 2)), operators="slice_pad max_pool")
    check(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(3, 2, 1)), operators="slice_pad avg_pool")
    check(nn.Sequential(nn.ZeroPad2d((0, -1, 0, 1)), conv()), operators="slice_pad conv")
    two = Fn(lambda m, x: m[0](y := F.pad(x, (1, 1, 1, 1))) + F.relu(m[1](y)), conv(), conv())
    check(two, operators="slice_pad conv conv")


def test_option_a_shortcut_is_one_slice_pad():
    def block(m, x):
        return F.relu(m[0](x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2), "constant", 0))

    graph = check(Fn(block, conv(3, 7, stride=2, padding=1)), operators="slice_pad conv")
    pad = graph.nodes[0]
    assert pad.window.stride == (2, 2) and pad.channel_offset == 2 and graph.shapes[pad.output] == (7, 5, 4)


@pytest.mark.parametrize(
    "function, nodes",
    [
        (lambda m, x: x[:, 1:, 1:-1, 2::3], 1),
        (lambda m, x: x[:, :2, 1::2][:, 1:, ::2, ::3], 1),
        (lambda m, x: F.pad(x[:, 1:, 2:-2, 1:], (0, 0, 0, 0, 0, 3)), 1),
        (lambda m, x: F.pad(x, (1, 1, 2, 2))[:, :, ::2, 1:], 1),
        (lambda m, x: F.pad(x[:, :, 2:-2, 1:], (1, 1, 2, 2, 1, 0)), 2),  # cropped pixels must not come back
        (lambda m, x: F.pad(x[:, :2], (0, 0, 0, 0, 0, 3)), 2),  # nor cropped channels
        (lambda m, x: x[:, :, 3:4, 5:6], 1),
        (lambda m, x: F.pad(x, (20, 0))[..., :5], 2),  # zeros only
        (lambda m, x: F.pad(F.pad(x[:, 2:], (0, 0, 0, 0, 0, 3))[:, 1:], (0, 0, 0, 0, 0, 1)), 2),
        (lambda m, x: x[:1, :, 0:9], 0),
        (lambda m, x: F.relu(x[:, 1:])[:, 1:], 2),
    ],
)
def test_slices_and_paddings(function, nodes):
    graph = check(Fn(function), batch=1)
    assert len([n for n in graph.nodes if n.op == "slice_pad"]) == nodes


def test_linear_on_a_flattened_map_is_a_convolution_over_all_of_it():
    graph = check(nn.Sequential(conv(), nn.Flatten(), nn.Linear(4 * 7 * 6, 10), nn.ReLU(), nn.Linear(10, 3)))
    assert [n.window.kernel for n in graph.nodes] == [(3, 3), (7, 6), (1, 1)]
    assert graph.shapes[graph.output] == (3, 1, 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m[0](x.mean([2, 3])),
        lambda m, x: m[0](x.mean((-1, -2), keepdim=True).squeeze(-1).squeeze(2)),
        lambda m, x: m[0](x.view(1, 3, -1).mean(-1)),
        lambda m, x: m[0](F.adaptive_avg_pool2d(x, 1).reshape(1, -1)),
        lambda m, x: m[0](torch.flatten(F.avg_pool2d(x, (9, 8)), 1).unsqueeze(2).squeeze(2)),
    ],
)
def test_spellings_of_global_average(function):
    check(Fn(function, nn.Linear(3, 5)), operators="avg_pool conv", batch=1)


def test_one_channel_and_single_pixels():
    check(nn.Sequential(conv(1, 1, groups=1)), (1, 5, 5), "conv")
    check(nn.Sequential(conv(1, 4, 1), nn.AvgPool2d(1), nn.ReLU()), (1, 1, 1), "conv")
    check(nn.Identity(), (2, 3, 3), "identity")


def test_shared_module_gets_two_names():
    shared = conv(3, 3, padding=1)
    graph = check(Fn(lambda m, x: m[0](F.relu(m[0](x))), shared), operators="conv conv")
    assert [n.name for n in graph.nodes] == ["l0", "l0_2"]


def test_unused_layers_are_dropped():
    def wasteful(m, x):
        m[1](x).relu()
        return m[0](x)

    check(Fn(wasteful, conv(), conv()), operators="conv")


def test_names_follow_the_modules():
    inner = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU())
    graph = check(nn.Sequential(inner, Fn(lambda m, x: torch.cat([m[0](x), m[1](x)], 1), conv(4), conv(4))))
    assert [n.name for n in graph.nodes] == ["0.0", "1.l0", "1.l1", "1.cat"]
    assert all(n.output == n.name for n in graph.nodes)


def test_double_precision_weights():
    module = lively(nn.Sequential(conv(), nn.BatchNorm2d(4)).double())
    network = import_module(module, (3, 5, 5), "net")
    assert network.weights["0"].weight.dtype == np.float32
    images = torch.randn(1, 3, 5, 5)
    found = run(network, images)[network.graph.output].numpy()
    np.testing.assert_allclose(found, module(images.double()).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_weights_are_copied():
    module = nn.Sequential(conv()).eval()
    network = import_module(module, (3, 5, 5), "net")
    before = network.weights["0"].weight.copy()
    with torch.no_grad():
        module[0].weight.add_(1)
    assert np.array_equal(network.weights["0"].weight, before)


@pytest.mark.parametrize("seed", range(12))
def test_random_modules(seed):
    """Random chains of everything at once: what one fusion leaves behind is the next one's input."""
    check(random_module(seed), (4, 12, 11))
