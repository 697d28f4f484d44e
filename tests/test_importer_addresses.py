"""Operators that differ in where values are read and written, against the modules themselves: dilation, any max pool."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn, conv
from torch import nn

from bfp import BfpError
from calib.frontend.importer import import_module

DILATED = {
    "both": conv(dilation=2),
    "one axis": conv(dilation=(1, 3), padding=(1, 3)),
    "same": conv(k=4, dilation=2, padding="same"),
    "stride": conv(dilation=2, stride=2, padding=3),
    "stride of its own": conv(dilation=3, stride=2, padding=3),
    "depthwise": nn.Conv2d(3, 3, 3, groups=3, dilation=2, padding=2),
    "grouped": nn.Sequential(conv(3, 8, 1), nn.Conv2d(8, 8, 3, groups=2, dilation=2, padding=2), nn.BatchNorm2d(8), nn.ReLU()),
    "padding larger than the map": conv(dilation=(7, 4), padding=(7, 4)),
    "only the middle meets the map": conv(dilation=12, padding=12),
    "transposed order": Fn(lambda m, x: m[0](x.flip(2)), conv(dilation=2)),
    "beside another": Fn(lambda m, x: m[0](x) + m[1](x), conv(dilation=2, padding=2), conv(padding=1)),
}


@pytest.mark.parametrize("case", DILATED)
def test_dilated_convolutions(case):
    graph = check(DILATED[case])
    if case == "only the middle meets the map":
        assert graph.nodes[0].window.kernel == graph.nodes[0].window.dilation == (1, 1)


def test_a_dilated_sequence():
    check(nn.Sequential(nn.Conv1d(4, 8, 3, padding=4, dilation=4), nn.MaxPool1d(3, 1, dilation=3)), (4, 20))


POOLS = {
    "dilated": nn.MaxPool2d(2, dilation=2),
    "dilated, ceil": nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
    "as SPP": Fn(lambda m, x: torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], 1)),
    "whole map": nn.MaxPool2d((9, 8)),
    "larger than the map": nn.MaxPool2d(15, 1, 7),
    "half the kernel": nn.MaxPool2d(4, 3, 2),
    "ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "ceil and padding": nn.MaxPool2d((4, 5), (3, 4), (2, 1), ceil_mode=True),
    "stride beyond the kernel": nn.MaxPool2d(2, 3),
    "with indices": nn.MaxPool2d(3, 2, return_indices=False),
}


@pytest.mark.parametrize("case", POOLS)
def test_max_pools(case):
    check(POOLS[case])


def test_a_window_that_sees_only_padding_is_refused():
    pool = nn.Sequential(nn.MaxPool2d(2, 1, 1, dilation=8))
    with pytest.raises(BfpError, match="layer 0 .*sees nothing but padding"):
        import_module(pool, (3, 7, 7), "net")


LARGER = {
    "nearest": Fn(lambda m, x: m[1](F.interpolate(m[0](x), scale_factor=2)), conv(), conv(4)),
    "nearest, factors apart": Fn(lambda m, x: m[1](F.interpolate(m[0](x), scale_factor=(3, 2))), conv(), conv(4)),
    "nearest by size": Fn(lambda m, x: m[1](F.interpolate(m[0](x), size=(14, 18))), conv(), conv(4)),
    "nearest of the input": Fn(lambda m, x: m[0](nn.Upsample(scale_factor=2)(x)), conv()),
    "nearest, rows alone": Fn(lambda m, x: m[1](m[0](x).repeat_interleave(2, 2)), conv(), conv(4)),
    "nearest by expansion": Fn(
        lambda m, x: m[1]((y := m[0](x))[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(y.shape[0], 4, 14, 12)),
        conv(), conv(4),
    ),
    "shuffle": Fn(lambda m, x: m[1](F.pixel_shuffle(m[0](x), 2)), conv(3, 20), conv(5)),
    "shuffle behind an activation": Fn(lambda m, x: m[1](F.pixel_shuffle(F.relu(m[0](x)), 3)), conv(3, 18), conv(2)),
    "shuffle before an activation": Fn(
        lambda m, x: m[1](F.relu(m[2](F.pixel_shuffle(m[0](x), 2)))), conv(3, 20), conv(5), nn.BatchNorm2d(5)
    ),
    "shuffle by hand": Fn(
        lambda m, x: m[1](m[0](x).reshape(-1, 2, 3, 5, 7, 6).permute(0, 3, 4, 1, 5, 2).reshape(-1, 5, 14, 18)), conv(3, 30), conv(5)
    ),
    "shuffle of the input": Fn(lambda m, x: m[0](F.pixel_shuffle(x, 2)), conv(3)),
    "shuffle, cropped": Fn(lambda m, x: m[1](F.pixel_shuffle(m[0](x), 2)[:, :, 1:-1, :-1]), conv(3, 20), conv(5)),
    "shuffle, cropped to one axis": Fn(lambda m, x: m[1](F.pixel_shuffle(m[0](x), 2)[:, 1:, 1:].amax(2).unsqueeze(2)), conv(3, 20), conv(4, 2, 1)),
    "there and back": Fn(lambda m, x: m[1](F.pixel_unshuffle(F.pixel_shuffle(m[0](x), 2), 2)), conv(3, 8), conv(8)),
    "sum with a skip": Fn(lambda m, x: m[0](x) + F.interpolate(m[1](m[0](x)), scale_factor=2), conv(12, 4, 1), nn.Conv2d(4, 4, 2, 2)),
    "bilinear": Fn(lambda m, x: m[1](nn.Upsample(scale_factor=2, mode="bilinear")(m[0](x))), conv(), conv(4)),
    "bilinear by 4": Fn(lambda m, x: m[1](F.interpolate(m[0](x), size=(28, 24), mode="bilinear")), conv(), conv(4)),
    "bilinear, factors apart": Fn(lambda m, x: m[1](F.interpolate(m[0](x), scale_factor=(4, 2), mode="bilinear")), conv(), conv(4)),
    "bilinear before a norm": nn.Sequential(conv(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.BatchNorm2d(4), nn.ReLU(), conv(4)),
    "bilinear before a table": nn.Sequential(conv(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.SiLU(), conv(4)),
    **{
        f"bilinear with corners by {factor}": Fn(
            lambda m, x, f=factor: m[1](F.interpolate(m[0](x), scale_factor=f, mode="bilinear", align_corners=True)), conv(), conv(4)
        )
        for factor in (2, 4, (3, 1), (1, 2), (2, 8))
    },
    "bilinear with corners to a size": Fn(
        lambda m, x: m[1](F.interpolate(m[0](x), size=(28, 24), mode="bilinear", align_corners=True)), conv(), conv(4)
    ),
    "bilinear with corners before a norm": nn.Sequential(
        conv(), nn.UpsamplingBilinear2d(scale_factor=2), nn.BatchNorm2d(4), nn.ReLU(), conv(4)
    ),
    "bilinear with corners before a table": nn.Sequential(conv(), nn.UpsamplingBilinear2d(scale_factor=2), nn.SiLU(), conv(4)),
    "bilinear with corners of a column": nn.Sequential(conv(3, 4, (1, 8)), nn.UpsamplingBilinear2d(scale_factor=2), conv(4, 5, 1)),
    **{
        f"bilinear by {factor}": Fn(lambda m, x, f=factor: m[1](F.interpolate(m[0](x), scale_factor=f, mode="bilinear")), conv(), conv(4))
        for factor in (3, 5, 8, (3, 2))
    },
    "bilinear to its own size": Fn(
        lambda m, x: m[1](F.interpolate(m[0](x), size=(7, 6), mode="bilinear", align_corners=True)), conv(), conv(4)
    ),
    **{
        f"bilinear to {size}{', with corners' if corners else ''}": Fn(
            lambda m, x, s=size, c=corners: m[1](F.interpolate(m[0](x), size=s, mode="bilinear", align_corners=c)), conv(), conv(4, 5, 1)
        )
        for size, corners in (
            ((13, 11), True), ((13, 11), False), ((25, 6), True), ((8, 7), False), ((7, 3), False), ((7, 2), False), ((4, 6), True),
            ((15, 13), False), ((14, 11), False),
        )
    },
    "bilinear to a half": nn.Sequential(conv(3, 4, (2, 3)), nn.Upsample(scale_factor=0.5, mode="bilinear"), conv(4, 5, 1)),
    "bilinear of one pixel": Fn(
        lambda m, x: m[1](torch.cat([x, F.interpolate(F.relu(m[0](x).mean((2, 3), keepdim=True)), size=x.shape[2:], mode="bilinear")], 1)),
        conv(), conv(7),
    ),
    "to a size that is no multiple": Fn(lambda m, x: m[1](F.interpolate(m[0](x), size=(9, 11))), conv(), conv(4)),
}
OPERATORS_OF = {
    "bilinear": "conv upsample_bilinear conv",
    "bilinear before a norm": "conv upsample_bilinear conv",
    "bilinear before a table": "conv upsample_bilinear identity lookup conv",
    "bilinear with corners by 2": "conv upsample_nearest interpolate interpolate interpolate interpolate conv",
    "bilinear with corners by (3, 1)": "conv upsample_nearest interpolate interpolate conv",
    "bilinear to its own size": "conv conv",
    "bilinear to (7, 2)": "conv slice_pad conv",
    "bilinear to (7, 3)": "conv avg_pool conv",
    "bilinear to (4, 6), with corners": "conv slice_pad conv",
    "bilinear to a half": "conv avg_pool conv",
    "nearest": "conv upsample_nearest conv",
    "shuffle": "conv depth_to_space conv",
    "shuffle before an activation": "conv depth_to_space conv",
    "shuffle by hand": "conv depth_to_space conv",
    "shuffle, cropped": "conv depth_to_space slice_pad conv",
    "there and back": "conv conv",
}


@pytest.mark.parametrize("case", LARGER)
def test_larger_maps(case):
    shape = (12, 8, 8) if case in ("shuffle of the input", "sum with a skip") else (3, 9, 8)
    check(LARGER[case], shape, OPERATORS_OF.get(case))


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("factor", [2, 3])
def test_longer_sequences(factor, corners):
    up = nn.Upsample(scale_factor=factor, mode="linear", align_corners=corners)
    check(nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), up, nn.Conv1d(6, 3, 3)), (4, 20))


def test_bilinear_upsampling_to_sizes_that_are_no_multiple_is_refused():
    for upsample in (nn.Upsample(size=(9, 11), mode="bilinear", align_corners=True), nn.Upsample(scale_factor=1.5, mode="bilinear")):
        with pytest.raises(BfpError, match="layer 1 .*before the network's end.*at the network's end the host does it"):
            import_module(nn.Sequential(conv(), upsample, conv(4)), (3, 9, 8), "net")


def up(*arguments, groups=1, **fields):
    """A transposed convolution between two others: its result is read on."""
    filters = arguments[1]
    return nn.Sequential(conv(3, arguments[0], 1), nn.ConvTranspose2d(*arguments, groups=groups, **fields), conv(filters, 5, 1))


TRANSPOSED = {
    "2 by 2": up(6, 4, 2, 2),
    "4 by 4": up(6, 4, 4, 2, padding=1),
    "3 by 3": up(6, 4, 3, 2, padding=1, output_padding=1),
    "an odd size": up(6, 4, 3, 2),
    "stride 1": up(6, 4, 3, 1, padding=1),
    "stride 3": up(6, 4, 5, 3, padding=1, output_padding=2),
    "stride 4 of 8": up(6, 4, 8, 4, padding=2),
    "strides apart": up(6, 4, (3, 4), (1, 2), padding=(1, 1)),
    "kernel below the stride": up(6, 4, 2, 3),
    "large padding": up(6, 4, 5, 2, padding=4),
    "depthwise": up(6, 6, 4, 2, padding=1, groups=6),
    "grouped": up(6, 4, 4, 2, padding=1, groups=2),
    "dilated": up(6, 4, 3, 2, padding=2, dilation=2),
    "dilated by three": up(6, 4, 3, 2, padding=2, output_padding=1, dilation=3),
    "without bias": up(6, 4, 2, 2, bias=False),
    "first of all": nn.Sequential(nn.ConvTranspose2d(3, 4, 4, 2, 1), conv(4, 5)),
    "normalised": nn.Sequential(
        conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 5)
    ),
    "normalised, of an odd size": nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.LeakyReLU(), conv(4, 5)),
    "a sum": Fn(lambda m, x: m[0](m[1](x)) + m[2](x), nn.ConvTranspose2d(6, 4, 2, 2), conv(3, 6, 2, stride=2), conv(3, 4, 1)),
}
FOLDED = {
    "2 by 2": "conv conv depth_to_space conv",
    "normalised": "conv conv conv conv conv concat depth_to_space conv",
    "normalised, of an odd size": "conv lookup conv lookup conv lookup conv lookup concat depth_to_space slice_pad conv",
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolutions(case):
    shape = (3, 8, 8) if case == "a sum" else (3, 9, 8)
    graph = check(TRANSPOSED[case], shape)
    if case in FOLDED:
        assert sorted(n.op for n in graph.nodes) == sorted(FOLDED[case].split())


def test_phases_multiply_each_weight_once():
    """As many products as weights meet pixels: none with a zero between these."""
    graph = check(up(6, 4, 4, 2, padding=1), (3, 9, 8))
    phases = [n for n in graph.nodes if n.op == "conv" and n.window.kernel == (2, 2)]
    assert len(phases) == 4 and sum(n.operator.macs(n, graph.shapes[n.main], graph.shapes[n.output]) for n in phases) == 9 * 8 * 16 * 24


def test_a_transposed_sequence():
    check(nn.Sequential(nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1), nn.ReLU(), nn.Conv1d(6, 3, 3)), (4, 20))
