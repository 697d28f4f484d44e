"""Random modules of every form that is lowered at import: against torch in float, as integers, and through the C simulation.

A failure names the seed: ``Drawn(seed, ...)`` makes the module again.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import plain_integers
from support.engines import ENGINES, Engine, engine_options
from support.imported import lively
from support.quantised import quantised
from support.random_forms import ALL, Drawn, images_of, names_drawn
from support.several import leaves

from bfp import golden
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.functions import FUNCTIONS
from bfp.operators import OPERATORS
from calib.frontend.importer import import_module
from calib.network.fake_quant import check, scaled_limit
from calib.network.float_model import returned
from calib.network.float_network import FloatNetwork
from calib.options import BfpOptions
from codegen.generate import generate
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

PER_ENGINE = 4


def in_float(seed: int, several: bool = False) -> FloatNetwork:
    """Import a module and compare all that it returns; the network."""
    drawn = Drawn(seed, several=several)
    network = import_module(lively(drawn.module, seed), drawn.shape, "net")
    images, maps = images_of(drawn.shape, seed)
    in_double = {name: x.double() for name, x in images.items()} if isinstance(images, dict) else images.double()
    wanted = leaves(drawn.module.double(), in_double)  # what the float32 of both is near
    found = returned(network, maps)
    found = list(found.values()) if isinstance(found, dict) else [found]
    assert len(found) == len(wanted), (seed, drawn.names)
    for ours, theirs in zip(found, wanted):
        difference = np.abs(ours.reshape(theirs.shape) - theirs).max()
        assert difference <= 1e-4 * max(np.abs(theirs).max(), 1e-6), (seed, drawn.names)
    return network


@pytest.mark.parametrize("seed", range(12))
def test_random_forms_keep_their_function(seed):
    in_float(seed, several=seed % 2 == 1)


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(8))
def test_values_of_their_middle_keep_their_function(batch):
    """Nothing that is folded, fused or left out takes an output along."""
    for seed in range(100 + 50 * batch, 150 + 50 * batch):
        in_float(seed, several=True)


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(20))
def test_a_thousand_random_forms_keep_their_function(batch):
    for seed in range(1000 + 50 * batch, 1050 + 50 * batch):
        in_float(seed)


def test_five_hundred_draw_every_form():
    """Whatever form is written in the tables of support.form_*; one that is never drawn is named."""
    found = names_drawn(range(1000, 1500))
    assert [name for name in ALL if name not in found] == []


@pytest.mark.heavy
def test_random_forms_reach_every_operator_and_function():
    nodes = [node for seed in range(1000, 1400) for node in in_float(seed).graph.nodes]
    assert {node.op for node in nodes} == set(OPERATORS)
    assert {node.function.name for node in nodes if node.function} == set(FUNCTIONS)


def as_integers(seed: int, engine: Engine) -> tuple[Artifact, np.ndarray] | None:
    """A calibrated module and mantissas of an image that saturates; None where no integers are proved for it.

    Compares golden model, plain Python integers and torch in every tensor. Widths from 2 bits up.
    """
    rng = np.random.default_rng(seed)
    bits = {k: int(rng.integers(2, engine.widest + 1)) for k in ("weights", "activations")}
    options = BfpOptions(**bits, weight_group=engine.lanes, activation_group=engine.lanes, max_spread=7)
    drawn = Drawn(seed, 6, several=seed % 2 == 1)
    try:
        artifact, _, images = quantised(lively(drawn.module, seed), drawn.shape, options, seed=seed)
    except BfpError as error:
        assert "accumulator" in str(error) or "exponent" in str(error), (seed, drawn.names, error)
        return None
    mantissas = golden.quantise_input(artifact, 4 * images.numpy())[:1]
    assert all(d.ok for d in check(artifact, mantissas)), (seed, drawn.names)
    nodes = [node for node in artifact.graph.nodes if node.operator.computes]
    scaled = {node.name for node in nodes if scaled_limit(node, artifact.parameters[node.name]) is not None}
    found = plain_integers.run(artifact, mantissas[0].tolist(), scaled)
    for tensor, values in golden.run(artifact, mantissas).items():
        assert np.array_equal(found[tensor], values[0]), (seed, drawn.names, tensor)
    return artifact, mantissas


@pytest.mark.parametrize("number", [0, 2], ids=["8 bits", "5 bits"])
def test_random_forms_are_the_integers_of_plain_python_and_of_torch(number):
    seeds = range(100 + PER_ENGINE * number, 100 + PER_ENGINE * (number + 1))
    assert any([as_integers(seed, ENGINES[number]) for seed in seeds])


@pytest.mark.heavy
@pytest.mark.parametrize("number", [0, 2], ids=["8 bits", "5 bits"])
def test_random_forms_are_bit_equal(number, tmp_path):
    simulated(ENGINES[number], range(100 + PER_ENGINE * number, 100 + PER_ENGINE * (number + 1)), tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(12))
def test_a_hundred_random_forms_are_bit_equal(batch, tmp_path):
    simulated(ENGINES[batch % len(ENGINES)], range(2000 + 9 * batch, 2009 + 9 * batch), tmp_path)


def simulated(engine: Engine, seeds: range, folder) -> None:
    made = [found for seed in seeds if (found := as_integers(seed, engine))]
    assert len(made) > len(seeds) // 2
    artifacts, inputs = zip(*made)
    program, identity = generate(artifacts, engine_options(artifacts, engine), engine.board, folder)
    bench, _ = compile_engine(folder / "generated", folder / "csim")
    write_golden(folder / "golden.bin", program, identity, inputs)
    result = run_testbench(bench, folder / "deploy" / "weights.bin", folder / "golden.bin", folder / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)
