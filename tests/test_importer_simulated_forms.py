"""Every form that is lowered at import, each an output of one network: golden model, C simulation and simulated board agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from support.boards import BOARD
from support.deployed import put_references
from support.imported import lively
from support.quantised import quantised
from support.small_modules import Fn, conv
from torch import nn
from torch.nn.utils import parametrizations

from bfp import golden
from bfp.artifact_file import load, save
from calib.network import float_model
from calib.options import BfpOptions
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine, run_testbench, write_golden
from host.__main__ import main as host

C, SIZE = 12, (8, 10)  # channels of the map that most forms read; rows and columns
LEAST_DB = 20
PER_CHANNEL = torch.linspace(0.5, 1.5, C).view(C, 1, 1)
torch.manual_seed(0)  # weights are drawn here, whatever was drawn before


def pruned(layer):
    torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    return layer


class Frozen(nn.Module):
    """Batch norm whose numbers are buffers."""

    def __init__(self):
        super().__init__()
        for name in ("weight", "bias", "mean", "var"):
            self.register_buffer(name, torch.rand(C) + 0.5)

    def forward(self, x):
        scale = self.weight * (self.var + 1e-5).rsqrt()
        return x * scale.view(1, -1, 1, 1) + (self.bias - self.mean * scale).view(1, -1, 1, 1)


def in_place(m, y):
    z = m[0](y)
    z[:, 4:8] = F.relu(z[:, 4:8])
    z[:, :, 0] = 0
    z[:, 10:] *= 2
    return m[1](z)


def picture_in_place(m, x):
    x = x.clone()
    for c in range(3):
        x[:, c] = (x[:, c] - 0.1 * c) / (0.5 + 0.1 * c)
    return m[0](x)


def grown(m, y):
    features = [y, m[0](y)]
    features.append(m[1](torch.cat(features, 1)))
    return m[2](torch.cat(features, 1))


def coordinates(m, y):
    """Means of rows and of columns side by side, then gates of each."""
    rows, columns = y.mean(3, keepdim=True), y.mean(2, keepdim=True).transpose(2, 3)
    rows, columns = F.hardswish(m[0](torch.cat([rows, columns], 2))).split(SIZE, 2)
    return m[3](y * m[1](columns.transpose(2, 3)).sigmoid() * m[2](rows).sigmoid())


def same(k=3, **words):
    return nn.Conv2d(C, C, k, padding=k // 2, **words)


def last(channels=C):
    return nn.Conv2d(channels, 4, 1)


# of the picture
PICTURE = {
    "normalised by numbers": Fn(lambda m, x: m[0]((x - 0.2) / 0.4), conv()),
    "normalised by buffers": Fn(lambda m, x: m[0]((x - PER_CHANNEL[:3]) / PER_CHANNEL[3:6]), conv(padding=1)),
    "normalised one by one": Fn(lambda m, x: m[0](torch.stack([x[:, c] / (1 + c) + 0.1 for c in range(3)], 1)), conv()),
    "normalised in place": Fn(picture_in_place, conv()),
    "batch norm first": nn.Sequential(nn.BatchNorm2d(3), conv()),
    "reflected": conv(padding=1, padding_mode="reflect"),
    "a number around": Fn(lambda m, x: m[0](F.pad(x, (1, 1, 0, 2), value=0.5)), conv()),
    "slices of pixels": Fn(lambda m, x: m[0](torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2]], 1)), conv(6, 4, 1)),
    "gray": Fn(lambda m, x: m[0]((0.3 * x[:, 0] + 0.6 * x[:, 1] + 0.1 * x[:, 2]).unsqueeze(1)), conv(1)),
    "order of colours": Fn(lambda m, x: m[0](x[:, [2, 1, 0]]), conv()),
    "difference to the picture": Fn(lambda m, x: x - m[0](x), conv(3, 3, padding=1)),
}
# of a map of C channels, none of them negative
MAP = {
    "weight norm": parametrizations.weight_norm(conv(C)),
    "spectral norm": parametrizations.spectral_norm(conv(C)),
    "pruned": pruned(conv(C)),
    "frozen batch norm": Fn(lambda m, y: m[1](m[0](y)), same(), Frozen()),
    "constants": Fn(lambda m, y: (1 - m[0](y) * PER_CHANNEL) / 2 + 0.25, same()),
    "chunks": Fn(lambda m, y: m[0](y[:, :6]) + m[1](y.chunk(2, 1)[1]), conv(6), conv(6)),
    "split": Fn(lambda m, y: torch.cat([m[0](p) for p in y.split(4, 1)], 1), conv(4)),
    "selected": Fn(lambda m, y: m[0](y.unflatten(1, (6, 2)).select(2, 1)), conv(6)),
    "every other": Fn(lambda m, y: m[0](y[:, 1::2]), conv(6)),
    "turned round": Fn(lambda m, y: m[0](m[1](y).flip(1).roll(1, 1)), conv(C), same()),
    "rolled rows": Fn(lambda m, y: m[0](y.roll(2, 2)), conv(C)),
    "shuffled": Fn(lambda m, y: m[1](F.channel_shuffle(m[0](y), 3)), same(), conv(C)),
    "pixels first, linear": Fn(lambda m, y: m[0](y.permute(0, 2, 3, 1).flatten(1)), nn.Linear(C * 80, 5)),
    "transposed, linear": Fn(lambda m, y: m[0](y.transpose(1, 3).reshape(-1, C * 80)), nn.Linear(C * 80, 5)),
    "linear of every pixel": Fn(lambda m, y: m[0](y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.Linear(C, 4)),
    "matrix": Fn(lambda m, y: y.mean((2, 3)) @ m[0].weight.t() + 1, nn.Linear(C, 5)),
    "difference": Fn(lambda m, y: y - m[0](y), same()),
    "sum of a list": Fn(lambda m, y: sum([m[0](y), m[1](y), y, 1]), same(), same(1)),
    "stacked": Fn(lambda m, y: torch.stack([m[0](y), y]).sum(0), same()),
    "largest": Fn(lambda m, y: m[0](y.amax((2, 3))), nn.Linear(C, 4)),
    "means of rows and columns": Fn(lambda m, y: m[0](y.mean(3).mean(2)), nn.Linear(C, 4)),
    "dropouts": nn.Sequential(nn.AlphaDropout(), nn.Dropout2d(), conv(C), nn.Threshold(0, 0)),
    "threshold": Fn(lambda m, y: F.threshold(m[0](y), 0.25, 0.25), conv(C)),
    "maximum": Fn(lambda m, y: torch.maximum(m[0](y), torch.zeros(())), conv(C)),
    "least and most": Fn(lambda m, y: m[1](m[0](y).clamp(-1, 1.5)), same(), conv(C)),
    "limit of each channel": Fn(lambda m, y: m[0](torch.minimum(y, PER_CHANNEL)), conv(C)),
    "hard": Fn(lambda m, y: m[2](F.hardtanh(m[0](y)) + F.hardsigmoid(m[1](y))), same(), same(), conv(C)),
    "cells that overlap": nn.Sequential(nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten(), nn.Linear(C * 12, 4)),
    "more cells than rows": nn.Sequential(nn.AdaptiveMaxPool2d((9, 5)), nn.Flatten(), nn.Linear(C * 45, 4)),
    "one axis": Fn(lambda m, y: F.avg_pool1d(F.relu(m[0](y.mean(2))), 3, 2), nn.Conv1d(C, 8, 3, padding=1)),
    "branches": Fn(lambda m, y: F.relu(m[0](y) + m[1](y) + m[2](y)), same(), same(1), nn.BatchNorm2d(C)),
    "grown": Fn(grown, same(), conv(2 * C, C, 1), last(3 * C)),
    "groups": nn.Sequential(nn.Conv2d(C, 2 * C, 3, groups=4), nn.ReLU(), last(2 * C)),
    "multiplier": nn.Sequential(nn.Conv2d(C, 2 * C, 3, groups=C), nn.ReLU(), last(2 * C)),
    "hard swish": Fn(lambda m, y: m[1]((z := m[0](y)) * F.relu6(z + 3) / 6), same(), last()),
    "mish": Fn(lambda m, y: m[1]((z := m[0](y)) * torch.tanh(F.softplus(z))), same(), last()),
    "gelu": Fn(lambda m, y: m[1](0.5 * (z := m[0](y)) * (1 + torch.erf(z / 2**0.5))), same(), last()),
    "quick gelu": Fn(lambda m, y: m[1]((z := m[0](y)) * torch.sigmoid(1.702 * z)), same(), last()),
    "a factor of a function": Fn(lambda m, y: (z := m[0](y)) * F.hardtanh(z + 3, 0, 6), same()),
    "a limit behind a table's pool": Fn(lambda m, y: F.relu6(F.max_pool2d(F.leaky_relu(m[0](y), 0.1), 2)), same()),
    "cropped pixels": Fn(lambda m, y: m[0](F.pixel_shuffle(y, 2)[:, :, 1:, :-1]), conv(C // 4, 4, 3)),
    "softsign": Fn(lambda m, y: F.softsign(m[0](y)), same()),
    "written in place": Fn(in_place, same(), last()),
    "rows one below the other": Fn(lambda m, y: m[0](torch.cat([y, y[:, :, :3]], 2)), conv(C)),
    "rows of two maps": Fn(lambda m, y: m[1](torch.cat([m[0](y), y], 2)), same(), conv(C)),
    "zeros as channels": Fn(lambda m, y: m[0](torch.cat([y, torch.zeros_like(y[:, :2])], 1)), conv(C + 2)),
    "scaled behind padding": Fn(lambda m, y: m[1](m[0](F.pad(y, (1, 2, 0, 1)))), nn.BatchNorm2d(C), conv(C)),
    "squeezed": Fn(lambda m, y: m[0](F.adaptive_avg_pool2d(y, 1).squeeze()), nn.Linear(C, 4)),
    "one value": Fn(lambda m, y: m[0](y.mean((2, 3)))[:, 0], nn.Linear(C, 1)),
    "square": Fn(lambda m, y: m[0](y) ** 2, same(1)),
    "generalised mean": Fn(lambda m, y: m[0](y.clamp(min=1e-6).pow(2.7).mean((2, 3)).pow(1 / 2.7)), nn.Linear(C, 4)),
    "coordinates": Fn(coordinates, conv(C, 6, 1), conv(6, C, 1), conv(6, C, 1), last()),
    "rows as columns": Fn(lambda m, y: m[0](y.mT).mT, conv(C, 4, (3, 2))),
    "covered cells": Fn(lambda m, y: m[1](F.adaptive_avg_pool2d(F.max_pool2d(y, (4, 3)), 5)), nn.Identity(), conv(C, 4, 5)),
}


class Every(nn.Module):
    """All forms beside one another, behind one convolution where they are of a map."""

    def __init__(self):
        super().__init__()
        self.first = conv(3, C, 3, padding=1)
        self.of_picture, self.of_map = nn.ModuleList(PICTURE.values()), nn.ModuleList(MAP.values())

    def forward(self, x):
        y = F.relu(self.first(x))
        found = {name: form(x) for name, form in zip(PICTURE, self.of_picture)}
        return {**found, **{name: form(y) for name, form in zip(MAP, self.of_map)}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The artifact with the network and the images that it was calibrated with, and its build folder."""
    folder = tmp_path_factory.mktemp("forms")
    artifact, network, images = quantised(lively(Every()), (3, *SIZE), BfpOptions(weight_group=16, activation_group=16))
    save(artifact, folder / "artifact.npz")
    artifact = load(folder / "artifact.npz")
    program, identity = generate([artifact], EngineOptions(), BOARD, folder)
    put_references(folder / "deploy", artifact)
    bench, _ = compile_engine(folder / "generated", folder / "csim", optimise=("-O1",))
    return artifact, network, images, folder, program, identity, bench


def test_every_output_is_near_the_float_network(made):
    artifact, network, images = made[:3]
    reference = artifact.graph.output_parts(float_model.logits(network, images).double().numpy())
    found = artifact.graph.output_parts(golden.logits(artifact, golden.quantise_input(artifact, images.numpy())))
    assert len(found) == len(PICTURE) + len(MAP)
    for name, wanted in reference.items():
        noise = ((wanted - found[name]) ** 2).sum()
        assert 10 * np.log10((wanted**2).sum() / max(noise, 1e-30)) > LEAST_DB, name


def test_the_simulation_is_bit_equal(made):
    artifact, _, images, folder, program, identity, bench = made
    write_golden(folder / "golden.bin", program, identity, [golden.quantise_input(artifact, images.numpy())[:1]])
    result = run_testbench(bench, folder / "deploy" / "weights.bin", folder / "golden.bin", folder / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)


def test_the_simulated_board_is_bit_equal(made, capsys):
    folder = made[3]
    assert host(["check", str(folder / "deploy"), "--artifact", str(folder / "deploy" / "artifact.npz"), "--samples",
                 str(folder / "deploy" / "samples.npz"), "--simulate", str(folder / "csim" / "libengine.so")]) == 0  # fmt: skip
    assert "0 mismatches (bit-equal)" in capsys.readouterr().out
