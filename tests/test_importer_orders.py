"""Permutations, splits and other ways to name elements, as the importer brings them in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import check, lively
from support.small_modules import Fn, conv
from torch import nn

from calib.frontend.importer import import_module
from calib.network import float_model


def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def one_by_one(cin, cout):
    return nn.Conv2d(cin, cout, 1)


SHUFFLES = {
    "view and transpose": lambda x: shuffle(x, 2),
    "permute and flatten": lambda x: x.unflatten(1, (3, 2)).permute(0, 2, 1, 3, 4).flatten(1, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "module": lambda x: nn.ChannelShuffle(3)(x),
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(2, 1),
    "index": lambda x: x[:, [5, 0, 3, 1, 2, 4]],
    "index_select": lambda x: x.index_select(1, torch.tensor([5, 0, 3, 1, 2, 4])),
    "swapped halves": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "stacked": lambda x: torch.stack(x.chunk(2, 1), 2).flatten(1, 2),
    "there and back": lambda x: shuffle(shuffle(x, 2), 3),
}


@pytest.mark.parametrize("case", SHUFFLES)
def test_orders_of_channels_cost_nothing_between_convolutions(case):
    order = SHUFFLES[case]
    graph = check(Fn(lambda m, x: m[1](order(m[0](x))), conv(3, 6), conv(6, 5)))
    assert [n.op for n in graph.nodes] == ["conv", "conv"]
    check(Fn(lambda m, x: m[1](F.relu(order(m[0](x)))), conv(3, 6), one_by_one(6, 5)))
    check(Fn(lambda m, x: order(m[0](x)), conv(3, 6)))
    check(Fn(lambda m, x: F.relu(m[1](order(m[0](x)))), conv(3, 6), nn.BatchNorm2d(6)))
    check(Fn(lambda m, x: m[1](order(m[0](x))), conv(3, 6), conv(6, 6, groups=6)))
    check(Fn(lambda m, x: m[1](order(F.max_pool2d(m[0](x), 2)).flatten(1)), conv(3, 6), nn.Linear(54, 4)))


PARTS = {
    "chunk": lambda x: x.chunk(2, 1),
    "split": lambda x: x.split(x.shape[1] // 2, 1),
    "split sizes": lambda x: torch.split(x, [x.shape[1] // 2] * 2, dim=1),
    "tensor_split": lambda x: torch.tensor_split(x, 2, 1),
    "narrow": lambda x: (x.narrow(1, 0, x.shape[1] // 2), x.narrow(-3, -(x.shape[1] // 2), x.shape[1] // 2)),
    "slices": lambda x: (x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]),
    "strided": lambda x: (x[:, ::2], x[:, 1::2]),
    "unbind": lambda x: x.unflatten(1, (2, -1)).unbind(1),
    "select": lambda x: (x.unflatten(1, (-1, 2))[:, :, 0], x.unflatten(1, (-1, 2)).select(2, 1)),
    "other order": lambda x: x.chunk(2, 1)[::-1],
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_of_the_channels(case):
    parts = PARTS[case]

    def two(m, x):
        a, b = parts(m[0](x))
        return m[1](a) + F.relu(m[2](b))

    check(Fn(two, conv(3, 6), conv(3, 4), conv(3, 4)))
    graph = check(Fn(two, conv(3, 32), conv(16, 4), conv(16, 4)))  # adjacent ones are read where they are
    in_place = [] if case in ("strided", "select") else ["slice_pad"] * 2
    assert sorted(n.op for n in graph.nodes) == ["conv"] * (3 if in_place else 4) + in_place
    check(Fn(lambda m, x: sum(parts(m[0](x))), conv(3, 6)))
    maxout = Fn(lambda m, x: torch.maximum(*parts(m[0](x))), conv(3, 32))
    check(maxout, operators=" ".join(["conv", *(in_place or ["conv"]), "maximum"]))
    check(Fn(lambda m, x: torch.cat([*parts(m[0](x)), x[:, :, 2:, 2:]], 1), conv(3, 6)))
    check(Fn(lambda m, x: F.relu(parts(x)[1])), (6, 5, 4))
    check(Fn(lambda m, x: parts(F.relu(m[0](x)))[0], conv(3, 6)))


def test_concatenation_with_zeros_pads():
    pad = Fn(lambda m, x: F.relu(torch.cat([x, torch.zeros_like(x), torch.zeros(len(x), 2, 9, 8)], 1)))
    assert check(pad, operators="slice_pad", batch=1).nodes[0].activation == "relu"
    check(Fn(lambda m, x: m[0](torch.cat([torch.zeros_like(x), x, x], 1)), conv(9)))


def test_one_channel():
    check(Fn(lambda m, x: m[0](x[:, 1:2]), conv(1)), operators="conv")
    check(Fn(lambda m, x: m[0](x[:, 1].unsqueeze(1)), conv(1)), operators="conv")
    check(Fn(lambda m, x: m[0](x.select(1, 2)[:, None]), conv(1)), operators="conv")
    check(Fn(lambda m, x: m[0](x[:, [0, 0, 2]]), conv(3)), operators="conv")


def test_a_shared_part_is_taken_once():
    """Two readers of one slice, of which one is no convolution."""
    graph = check(Fn(lambda m, x: m[0](y := x.chunk(3, 1)[1]) + y[:, :, 2:, 2:], conv(1, 1)))
    assert [n.op for n in graph.nodes].count("slice_pad") == 2


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m[0](x.permute(0, 2, 3, 1).flatten(1)),
        lambda m, x: m[0](x.transpose(2, 3).reshape(x.shape[0], -1)),
        lambda m, x: m[0](x.flip(2).flatten(1)),
        lambda m, x: m[0](F.relu(x.permute(0, 3, 1, 2)).contiguous().flatten(1)),
        lambda m, x: m[0](x.mT.flatten(1)),
        lambda m, x: m[0](torch.cat([x.flatten(1)[:, 100:], x.flatten(1)[:, :100]], 1)),
    ],
)
def test_any_order_in_front_of_a_linear_layer(function):
    graph = check(Fn(function, nn.Linear(216, 5)))
    assert graph.nodes[-1].op == "conv" and len(graph.nodes) <= 3


def test_a_linear_layer_takes_parts_of_a_map():
    check(Fn(lambda m, x: m[0](x[:, :, 0, 0]), nn.Linear(3, 5)))
    check(Fn(lambda m, x: m[0](x.flatten(1)[:, 10:60]), nn.Linear(50, 5)), operators="conv")
    check(Fn(lambda m, x: m[0](x.flatten(1).repeat(1, 2)), nn.Linear(432, 5)), operators="conv")
    flat = Fn(lambda m, x: m[0](torch.cat([x.flatten(1), F.relu(x).flatten(1)], 1)), nn.Linear(432, 5))
    check(flat, operators="identity identity concat conv")


def test_linear_layers_over_the_last_axis_are_convolutions():
    def mixer(m, x):
        y = m[1](F.relu(m[0](x.permute(0, 2, 3, 1)) * 2))
        return y.permute(0, 3, 1, 2) + x

    check(Fn(mixer, nn.Linear(3, 8), nn.Linear(8, 3)), operators="conv conv")
    check(Fn(lambda m, x: m[0](x.flatten(2).transpose(1, 2)).mean(1), nn.Linear(3, 8)), operators="conv avg_pool")


def test_space_to_depth():
    """Pixels of a stride become channels, by one convolution of ones."""
    check(Fn(lambda m, x: m[0](F.pixel_unshuffle(x, 2)), conv(12)), (3, 8, 10), operators="conv conv")
    focus = lambda x: torch.cat([x[:, :, ::2, ::2], x[:, :, 1::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, 1::2]], 1)
    check(Fn(lambda m, x: m[0](focus(x)), conv(12)), (3, 8, 10))
    check(Fn(lambda m, x: m[0](x.unflatten(2, (4, 2))[:, :, :, 1]), conv(3)), (3, 8, 10), "slice_pad conv")


def test_batch_of_one_that_is_named():
    check(Fn(lambda m, x: m[0](x.view(x.size(0), -1)).view(-1, 5), nn.Linear(216, 5)), operators="conv")


def shuffled_stage(channels, blocks, reads):
    """A stage of ShuffleNetV2: a unit with two branches, then units that hand half of their channels on.

    reads: what becomes of the last result.
    """
    layers = [conv(3, channels, 1), conv(3, channels, 1)]
    for _ in range(blocks):
        layers += [conv(channels, channels, 1), nn.Conv2d(channels, channels, 3, padding=1, groups=channels), conv(channels, channels, 1)]

    def stage(m, x):
        y = shuffle(torch.cat([F.relu(m[0](x)), F.relu(m[1](x))], 1), 2)
        for first in range(2, 2 + 3 * blocks, 3):
            kept, y = y.chunk(2, 1)
            y = F.relu(m[first + 2](m[first + 1](F.relu(m[first](y)))))
            y = shuffle(torch.cat([kept, y], 1), 2)
        return reads(m[2 + 3 * blocks :], y)

    return stage, layers


@pytest.mark.parametrize("channels, blocks", [(24, 1), (58, 3), (60, 4)])
def test_shuffled_halves_are_stored_by_who_reads_them(channels, blocks):
    """No channel is copied, and each block reads its own ones alone."""
    stage, layers = shuffled_stage(channels, blocks, lambda m, y: m[0](y) + m[2](m[1](y)))
    depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
    last = [conv(2 * channels, 5, 1), depthwise, conv(2 * channels, 5, 1)]
    graph = check(Fn(stage, *layers, *last), (3, 28, 28))
    assert {n.op for n in graph.nodes} == {"conv", "depthwise", "concat"}
    for n in graph.nodes:
        layer = n.source[0] if n.op == "conv" else ""
        assert not layer or layer.startswith("l"), n.name  # of the module's own
    operands = {n.source[0]: graph.shapes[n.main][0] for n in graph.nodes if n.op == "conv"}
    assert all(operands[f"l{i}"] == channels for i in range(2, 2 + 3 * blocks, 3))


@pytest.mark.parametrize("channels, blocks", [(2, 1), (5, 3), (17, 2), (33, 4), (70, 2)])
def test_shuffled_halves_of_any_number(channels, blocks, monkeypatch):
    """Of maps so small that it would cost more, too."""
    monkeypatch.setattr("calib.frontend.shuffles.LAYER", 0)
    stage, layers = shuffled_stage(channels, blocks, lambda m, y: m[0](y))
    check(Fn(stage, *layers, conv(2 * channels, 5, 3)))
    stage, layers = shuffled_stage(channels, blocks, lambda m, y: m[1](m[0](y)))
    depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
    check(Fn(stage, *layers, depthwise, nn.MaxPool2d(2)))


def test_shuffled_halves_that_something_else_reads():
    stage, layers = shuffled_stage(24, 2, lambda m, y: F.relu(y))
    check(Fn(stage, *layers))
    stage, layers = shuffled_stage(24, 2, lambda m, y: m[0](F.max_pool2d(y, 2)) + 1)
    check(Fn(stage, *layers, conv(48, 5, 1)))
    stage, layers = shuffled_stage(17, 2, lambda m, y: m[0](y[:, :20]))
    check(Fn(stage, *layers, conv(20, 5, 1)))


CHANNELS_ALONE = {
    "gray": lambda x: (0.3 * x[:, 0] + 0.6 * x[:, 1] + 0.1 * x[:, 2]).unsqueeze(1).repeat(1, 3, 1, 1),
    "normalised one by one": lambda x: torch.stack([(x[:, c] - 0.1 * c) / (1 + c) for c in range(3)], 1),
    "differences": lambda x: torch.stack([x[:, 0] - x[:, 1], F.relu(x[:, 2]), (y := x[:, 1]) * y], 1),
    "every other pixel": lambda x: F.pad(torch.stack([x[:, 0, ::2, 1::2] + 1, x[:, 2, ::2, ::2], x[:, 1, ::2, ::2]], 1), (2, 2, 2, 2)),
}


@pytest.mark.parametrize("case", CHANNELS_ALONE)
def test_single_channels_without_their_axis(case):
    """Of such a value axis 1 is a picture's rows, and no channels."""
    check(Fn(lambda m, x: m[0](CHANNELS_ALONE[case](x)), conv(3)))


def test_a_pixel_shuffle_that_is_limited():
    """As the last step of a network that makes pictures larger."""
    module = lively(Fn(lambda m, x: F.pixel_shuffle(m[0](x), 2).clamp(0, 1), conv(3, 12)))
    network = import_module(module, (3, 9, 8), "net")
    images = torch.randn(2, 3, 9, 8)
    found = float_model.returned(network, images)
    np.testing.assert_allclose(found.reshape(2, 3, 14, 12), module(images).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_frames_as_channels():
    """Differences of frames, and frames that hand channels on to the next ones (a temporal shift)."""

    def differences(m, x):
        frames = x.view(x.shape[0], 4, 3, 9, 8)
        return m[0]((frames[:, 1:] - frames[:, :-1]).flatten(1, 2))

    def shifted(m, x):
        frames = x.view(x.shape[0], 4, 3, 9, 8)
        moved = torch.zeros_like(frames)
        moved[:, :-1, :1], moved[:, 1:, 1:2], moved[:, :, 2:] = frames[:, 1:, :1], frames[:, :-1, 1:2], frames[:, :, 2:]
        return m[1](moved.flatten(1, 2))

    check(Fn(differences, conv(9)), (12, 9, 8))
    check(Fn(shifted, conv(), conv(12)), (12, 9, 8), operators="conv")
