"""Axes that are read as others: pixels of a channel by a linear layer, channels by a pool, parts of channels by a batch norm."""

from __future__ import annotations

import pytest
import torch
from support.imported import check, lively
from support.small_modules import Fn, conv
from torch import nn

from bfp.errors import BfpError
from calib.frontend.importer import import_module


def test_a_linear_layer_over_the_pixels_of_every_channel():
    module = Fn(lambda m, x: m[1](m[0](x).flatten(2)), conv(3, 4, 3), nn.Linear(42, 5))
    check(module, (3, 9, 8))
    check(Fn(lambda m, x: m[1](m[0](x).mT.flatten(2)), conv(3, 4, 3), nn.Linear(42, 1, bias=False)), (3, 9, 8))
    mixed = Fn(lambda m, x: m[2](m[1](m[0](x).flatten(2)).relu()).reshape(-1, 4, 7, 6), conv(3, 4, 3), nn.Linear(42, 3), nn.Linear(3, 42))
    check(Fn(lambda m, x: m[1](m[0](x)), mixed, conv(4, 2, 1)), (3, 9, 8))


def test_a_batch_norm_of_parts_of_channels():
    """As sub-spectral normalisation has it, and a generator that makes a map of a vector."""
    module = Fn(lambda m, x: m[2](m[1](m[0](x).reshape(-1, 12, 2, 5)).reshape(-1, 4, 6, 5)), conv(3, 4, 1), nn.BatchNorm2d(12), conv(4, 2, 1))
    check(module, (3, 6, 5))
    vector = Fn(lambda m, x: m[2](m[1](m[0](x.mean((2, 3))).reshape(-1, 4, 3, 2))), nn.Linear(3, 24), nn.BatchNorm2d(4), conv(4, 2, 1))
    check(vector, (3, 6, 5))


def test_a_product_with_channels_that_are_repeated():
    module = Fn(lambda m, x: (m[0](x).reshape(-1, 2, 4, 9, 8) * m[1](x)[:, None]).reshape(-1, 8, 9, 8), conv(3, 8, 1), conv(3, 4, 1))
    check(Fn(lambda m, x: m[1](m[0](x)), module, conv(8, 3, 3)), (3, 9, 8))


@pytest.mark.parametrize("kernel, stride", [((1, 3, 3), (2, 1, 2)), ((3, 2, 2), (2, 2, 1)), ((2, 1, 1), None)])
def test_a_pool_over_channels(kernel, stride):
    """What a three-dimensional pool makes of a batch of maps: a film of their channels."""
    check(Fn(lambda m, x: m[2](m[1](m[0](x))), conv(3, 8, 3), nn.MaxPool3d(kernel, stride), nn.ReLU()), (3, 9, 8), batch=1)
    module = Fn(lambda m, x: m[1](m[0](x)), conv(3, 8, 3), nn.MaxPool3d((2, 3, 3), padding=1))
    with pytest.raises(BfpError, match="max pooling over channels with padding"):
        import_module(lively(module), (3, 9, 8), "net")


def test_a_constant_in_the_shape_of_a_map():
    scale = torch.rand(4)
    module = Fn(lambda m, x: scale[None, :, None, None].expand_as(m[0](x)) * m[0](x), conv(3, 4, 3))
    check(module, (3, 9, 8))


@pytest.mark.parametrize("pool", [nn.AvgPool2d((3, 1), (2, 1)), nn.MaxPool2d((2, 3), (1, 2), (1, 0)), nn.AvgPool2d(2, ceil_mode=True)])
def test_a_map_whose_rows_are_columns(pool):
    """As networks of electrodes and time have it: layers and pools of the turned map are those of the map, turned."""
    module = Fn(lambda m, x: m[3](m[2](m[0](x[:, :1].mT)) ** 2).mean((2, 3)), conv(1, 4, (3, 2)), nn.Identity(), pool, conv(4, 2, (2, 1)))
    check(module, (3, 9, 8))
    sequence = Fn(lambda m, x: m[1](m[0](x[:, None].permute(0, 1, 3, 2)).relu()).mean((2, 3)), conv(1, 4, (5, 1)), conv(4, 2, (3, 1)))
    check(sequence, (6, 12))
