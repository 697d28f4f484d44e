"""Random modules of every form that is lowered at import: against torch in float, and through the C simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.engines import ENGINES, Engine, engine_options
from support.imported import lively
from support.quantised import quantised
from support.random_forms import KINDS, Forms, random_forms
from support.several import leaves

from bfp import golden
from bfp.errors import BfpError
from calib.frontend.importer import import_module
from calib.network.fake_quant import check
from calib.network.float_model import returned
from calib.options import BfpOptions
from codegen.generate import generate
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

pytestmark = pytest.mark.heavy  # minutes

PER_ENGINE = 4


def in_float(seed: int) -> None:
    module, shape = random_forms(seed)
    network = import_module(lively(module, seed), shape, "net")
    images = torch.randn(1, *shape)
    wanted = module.double()(images.double()).detach().numpy()  # what the float32 of both is near
    found = returned(network, images).reshape(wanted.shape)
    assert np.abs(found - wanted).max() <= 1e-4 * max(np.abs(wanted).max(), 1e-6), seed


@pytest.mark.parametrize("seed", range(24))
def test_random_forms_keep_their_function(seed):
    in_float(seed)


def each_in_float(seed: int) -> None:
    module, shape = random_forms(seed, several=True)
    network = import_module(lively(module, seed), shape, "net")
    images = torch.randn(1, *shape)
    wanted = leaves(module.double(), images.double())
    found = list(returned(network, images).values())
    assert len(found) == len(wanted) > 1
    for ours, theirs in zip(found, wanted):
        assert np.abs(ours.reshape(theirs.shape) - theirs).max() <= 1e-4 * max(np.abs(theirs).max(), 1e-6), seed


@pytest.mark.parametrize("batch", range(8))
def test_values_of_their_middle_keep_their_function(batch):
    """Nothing that is folded, fused or left out takes an output along."""
    for seed in range(50 * batch, 50 * batch + 50):
        each_in_float(seed)


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(20))
def test_a_thousand_random_forms_keep_their_function(batch):
    for seed in range(1000 + 50 * batch, 1050 + 50 * batch):
        in_float(seed)


@pytest.mark.parametrize("number", [0, 2], ids=["8 bits", "5 bits"])
def test_random_forms_are_bit_equal(number, tmp_path):
    """Widths from 2 bits up, and images that saturate."""
    simulated(ENGINES[number], range(100 + PER_ENGINE * number, 100 + PER_ENGINE * (number + 1)), tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(12))
def test_a_hundred_random_forms_are_bit_equal(batch, tmp_path):
    simulated(ENGINES[batch % len(ENGINES)], range(2000 + 9 * batch, 2009 + 9 * batch), tmp_path)


def simulated(engine: Engine, seeds: range, folder) -> None:
    artifacts, inputs = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        bits = {k: int(rng.integers(2, engine.widest + 1)) for k in ("weights", "activations")}
        options = BfpOptions(**bits, weight_group=engine.lanes, activation_group=engine.lanes, max_spread=7)
        module, shape = random_forms(seed, 6, several=seed % 2 == 1)
        try:
            artifact, _, images = quantised(lively(module, seed), shape, options, seed=seed)
        except BfpError as error:
            assert "accumulator" in str(error) or "exponent" in str(error), (seed, error)
            continue
        mantissas = golden.quantise_input(artifact, 4 * images.numpy())[:1]
        assert all(d.ok for d in check(artifact, mantissas)), seed
        artifacts.append(artifact)
        inputs.append(mantissas)
    assert len(artifacts) > len(seeds) // 2
    program, identity = generate(artifacts, engine_options(artifacts, engine), engine.board, folder)
    bench, _ = compile_engine(folder / "generated", folder / "csim")
    write_golden(folder / "golden.bin", program, identity, inputs)
    result = run_testbench(bench, folder / "deploy" / "weights.bin", folder / "golden.bin", folder / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)


def test_every_kind_is_drawn():
    seen = set()
    for seed in range(24):
        module, _ = random_forms(seed)
        forms = Forms(seed)
        seen |= set(forms.rng.choice(KINDS, 9))
        assert module is not None
    assert seen == set(KINDS)
