"""Forms that are lowered to several nodes: broadcast operands, borders, parts one below the other, sums over channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn, conv
from torch import nn

from bfp.errors import BfpError
from calib.frontend.importer import import_module

VECTOR = [nn.Sequential(conv(), nn.Flatten(), nn.Linear(168, 1)), nn.Sequential(conv(), nn.Flatten(), nn.Linear(168, 5))]
SUMS = {
    "a pixel added to all": lambda m, x: m[0](x) + m[0](x).mean((2, 3), keepdim=True),
    "a row": lambda m, x: m[0](x) - m[0](x).mean(2, keepdim=True),
    "a column": lambda m, x: torch.maximum(m[0](x), m[0](x).mean(3, keepdim=True)),
    "both": lambda m, x: m[0](x).mean(2, keepdim=True) + m[0](x).mean(3, keepdim=True),
    "a channel": lambda m, x: torch.minimum(m[0](x), m[0](x)[:, 1:2]),
    "expanded": lambda m, x: m[0](x) + m[0](x).amax((2, 3), keepdim=True).expand_as(m[0](x)),
    "mean of the channels": lambda m, x: m[0](x).mean(1, keepdim=True),
    "sum of groups": lambda m, x: m[0](x).view(1, 2, 3, 7, 6).sum(2),
    "sum of everything": lambda m, x: m[0](x).sum((1, 2, 3))[:, None],
    "mean of channels and rows": lambda m, x: m[0](x).mean((1, 2)),
    "largest of three": lambda m, x: F.relu(m[0](x).view(1, 2, 3, 7, 6).amax(2)),
    "largest of two": lambda m, x: m[0](x).view(1, 2, 3, 7, 6).amax(1),
    "largest of all channels": lambda m, x: F.relu(m[0](x).max(1, keepdim=True)[0]),
}


@pytest.mark.parametrize("case", SUMS)
def test_broadcast_operands_and_reductions(case):
    check(Fn(SUMS[case], conv(3, 6)), batch=1)


def test_a_vector_less_its_mean():
    def forward(m, x):
        value, advantage = m[0](x), m[1](x)
        return value + advantage - advantage.mean(1, keepdim=True)

    check(Fn(forward, *VECTOR))


def test_a_map_beside_one_in_an_order_of_its_own():
    def forward(m, x):
        return m[2](torch.cat([F.pixel_shuffle(m[0](x), 2), m[1](F.interpolate(x, scale_factor=2))], 1))

    check(Fn(forward, conv(3, 80, 3, padding=1), conv(3, 3, 3, padding=1), conv(23)))


def test_numbers_of_channels_that_are_pixels_of_a_tensor():
    factors = torch.arange(1.0, 13).reshape(12, 1, 1) / 7
    check(Fn(lambda m, x: F.relu(F.pixel_unshuffle(x, 2) * factors)), shape=(3, 8, 6))


BORDERS = {
    "reflected": nn.Sequential(nn.ReflectionPad2d((1, 2, 3, 1)), conv()),
    "repeated": nn.Sequential(nn.ReplicationPad2d(2), conv()),
    "circular": nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    "rolled": Fn(lambda m, x: m[0](torch.roll(x, (1, 2), (2, 3))), conv()),
    "flipped": Fn(lambda m, x: m[0](x.flip(3)), conv()),
    "rows": Fn(lambda m, x: m[0](torch.cat([m[1](x), F.relu(x[:, :, 2:]), x[:, :, :1]], 2)), conv(), conv(3, 3, padding=1)),
    "columns": Fn(lambda m, x: m[0](torch.cat([m[1](x), torch.zeros(1, 3, 9, 2), x], 3)), conv(), conv(3, 3, padding=1)),
    "the same twice": Fn(lambda m, x: m[0](torch.cat([x, x], 2)), conv()),
    "a vector as a map": Fn(lambda m, x: m[1](F.relu(m[0](x.flatten(1))).view(1, 4, 3, 5)), nn.Linear(216, 60), conv(4, 2)),
    "channels as a sequence": Fn(lambda m, x: m[1](m[0](x).mean((2, 3))[:, None]), conv(3, 20), nn.Conv1d(1, 1, 3, padding=1)),
}


@pytest.mark.parametrize("case", BORDERS)
def test_pieces_side_by_side(case):
    check(BORDERS[case], batch=1)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("value", [float("-inf"), -1e38])
def test_the_least_value_around_what_is_max_pooled(ceil, value):
    pool = nn.MaxPool2d(3, 2, ceil_mode=ceil)
    graph = check(Fn(lambda m, x: m[1](F.pad(m[0](x), (1, 0, 2, 1), value=value)), conv(), pool), operators="conv max_pool")
    assert graph.nodes[-1].window.padding[:2] == (2, 1)


def test_the_least_value_around_anything_else():
    with pytest.raises(BfpError, match="padding with -inf is supported before max pooling alone"):
        import_module(Fn(lambda m, x: m[0](F.pad(x, (1, 1), value=float("-inf"))), conv()), (3, 9, 8), "net")


def test_vectors_of_maps_of_several_sizes():
    pyramid = Fn(
        lambda m, x: m[0](torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in (4, 2, 1)], 1)), nn.Linear(63, 4)
    )
    check(pyramid)


MATRIX = nn.Linear(4, 5, bias=False)
PRODUCTS = {
    "on the right": lambda m, x: m[0](x).mean((2, 3)) @ m[1].weight.t(),
    "on the left": lambda m, x: (m[1].weight @ m[0](x).flatten(2)).view(1, 5, 7, 6),
    "with a vector": lambda m, x: (m[0](x).mean((2, 3)) @ m[1].weight[0])[:, None],
    "with a bias": lambda m, x: torch.addmm(m[1].weight[:, 0], m[0](x).mean((2, 3)), m[1].weight.t(), beta=2, alpha=0.5),
    "every pixel": lambda m, x: F.linear(m[0](x).permute(0, 2, 3, 1), m[1].weight).permute(0, 3, 1, 2),
    "every column": lambda m, x: F.linear(m[0](x).permute(0, 3, 1, 2).flatten(2), m[1].weight.repeat(1, 7)).permute(0, 2, 1),
    "every row": lambda m, x: F.linear(m[0](x).transpose(1, 2).flatten(2), m[1].weight.repeat(1, 6)).mT,
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_matrix_products(case):
    check(Fn(PRODUCTS[case], conv(), MATRIX), batch=1)


def test_products_of_two_computed_matrices_are_refused():
    with pytest.raises(BfpError, match="matrix product of two values"):
        import_module(Fn(lambda m, x: x.flatten(2) @ x.flatten(2).mT), (3, 9, 8), "net")


def test_what_is_spread_keeps_its_values():
    """A border or a broadcast operand changes no value, so that its nodes have the exponents of what they copy."""
    graph = check(nn.Sequential(nn.ReflectionPad2d(1), nn.ReLU()))
    assert {n.op for n in graph.nodes} <= {"slice_pad", "add", "identity"}
    assert np.prod(graph.shapes[graph.output]) == 3 * 11 * 10
