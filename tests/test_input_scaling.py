"""The input's channels end where its mantissas do; images stay normalised as the network's file says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import toy_board as toy

from bfp import artifact_file
from bfp import golden
from bfp.artifact import NetworkInput, Preprocessing
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from calib.network import fake_quant
from calib.network import float_model
from calib.config import load_config
from calib.evaluation.evaluate import compare
from calib.transforms.input_scaling import best_step, input_scaled
from calib.pipeline import make_artifact, prepare

TOML = """
model = "calib.zoo.cifar_resnet:cifar_resnet"
weights = "random"
[input]
size = 32
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
[calibration]
images = "random"
limit = 8
[bfp]
equalise = "{}"
"""


def config_of(folder, equalise):
    (folder / "net.toml").write_text(TOML.format(equalise))
    return load_config(folder / "net.toml")


@pytest.mark.parametrize("mean, std", [(127.0, 128.0), (128.0, 128.0)])
def test_an_input_that_loses_nothing_is_left_alone(mean, std):
    assert best_step(mean, 8, True, std / 128) == std / 128


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_the_step_has_the_least_error_over_the_codes(bits):
    mean, top = 103.53, 2 ** (bits - 1) - 1
    codes = np.arange(256) - mean

    def error(step):
        return ((np.clip(np.floor(codes / step + 0.5), -top, top) * step - codes) ** 2).sum()

    usual = 57.375 * 2.0 ** (3 - bits)
    found = best_step(mean, bits, True, usual)
    assert error(found) < 0.6 * error(usual)
    assert error(found) <= 1.02 * min(error(151.47 / top * f) for f in np.linspace(0.8, 1.2, 200))


def test_function_of_the_images_is_preserved(tmp_path):
    plain = prepare(config_of(tmp_path, "ranges"), adapted=False)
    network = input_scaled(plain.network, plain.state.plan)
    assert len(network.input_scale) == 3 and set(network.input_scale) != {1.0}
    images = torch.from_numpy(next(plain.calibration.batches(4)))
    reference, found = (float_model.logits(n, images) for n in (plain.network, network))
    assert torch.allclose(found, reference, atol=1e-4 * float(reference.abs().max()))


@pytest.mark.heavy
def test_artifact_takes_the_same_images_and_loses_less_of_them(tmp_path):
    noise = {}
    for equalise in ("none", "ranges"):
        prepared = prepare(config_of(tmp_path, equalise))
        artifact = make_artifact(prepared)
        artifact_file.save(artifact, tmp_path / "artifact.npz")
        again = artifact_file.load(tmp_path / "artifact.npz")
        assert again.preprocessing == artifact.preprocessing
        # the file's preprocessing, and the scale that the network's input has
        assert again.preprocessing == replace(prepared.config.input, scale=prepared.network.input_scale)
        assert (again.preprocessing.scale is None) == (equalise == "none")
        images = next(prepared.calibration.batches(4))
        mantissas = golden.quantise_input(again, images)
        assert np.allclose(golden.logits(again, mantissas), fake_quant.run(again, images))
        step = np.exp2(float(again.formats[again.graph.input].exponents[0]))
        values = mantissas * step
        if again.preprocessing.scale is not None:
            values = values * np.array(again.preprocessing.scale)[:, None, None]
        noise[equalise] = ((values - images) ** 2).mean()
        plain = prepare(prepared.config, adapted=False)
        rows = [compare(p, artifact, prepared.calibration) for p in (prepared, plain)]
        assert rows[0]["sqnr_db"] == pytest.approx(rows[1]["sqnr_db"], abs=0.05)
    assert noise["ranges"] < 0.5 * noise["none"]


def test_the_board_scales_as_the_golden_model_does(tmp_path):
    pre = Preprocessing((toy.HEIGHT, toy.WIDTH), (128.0,) * 3, (64.0,) * 3, scale=(0.5, 0.6, 0.7))
    folder = toy.write(tmp_path / "deploy", inputs=(NetworkInput("input", pre),))
    loaded = read_deployment(folder).input.preprocessing
    assert loaded == pre
    image = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    assert np.array_equal(loaded.scaled(image), loaded.scaled(image[None])[0])


@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, float("nan"), 1.0)])
def test_a_scale_that_cannot_be_is_refused(tmp_path, scale):
    artifact = make_artifact(prepare(config_of(tmp_path, "none")))
    entry = artifact.inputs[0]
    bad = replace(artifact, inputs=(replace(entry, preprocessing=replace(entry.preprocessing, scale=scale)),))
    with pytest.raises(BfpError, match="one positive number"):
        artifact_file.save(bad, tmp_path / "artifact.npz")
