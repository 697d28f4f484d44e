"""Networks with several outputs: each has a name, a format and a comparison of its own, from the module to the engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.engines import ENGINES, engine_options
from support.imported import lively
from support.quantised import quantised
from support.several import MODULES, NAMES, leaves
from support.small_modules import Fn, conv
from torch import nn

from bfp import artifact_file, golden
from bfp.errors import BfpError
from calib.config import bfp_options
from calib.evaluation.integer_model import IntegerModel
from calib.frontend.importer import import_module
from calib.network import fake_quant, float_model
from calib.options import BfpOptions
from calib.state import begin
from calib.transforms import sequence
from codegen.generate import generate
from codegen.simulation.csim import compile_engine, run_testbench, write_golden
from static_bfp.images import image_set

torch.manual_seed(0)
SHAPE = (3, 8, 10)


def parts(found):
    return list(found.values()) if isinstance(found, dict) else [found]


@pytest.mark.parametrize("case", MODULES)
def test_every_output_is_the_modules(case):
    module = lively(MODULES[case])
    network = import_module(module, SHAPE, "net")
    images = torch.randn(2, *SHAPE)
    wanted, found = leaves(module, images), parts(float_model.returned(network, images))
    assert len(found) == len(wanted) == len(set(network.graph.outputs)) > 1
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", NAMES)
def test_names(case):
    """Keys and fields name outputs; those of a tuple keep their layers' names."""
    assert list(import_module(lively(MODULES[case]), SHAPE, "net").graph.outputs) == NAMES[case]


def test_names_that_other_tensors_have_or_that_none_can_have():
    module = Fn(lambda m, x: {"input": m[0](x), "l1": m[0](x), "a b/c": m[1](x), "-": m[2](x)}, conv(), conv(), conv())
    outputs = import_module(lively(module), SHAPE, "net").graph.outputs
    assert outputs[0] == "input_2" and outputs[2:] == ("a_b_c", "_-") and outputs[1].startswith("l1")


def test_places_of_one_name_are_two_outputs():
    module = lively(Fn(lambda m, x: {"a.b": m[0](x), "a": {"b": m[1](x)}}, conv(), conv()))
    network, images = import_module(module, SHAPE, "net"), torch.randn(1, *SHAPE)
    assert network.graph.outputs == ("a.b", "a.b_2")
    for ours, theirs in zip(parts(float_model.returned(network, images)), leaves(module, images)):
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)


def test_numbers_and_none_are_no_outputs():
    network = import_module(lively(Fn(lambda m, x: {"a": m[0](x), "b": None, "c": (m[1](x), 3)}, conv(), conv())), SHAPE, "net")
    assert network.graph.outputs == ("a", "c")


@pytest.fixture(
    scope="module", params=[ENGINES[0], pytest.param(ENGINES[1], marks=pytest.mark.heavy)], ids=["16 lanes", "4 lanes"]
)
def simulated(request, tmp_path_factory):
    """All of them on one engine, by name, and the C simulation's result."""
    engine, folder = request.param, tmp_path_factory.mktemp("several")
    artifacts, inputs = {}, []
    options = BfpOptions(weight_group=engine.lanes, activation_group=engine.lanes)
    for case, module in MODULES.items():
        artifact, network, images = quantised(lively(module), SHAPE, options)
        artifacts[case] = artifact, network, images
        inputs.append(golden.quantise_input(artifact, images.numpy())[:1])
    listed = [a for a, _, _ in artifacts.values()]
    program, identity = generate(listed, engine_options(listed, engine), engine.board, folder)
    bench, _ = compile_engine(folder / "generated", folder / "csim", optimise=("-O1",))
    write_golden(folder / "golden.bin", program, identity, inputs)
    return artifacts, program, run_testbench(
        bench, folder / "deploy" / "weights.bin", folder / "golden.bin", folder / "result.json"
    )


def test_the_engine_is_bit_equal(simulated):
    artifacts, program, result = simulated
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)
    joined = {"cat"}  # of its branches, which are compared
    for number, (artifact, _, _) in enumerate(artifacts.values()):
        stored = {t.name for t in program.tensors if t.network == number}
        assert set(artifact.graph.outputs) <= stored | joined


def test_each_output_has_a_figure_of_its_own(simulated):
    for case, (artifact, network, images) in simulated[0].items():
        mantissas = golden.quantise_input(artifact, images.numpy())
        wanted = artifact.graph.output_parts(float_model.logits(network, images).double().numpy())
        found = artifact.graph.output_parts(golden.logits(artifact, mantissas))
        for name in artifact.graph.outputs:
            noise = ((found[name] - wanted[name]) ** 2).sum()
            assert 10 * np.log10((wanted[name] ** 2).sum() / max(noise, 1e-30)) > 22, (case, name)


def test_every_other_model_computes_the_same(simulated, tmp_path):
    for artifact, _, images in simulated[0].values():
        mantissas = golden.quantise_input(artifact, images.numpy())
        reference = golden.logits(artifact, mantissas)
        assert np.array_equal(IntegerModel(artifact, torch.device("cpu")).logits(mantissas), reference)
        assert all(d.ok for d in fake_quant.check(artifact, mantissas))
        saved = artifact_file.save(artifact, tmp_path / "artifact.npz")
        again = artifact_file.load(tmp_path / "artifact.npz")
        assert again.outputs == saved.outputs == artifact.outputs
        assert np.array_equal(golden.logits(again, mantissas), reference)
        by_name, returned = artifact.graph.output_parts(reference), golden.returned(artifact, mantissas)
        assert list(returned) == list(artifact.graph.outputs)
        for end in artifact.outputs:
            assert np.array_equal(returned[end.tensor], end.returned(by_name[end.tensor]))


def test_noise_of_every_output_counts_alike():
    """Whatever its unit is: one output times a thousand changes nothing of what the other's layers are worth."""
    gains = {}
    for factor in (1.0, 1000.0):
        module = lively(Fn(lambda m, x: (m[0](x), factor * m[1](x)), conv(), conv()), seed=3)
        network = import_module(module, SHAPE, "net")
        found = {t: x for t, x in float_model.run(network, torch.randn(4, *SHAPE, generator=torch.manual_seed(0))).items()}
        weights = float_model.output_weights(network.graph, found)
        power = {t: float(found[t].double().square().sum()) / 4 for t in network.graph.outputs}
        gains[factor] = [weights[t] * power[t] for t in network.graph.outputs]
    np.testing.assert_allclose(gains[1.0], [1, 1], rtol=1e-6)
    np.testing.assert_allclose(gains[1000.0], [1, 1], rtol=1e-6)


def test_an_output_that_nobody_has():
    graph = import_module(lively(MODULES["dict"]), SHAPE, "net").graph
    assert graph.output_named(None) == "map" and graph.output_named("low") == "low"
    with pytest.raises(BfpError, match="no output named 'high'; its outputs are map, low"):
        graph.output_named("high")


def test_one_output_of_several_parts_keeps_its_layers_name():
    """Files of networks with one output stay as they are."""
    assert import_module(nn.Sequential(conv()).eval(), SHAPE, "net").graph.outputs == ("0",)


@pytest.mark.parametrize("case", MODULES)
def test_transforms_keep_every_output(case):
    """An output that others read is moved, scaled and shifted no more than one that ends the network."""
    network = import_module(lively(MODULES[case]), SHAPE, "net")
    images = torch.randn(16, *SHAPE, generator=torch.manual_seed(1))
    state = begin(network, bfp_options({}, "test"), image_set(images.numpy(), None, 0).pre, "classes", judged=network.graph.outputs[-1])
    changed = sequence.run(sequence.preparation(state.options), state, image_set(images.numpy(), None, 0)).network
    wanted, found = (network.graph.output_parts(float_model.logits(one, images).numpy()) for one in (network, changed))
    for name in network.graph.outputs:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-3 * np.abs(wanted[name]).max(), err_msg=name)
