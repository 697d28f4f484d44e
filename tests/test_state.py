"""The state of a calibration and the list of its passes: nothing is written to, and everything is passed on."""

import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from support.mobile_block import PRE, mobile_block

from bfp import artifact_file
from bfp.errors import BfpError
from calib import pipeline
from calib.__main__ import main
from calib.config import load_config
from calib.evaluation.event_files import write_event_files
from calib.evaluation.report import write_report
from calib.formats.layer_options import LayerWidths
from calib.frontend.importer import import_module
from calib.network import float_model
from calib.options import BfpOptions, Override
from calib.state import begin, weights_digest
from calib.transforms import sequence


def start(**options):
    return begin(import_module(mobile_block(), (3, 10, 10), "toy"), BfpOptions(**options), PRE)


def names(passes):
    return [one.__name__ for one in passes]


def test_the_options_say_which_passes_there_are():
    """In the order of docs/calibration.md."""
    every = {"centre": True, "sort_channels": True, "equalise": "ranges", "weight_budget": 5.0, "method": "auto"}
    assert names(sequence.preparation(BfpOptions(**every))) == [
        "bring_to_canonical_scales",
        *("compare_with_training", "centre_ranges", "permute_channels", "scale_input", "equalise_ranges"),
        *("equalise_tied_channels", "bound_others", "scale_output", "allocate_bits"),
    ]
    assert names(sequence.preparation(BfpOptions(equalise="weights"))) == [
        *("bring_to_canonical_scales", "equalise_weights", "scale_output")
    ]
    assert names(sequence.preparation(BfpOptions())) == ["bring_to_canonical_scales", "scale_output"]
    assert names(sequence.preparation(BfpOptions(method="fan2019"))) == ["scale_output"]
    assert names(sequence.quantisation(BfpOptions(method="kl"))) == ["gather_statistics", "quantise"]
    corrected = names(sequence.quantisation(BfpOptions(method="kl", bias_correction=True)))
    assert corrected == ["gather_statistics", "quantise", "reconstruct"]
    auto = names(sequence.quantisation(BfpOptions(method="auto")))
    assert auto == ["gather_statistics", "choose_method", "reconstruct_where_better"]


def test_a_state_cannot_be_written_to_and_plans_anew_where_widths_or_method_change():
    state = start(method="auto", activations=6)
    with pytest.raises(FrozenInstanceError):
        state.method = "kl"
    first = state.network.graph.nodes[0]
    wider = state.with_widths({first.name: LayerWidths(weights=4, activations=7)})
    assert wider.layers[first.name].weights == 4 and wider.plan.bits[first.output] == 7
    assert state.layers[first.name].weights == 8 and state.plan.bits[first.output] == 6
    chosen = wider.with_method("kl")
    assert chosen.plan.bits[first.output] == 7 and chosen.layers[first.name].method == "kl"
    assert chosen.layers[state.network.graph.nodes[-1].name].method == "max"  # the output does not saturate
    assert chosen.options == wider.options == state.options and chosen.options.method == "auto"


def test_overrides_of_the_file_win_over_widths_by_name():
    name = start().network.graph.nodes[0].name
    state = start(overrides=(Override(name, weights=3),)).with_widths({name: LayerWidths(5, 6)})
    assert (state.layers[name].weights, state.layers[name].activations) == (3, 6)


def test_what_was_measured_of_another_network_is_dropped():
    state = replace(start(), statistics="of this network", artifact="of this network")
    assert state.with_method("kl").statistics == "of this network" and state.with_method("kl").artifact is None
    changed = state.with_network(state.network)
    assert changed.statistics is None and changed.artifact is None
    assert changed.plan is state.plan  # what no image decides stays


def test_the_digest_is_of_names_shapes_and_values():
    network = start().network
    found, name = weights_digest(network), network.graph.nodes[0].name
    assert found == weights_digest(import_module(mobile_block(), (3, 10, 10), "toy"))
    w = network.weights[name]
    for changed in (
        {name: replace(w, bias=np.nextafter(w.bias, np.float32(np.inf)))},
        {name: replace(w, weight=w.weight[:, ::-1])},
        {name: replace(w, weight=w.weight.reshape(len(w.weight), -1, 1, 9))},
    ):
        assert weights_digest(replace(network, weights={**network.weights, **changed})) != found
    renamed = {f"{n}_": v for n, v in network.weights.items()}
    assert weights_digest(replace(network, weights=renamed)) != found


TOML = """
model = "state_networks:make"
classes = ["a", "b", "c", "d", "e"]
[input]
size = 10
mean = 120
std = 60
[calibration]
images = "random"
limit = 12
[bfp]
weights = 4
weight_budget = 5
"""
SEEDED = "from support.mobile_block import mobile_block as make\n"
UNSEEDED = """
import torch
from torch import nn

def make():
    torch.manual_seed(torch.seed())
    return nn.Sequential(nn.Conv2d(3, 5, 10), nn.Flatten())
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.toml").write_text(TOML)
    (tmp_path / "state_networks.py").write_text(SEEDED)
    yield tmp_path
    sys.modules.pop("state_networks", None)
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def test_passes_change_neither_the_file_nor_its_options_and_the_artifact_says_what_was_done(folder):
    config = load_config(folder / "net.toml")
    prepared = pipeline.prepare(config)
    plain = pipeline.prepare(config, adapted=False)
    state = prepared.state
    assert prepared.config is config and state.options is config.bfp and state.preprocessing is config.input
    assert config.input.scale is None and config.bfp.output is None and config.bfp.overrides == ()
    assert state.output == "classes" and state.network.input_scale is not None and len(state.widths) == 5
    assert state.float_digest == plain.state.float_digest == weights_digest(plain.network)
    assert state.float_digest != weights_digest(state.network)
    artifact = pipeline.make_artifact(prepared)
    assert artifact.float_digest == state.float_digest
    assert artifact.preprocessing == replace(config.input, scale=state.network.input_scale)
    said = artifact.provenance["bfp"]
    assert artifact.provenance["method"] == f"auto: {said['method']}" and said["output"] == "classes"
    assert {o["layers"]: o["weights"] for o in said["overrides"]} == {
        name: p.weights.bits for name, p in artifact.parameters.items() if p.weights is not None
    }
    assert prepared.state is state and state.artifact is None and state.method == "auto"


def test_the_function_of_the_network_is_kept_by_all_that_comes_before_quantising(folder):
    config = load_config(folder / "net.toml")
    images = torch.from_numpy(next(pipeline.prepare(config, adapted=False).calibration.batches(8)))
    before, after = (float_model.logits(pipeline.prepare(config, adapted=a).network, images) for a in (False, True))
    assert torch.allclose(before, after, atol=1e-4 * float(before.abs().max()))


@pytest.mark.parametrize("what", ["evaluate", "report", "tensorboard"])
def test_an_artifact_of_other_weights_is_refused(folder, what):
    config = load_config(folder / "net.toml")
    pipeline.calibrate(config, folder / "out")
    network = "from support.mobile_block import mobile_block\n\ndef make():\n    m = mobile_block()\n"
    (folder / "state_networks.py").write_text(network + "    m.l0.weight.data[0, 0, 0, 0] += 1\n    return m\n")
    sys.modules.pop("state_networks", None)
    words = "was made from other float weights than .*net.toml gives now; run `doit calibrate` again, and if its model"
    with pytest.raises(BfpError, match=words):
        if what == "evaluate":
            artifact = artifact_file.load(folder / "out" / "artifact.npz")
            pipeline.check_artifact(pipeline.prepare(config, adapted=False), artifact)
        elif what == "report":
            write_report(pipeline.prepare(config), folder / "out")
        else:
            artifact = artifact_file.load(folder / "out" / "artifact.npz")
            write_event_files(pipeline.prepare(config), artifact, folder / "events", 4)
    assert not (folder / "out" / "report.html").exists() and not (folder / "events").exists()


def test_a_callable_that_draws_other_weights_each_time_is_noticed(folder, capsys):
    """At calibration, with what to do; evaluation then refuses its artifact."""
    (folder / "state_networks.py").write_text(UNSEEDED)
    path = str(folder / "net.toml")
    assert main(["calibrate", path, "--out", str(folder / "out")]) == 0
    err = capsys.readouterr().err
    assert "note: model state_networks:make has other weights each time it is built" in err
    assert "name a file as weights, or seed in the callable" in err
    assert main(["evaluate", path, "--out", str(folder / "out")]) == 2
    assert "was made from other float weights than" in capsys.readouterr().err


def test_a_callable_that_seeds_is_not_complained_of(folder, capsys):
    assert main(["calibrate", str(folder / "net.toml"), "--out", str(folder / "out")]) == 0
    assert "each time it is built" not in capsys.readouterr().err
    assert artifact_file.load(folder / "out" / "artifact.npz").provenance["replaced"] == []
