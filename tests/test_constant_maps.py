"""Constants that differ from pixel to pixel: against torch in float, and through the C simulation."""

from __future__ import annotations

import pytest
import torch
from support.engines import ENGINES, engine_options
from support.imported import check, lively
from support.quantised import noise_db, quantised
from support.small_modules import Fn, conv
from torch import nn

from bfp import golden
from calib.frontend.enlarging import factors_of
from codegen.generate import generate
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

SHAPE = (3, 9, 8)
ROWS, COLUMNS = torch.linspace(-1, 1, 9).reshape(1, 1, 9, 1), torch.linspace(0.5, 2, 8)
PLACES = torch.stack([ROWS[0, 0].expand(9, 8), COLUMNS.expand(9, 8)])[None]
POSITION = torch.linspace(-1, 1, 20 * 72).sin().reshape(1, 20, 9, 8)
MODULES = {
    "places beside a picture": Fn(lambda m, x: m[1](torch.relu(m[0](torch.cat([x, PLACES.expand(len(x), -1, -1, -1)], 1)))), conv(5, 12), conv(12, 4)),
    "places in front": Fn(lambda m, x: m[1](torch.cat([p := PLACES.expand(len(x), -1, -1, -1), m[0](x), p], 1)), conv(3, 5, 1), conv(9, 4)),
    "a factor a row": Fn(lambda m, x: m[1](m[0](x) * ROWS + ROWS / 2), conv(3, 20, padding=1), conv(20, 4)),
    "a factor a column": Fn(lambda m, x: m[1](torch.relu(m[0](x)) * COLUMNS), conv(3, 20, padding=1), conv(20, 4)),
    "positions": Fn(lambda m, x: m[1](m[0](x) + POSITION), conv(3, 20, padding=1), conv(20, 4)),
    "norm along rows": Fn(lambda m, x: m[0](m[1](x.transpose(1, 2)).transpose(1, 2)), conv(), nn.BatchNorm2d(9)),
}


@pytest.mark.parametrize("case", MODULES)
def test_constants_keep_their_function(case):
    check(MODULES[case], SHAPE)


def test_what_grows_in_several_steps():
    assert factors_of(1) == [] and factors_of(64) == [64] and factors_of(224) == [56, 4] and factors_of(67) is None


def test_places_of_a_large_map():
    places = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 72), torch.linspace(-1, 1, 130), indexing="ij"))[None]
    check(Fn(lambda m, x: m[0](torch.cat([x, places.expand(len(x), -1, -1, -1)], 1)), conv(5, 4)), (3, 72, 130))


def test_integers_are_the_golden_models(tmp_path):
    """All of them in one engine; and near the float network."""
    made = [quantised(lively(module, 1), SHAPE) for module in MODULES.values()]
    artifacts = [artifact for artifact, _, _ in made]
    assert all(noise_db(*one) > 25 for one in made)
    inputs = [golden.quantise_input(artifact, images[:1].numpy()) for artifact, _, images in made]
    program, identity = generate(artifacts, engine_options(artifacts, ENGINES[0]), ENGINES[0].board, tmp_path)
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    write_golden(tmp_path / "golden.bin", program, identity, inputs)
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)
