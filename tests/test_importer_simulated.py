"""What the importer lowers to other operators, from module to C simulation: bit-equal, and near the float network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.engines import ENGINES, engine_options
from support.imported import lively
from support.quantised import noise_db, quantised
from support.small_modules import Fn, conv
from torch import nn

from bfp import golden
from calib.options import BfpOptions
from codegen.generate import generate
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

torch.manual_seed(0)  # weights are drawn here, whatever was drawn before
LINE = nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3), nn.AvgPool1d(3, 2, 1))
MODULES = {
    "groups": nn.Sequential(conv(3, 48, 1), nn.ReLU(), nn.Conv2d(48, 96, 3, padding=1, groups=12), nn.ReLU(), conv(96, 8, 1)),
    "multiplier": nn.Sequential(conv(3, 20), nn.Conv2d(20, 60, 3, padding=1, groups=20), nn.ReLU6(), conv(60, 8, 1)),
    "shuffle": Fn(lambda m, x: m[1](F.channel_shuffle(F.relu(m[0](x)), 3)), conv(3, 24), conv(24, 9)),
    "parts": Fn(lambda m, x: m[1](torch.maximum(*m[0](x).chunk(2, 1))), conv(3, 48), conv(24, 9)),
    "limits": Fn(lambda m, x: m[0](x).clamp(0, 1) - x, conv(3, 3, padding=1)),
    "mean cells": nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5)),
    "largest cells": nn.Sequential(conv(3, 8), nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(128, 5)),
    "one axis": Fn(lambda m, x: m[1](m[0](x).squeeze(2)), conv(3, 3, (8, 1)), LINE),
    "space to depth": Fn(lambda m, x: m[0](F.pixel_unshuffle(x, 2)), conv(12)),
    "constants": Fn(lambda m, x: m[0](F.hardsigmoid(x).mean(3).mean(2) * 3 - 1), nn.Linear(3, 4)),
    "dilated": nn.Sequential(conv(3, 20, dilation=2, padding=2), nn.ReLU(), conv(20, 9, dilation=(6, 7), padding=(6, 7))),
    "pyramid of pools": Fn(
        lambda m, x: m[1](torch.cat([y := F.relu(m[0](x)), *(F.max_pool2d(y, k, 1, k // 2) for k in (5, 9, 13))], 1)),
        conv(3, 20), conv(80, 5, 1),
    ),
    "frames": Fn(
        lambda m, x: m[0](x[:, None]).flatten(1, 2),
        nn.Sequential(
            nn.Conv3d(1, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(), nn.MaxPool3d((2, 2, 2), (1, 2, 2)),
            nn.Conv3d(16, 20, (2, 3, 3)), nn.AvgPool3d((1, 2, 1)),
        ),
    ),
    "squeeze and excitation": Fn(
        lambda m, x: m[3]((y := F.silu(m[0](x))) * torch.sigmoid(m[2](F.relu(m[1](y.mean((2, 3), keepdim=True)))))),
        conv(3, 20), conv(20, 6, 1), conv(6, 20, 1), conv(20, 9, 1),
    ),
    "a gate a pixel": Fn(lambda m, x: torch.minimum(y := m[0](x), m[1](y)) * F.hardsigmoid(m[2](y)), conv(3, 20), conv(20, 1, 1), conv(20, 1, 1)),
    "slopes": Fn(lambda m, x: m[1](F.prelu(m[0](x), torch.linspace(-0.5, 1.5, 20))), conv(3, 20), conv(20, 9, 1)),
    "nearest": Fn(lambda m, x: m[2](F.relu(m[0](x)) + F.interpolate(m[1](x), scale_factor=2)), conv(3, 20, padding=1), conv(3, 20, 2, stride=2), conv(20, 5)),
    "shuffle up": Fn(lambda m, x: m[1](F.relu(F.pixel_shuffle(m[0](x), 2))), conv(3, 80), conv(20, 5)),
    "bilinear": Fn(
        lambda m, x: m[2](F.silu(F.interpolate(F.relu(m[0](x)), scale_factor=2, mode="bilinear")) + F.relu(m[1](x))),
        conv(3, 20, 2, stride=2), conv(3, 20, 1), conv(20, 5),
    ),
    "bilinear with corners": Fn(
        lambda m, x: m[2](F.silu(F.interpolate(F.relu(m[0](x)), scale_factor=2, mode="bilinear", align_corners=True)) + F.relu(m[1](x))),
        conv(3, 20, 2, stride=2), conv(3, 20, 1), conv(20, 5),
    ),
    "bilinear by three beside a mean": Fn(
        lambda m, x: m[1]((y := F.interpolate(m[0](x), scale_factor=3, mode="bilinear")) * y.mean((2, 3), keepdim=True)),
        conv(3, 20), conv(20, 5, 1),
    ),
    "transposed": nn.Sequential(
        conv(3, 20), nn.BatchNorm2d(20), nn.ReLU(), nn.ConvTranspose2d(20, 12, 4, 2, 1), nn.BatchNorm2d(12), nn.ReLU(), conv(12, 5)
    ),
    "transposed by its kernel": nn.Sequential(conv(3, 20), nn.ReLU(), nn.ConvTranspose2d(20, 20, 2, 2), nn.SiLU(), conv(20, 5)),
    "transposed, depthwise": nn.Sequential(conv(3, 20), nn.ReLU(), nn.ConvTranspose2d(20, 20, 3, 2, groups=20), conv(20, 5)),
    "branches": Fn(lambda m, x: F.relu(m[0](x) + m[1](x) - m[2](x)), conv(padding=1), conv(k=1), conv(k=1)),
}
LEAST_DB = 25


def unequal_parts(m, x):
    """Slices of ten and thirty channels, which share no memory word, and of what a pool makes."""
    a, b = F.relu(m[0](x)).split([10, 30], 1)
    pooled = F.max_pool2d(m[3](torch.cat([m[1](a), m[2](b)], 1)), 2)
    return m[4](pooled[:, :16]) + m[5](pooled[:, 16:])


PARTS = [conv(3, 40), conv(10, 6), nn.Conv2d(30, 30, 3, groups=30), conv(36, 35, 1), conv(16, 5, 1), conv(19, 5, 3, padding=1)]
MODULES["unequal parts"] = Fn(unequal_parts, *PARTS)


def halves_handed_on(m, x):
    """Two units of ShuffleNetV2 behind one that makes both halves."""
    y = F.channel_shuffle(torch.cat([F.relu(m[0](x)), F.relu(m[1](x))], 1), 2)
    for first in (2, 5):
        kept, y = y.chunk(2, 1)
        y = F.relu(m[first + 2](m[first + 1](F.relu(m[first](y)))))
        y = F.channel_shuffle(torch.cat([kept, y], 1), 2)
    return m[8](y)


UNIT = lambda: [conv(58, 58, 1), nn.Conv2d(58, 58, 3, padding=1, groups=58), conv(58, 58, 1)]
MODULES["halves handed on"] = Fn(halves_handed_on, conv(3, 58), conv(3, 58), *UNIT(), *UNIT(), conv(116, 5, 1))


@pytest.mark.parametrize(
    "engine", [ENGINES[0], pytest.param(ENGINES[1], marks=pytest.mark.heavy)], ids=["16 lanes", "4 lanes"]
)
def test_lowered_modules_are_bit_equal(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("calib.frontend.shuffles.LAYER", 0)  # of maps so small, too, channels are stored by reader
    artifacts, inputs = [], []
    for name, module in MODULES.items():
        options = BfpOptions(weight_group=engine.lanes, activation_group=engine.lanes)
        artifact, network, images = quantised(lively(module), (3, 8, 10), options)
        assert noise_db(artifact, network, images) > LEAST_DB, name
        artifacts.append(artifact)
        inputs.append(golden.quantise_input(artifact, images.numpy())[:1])
    program, identity = generate(artifacts, engine_options(artifacts, engine), engine.board, tmp_path)
    moved = {(i, n.name) for i, a in enumerate(artifacts) for n in a.graph.nodes if a.graph.channel_slice(n)}
    copied = [layer.name for layer in program.layers if (layer.network, layer.name.split("/")[-1]) in moved]
    halves = artifacts[list(MODULES).index("halves handed on")].graph
    assert not [n.name for n in halves.nodes if n.op == "conv" and "getitem" in n.name]  # and shuffles are not made
    assert len(moved) > 5 and copied == []  # slices are read where they are
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    write_golden(tmp_path / "golden.bin", program, identity, inputs)
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)
