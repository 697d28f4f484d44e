"""Detectors that decode their own boxes: what the graph has behind its last convolution is the host's, as torch computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import lively
from support.quantised import quantised
from support.small_modules import Fn, conv
from torch import nn

from bfp import golden, host_operators
from bfp.artifact_file import load, save
from bfp.errors import BfpError
from bfp.host_columns import bits_of, values_of
from calib.frontend.importer import import_module
from calib.network import float_model

A, K, H, W = 3, 7, 7, 6  # anchors, numbers of a row, rows and columns of the map
STRIDE = 8.0
ANCHORS = torch.tensor([[10.0, 13], [16, 30], [33.0, 23]])


def grid(offset=0.0):
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return torch.stack([x, y], -1).float() + offset


def rows(y):
    return y.view(-1, A, K, H, W).permute(0, 1, 3, 4, 2)


def with_anchors(y):
    """As YOLOv5 decodes: sigmoid of everything, a grid, squares times anchors."""
    y = rows(y).sigmoid()
    xy = (y[..., 0:2] * 2 - 0.5 + grid()) * STRIDE
    wh = (y[..., 2:4] * 2) ** 2 * ANCHORS.view(1, A, 1, 1, 2)
    return torch.cat([xy, wh, y[..., 4:]], -1).reshape(-1, A * H * W, K)


def split(y):
    """As later versions write it: split, and pow; the grid is a constant of the whole shape."""
    xy, wh, scores = rows(y).sigmoid().split((2, 2, K - 4), 4)
    whole = grid(-0.5).expand(1, A, H, W, 2)
    xy = (xy * 2 + whole) * STRIDE
    wh = torch.pow(wh * 2, 2) * ANCHORS.view(1, A, 1, 1, 2).expand(1, A, H, W, 2)
    return torch.cat((xy, wh, scores), 4).view(-1, A * H * W, K)


def anchor_free(y):
    """As YOLOX decodes: flattened first, so that the grid's places come round, and the exponential of the sizes."""
    y = rows(y).reshape(-1, A * H * W, K)
    places = grid(0.5).view(1, H * W, 2).repeat(1, A, 1)
    return torch.cat([(y[..., :2] + places) * STRIDE, torch.exp(y[..., 2:4]) * STRIDE, y[..., 4:].sigmoid()], 2)


def relative(y):
    """Corners from the centre, in shares of the input; the order of axes stays the convolution's."""
    y = y.view(-1, A * K, H, W)[:, :K].sigmoid()
    x, other = (y[:, 0:1] + grid()[..., 0]) / W, (grid()[..., 1] + y[:, 1:2]) / H
    return torch.cat([x, other, torch.tanh(y[:, 2:4]), 1.0 * y[:, 4:]], 1)


def in_place(y):
    """As YOLOv5's first versions write their parts where they are."""
    y = rows(y).contiguous().sigmoid()
    y[..., 0:2] = (y[..., 0:2] * 2 - 0.5 + grid()) * STRIDE
    y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * ANCHORS.view(1, A, 1, 1, 2)
    return y.view(-1, A * H * W, K)


def in_place_twice(y):
    """As YOLOv3 does, parts of what was written included."""
    y = rows(y).contiguous()
    y[..., :2] = torch.sigmoid(y[..., :2]) + grid()
    y[..., 2:4] = torch.exp(y[..., 2:4]) * ANCHORS.view(1, A, 1, 1, 2) / STRIDE
    y[..., :4] *= STRIDE
    torch.sigmoid_(y[..., 4:])
    return y.view(-1, A * H * W, K)


class Scaled(nn.Module):
    """Constants as buffers, made in forward, and behind the concatenation."""

    def __init__(self):
        super().__init__()
        self.head = conv(3, A * K)
        self.register_buffer("anchors", ANCHORS / 4)

    def forward(self, x):
        y = rows(self.head(x)).sigmoid()
        places = torch.stack(torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")[::-1], -1)
        found = torch.cat([y[..., :2] - 0.5 + places, self.anchors[None, :, None, None] * y[..., 2:4], y[..., 4:]], -1)
        return found.flatten(1, 3) * torch.tensor([STRIDE, STRIDE, STRIDE, STRIDE, 1, 1, 1])


HEADS = (with_anchors, split, anchor_free, relative, in_place, in_place_twice)
CASES = {f.__name__: Fn(lambda m, x, f=f: f(m[0](x)), conv(3, A * K)) for f in HEADS} | {"scaled": Scaled()}


@pytest.mark.parametrize("case", CASES)
def test_graphs_that_decode_themselves(case, tmp_path):
    """The float network returns what torch does; so do artifact and file, as exactly as their mantissas allow."""
    module = lively(CASES[case])
    network = import_module(module, (3, H + 2, W + 2), "net")
    assert [node.op for node in network.graph.nodes] == ["conv"] and len(network.hosts[network.graph.output]) > 4
    torch.manual_seed(5)
    images = torch.randn(3, 3, H + 2, W + 2)
    wanted = module(images).detach().numpy()
    np.testing.assert_allclose(float_model.returned(network, images), wanted, rtol=1e-5, atol=1e-5)
    artifact, _, images = quantised(module, (3, H + 2, W + 2))
    wanted = module(images).detach().numpy()
    save(artifact, tmp_path / "a.npz")
    found = golden.returned(load(tmp_path / "a.npz"), golden.quantise_input(artifact, images.numpy()))
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_what_only_the_engine_needs_stays_the_engines():
    """Constants of channels without anything of the host's before them are folded into the convolution, as ever."""
    scale = torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1)
    module = lively(Fn(lambda m, x: m[0](x) * scale + 0.5, conv()))
    network = import_module(module, (3, 9, 8), "net")
    assert list(network.hosts.values()) == [("reshape.4.7.6",)] and len(network.graph.nodes) == 1
    behind = import_module(lively(Fn(lambda m, x: m[0](x).sigmoid() * scale + 0.5, conv())), (3, 9, 8), "net")
    assert len(behind.graph.nodes) == 1 and len(behind.hosts[behind.graph.output]) == 4


@pytest.mark.parametrize(
    "decode",
    [
        lambda y: torch.asinh(torch.cat([y[:, 2:].exp(), y[:, :2]], 1)),  # and a function that the host has not
        lambda y: y.sigmoid() * torch.rand(1, 4, 7, 6, generator=torch.Generator().manual_seed(0)),  # constants without a form
        lambda y: torch.fmod(1 / y.sigmoid(), 0.3),
    ],
)
def test_what_has_no_steps_is_refused(decode):
    with pytest.raises(BfpError, match="sigmoid|exp|cat|slice|asinh"):
        import_module(lively(Fn(lambda m, x: decode(m[0](x)), conv())), (3, 9, 8), "net")


def bits(*values):
    return ".".join(str(bits_of(v)) for v in values)


def test_steps_by_hand():
    x = np.arange(24, dtype=np.float64).reshape(1, 2, 4, 3)
    flat = x.reshape(1, 24)

    def done(*steps):
        return host_operators.apply(("reshape.2.4.3", *steps), flat)

    found = done(f"add_to.3.1.2.2.1.{bits(10, 20)}")  # along axis 2, of length four, the table comes round
    assert np.array_equal(found[..., 1] - x[..., 1], [[[10, 20, 10, 20]] * 2]) and np.array_equal(found[..., ::2], x[..., ::2])
    assert np.array_equal(done(f"multiply_by.2.0.4.2.2.{bits(2, 3)}"), x * np.array([2, 2, 3, 3])[:, None])
    assert np.array_equal(done(f"add_grid.1.0.1.2.2.2.{bits(0.5, 8)}")[0, 0], x[0, 0] + np.array([0.5, 0.5, 8.5, 8.5])[:, None])
    assert np.array_equal(done("square_of.1.1.2")[0, 1], x[0, 1] ** 2) and np.array_equal(done("square_of.1.1.2")[0, 0], x[0, 0])
    np.testing.assert_allclose(done("exp_of.3.0.3", "tanh_of.1.0.1")[0, 0], np.tanh(np.exp(x[0, 0])))
    assert np.array_equal(flat, np.arange(24)[None])  # what is given stays as it is
    assert values_of((bits_of(-0.1),))[0] == np.float32(-0.1)


@pytest.mark.parametrize(
    "step",
    [
        "sigmoid_of.0.0.1", "sigmoid_of.4.0.1", "sigmoid_of.1.1.1", "sigmoid_of.1.0.3", "sigmoid_of.1.0", "add_to.1.0.1.2.1",
        "add_to.1.0.1.0.1.0", "add_to.1.0.1.4.1.0", "add_to.1.0.1.2.0.0", f"add_to.1.0.1.2.1.{bits(float('nan'))}",
        f"multiply_by.1.0.1.2.1.{bits(float('inf'))}", "add_to.1.0.1.2.1.9999999999", "add_to.1.0.1.2.1." + ".".join("0" * 10),
        "add_grid.1.0.1.2.1.0.0.0", "add_grid.1.0.1.2.1.1.0", "add_grid.1.0.1.9.1.1.0.0",
    ],
)  # fmt: skip
def test_steps_that_do_not_fit_are_refused(step):
    with pytest.raises(BfpError, match="host operator .* does not"):
        host_operators.check(("reshape.2.4.3", step), 24, "net")
