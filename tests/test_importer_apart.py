"""Maps side by side that go through the same layers and are taken apart again, and maps whose rows and columns change places."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn, conv
from torch import nn

from bfp.errors import BfpError
from calib.frontend.importer import import_module


def coordinate(m, x):
    """Coordinate attention (Hou et al.): means of rows and of columns, one layer for both, gates along both axes."""
    n, c, h, w = x.size()
    y = m[0](x)
    rows, columns = F.adaptive_avg_pool2d(y, (None, 1)), F.adaptive_avg_pool2d(y, (1, None)).permute(0, 1, 3, 2)
    both = F.hardswish(m[2](m[1](torch.cat([rows, columns], dim=2))))
    rows, columns = torch.split(both, [h, w], dim=2)
    return y * m[3](columns.permute(0, 1, 3, 2)).sigmoid() * m[4](rows).sigmoid()


def by_hand(m, x):
    """An activation of two parts, a constant for each channel, slices instead of a split, one part twice."""
    a, b = m[0](x), F.max_pool2d(m[0](x), (1, 2))
    y = m[1](torch.cat([a, b], 3)) * torch.arange(1.0, 4).view(1, 3, 1, 1)
    y = y * F.relu6(y + 3) / 6  # of both at once
    return m[5](y[:, :, :, :8].relu()) + F.pad(m[5](y[:, :, :, 8:]) * 2, (0, 4))


def sequence(m, x):
    """Along one axis."""
    y = m[6](torch.cat([x.mean(2), x.amax(2)], 2))
    first, second = y.chunk(2, 2)
    return first.relu() * second


def turned(m, x):
    """Rows and columns change places in front of layers, and again behind them."""
    y = F.relu(m[2](m[7](m[0](x).transpose(2, 3))))
    return m[5](y.permute(0, 1, 3, 2))


FORMS = {f.__name__: f for f in (coordinate, by_hand, sequence, turned)}


def layers():
    kinds = conv(3, 6, 3, padding=1), conv(6, 3, 1), nn.BatchNorm2d(3), conv(3, 6, 1), conv(3, 6, 1), conv(3, 4, 3, padding=1)
    return (*kinds, nn.Conv1d(3, 5, 1), conv(6, 3, (5, 1), stride=(1, 2), padding=(2, 0)))


@pytest.mark.parametrize("case", FORMS)
def test_forms(case):
    graph = check(Fn(FORMS[case], *layers()), shape=(3, 9, 8))
    assert case == "turned" or sum(node.op == "conv" for node in graph.nodes) >= (2 if case == "sequence" else 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m[1](torch.cat([m[0](x), m[0](x)], 2))[:, :, 4:13],  # in other parts
        lambda m, x: m[5](m[1](torch.cat([m[0](x), m[0](x)], 2))).split([9, 9], 2)[1],  # a window sees both
        lambda m, x: (y := m[1](torch.cat([m[0](x), m[0](x)], 2))) * y.mean((2, 3), keepdim=True) + y.chunk(2, 2)[0].repeat(1, 1, 2, 1),
    ],
)
def test_what_sees_both_parts_is_left_as_it_is(function):
    graph = check(Fn(function, *layers()), shape=(3, 9, 8))
    assert any(node.op == "slice_pad" for node in graph.nodes)


def test_maps_that_turn_otherwise_are_refused():
    with pytest.raises(BfpError, match="rearranging"):
        import_module(Fn(lambda m, x: m[0](m[0](x)[:, :3].permute(0, 2, 1, 3)), conv(3, 9, 3, padding=1)).eval(), (3, 3, 9), "net")
