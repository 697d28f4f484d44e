"""Networks whose input is no photograph: arrays of any number of channels, sequences, frames."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from bfp import golden
from bfp.artifact_file import load
from bfp.errors import BfpError
from bfp.samples import load_samples
from calib import pipeline
from calib.__main__ import main
from calib.config import load_config
from calib.data.images import open_images
from host.image import load_image, normalise

MODULE = """
import torch
from torch import nn

def maps(channels=5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

def words():
    torch.manual_seed(0)
    layers = [nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3), nn.Softmax(1))
"""
TOML = """
model = "array_nets:{model}"
weights = "{weights}"
[input]
channels = {channels}
{size}
mean = {mean}
std = 2
[calibration]
images = {images}
limit = 12
[bfp]
method = "max"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "array_nets.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("array_nets", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def network(folder, **changes):
    """A network's file."""
    words = {"model": "maps", "weights": "model", "channels": 5, "size": "size = [6, 7]", "mean": 1.5, "images": '"data.npz"'}
    (folder / "net.toml").write_text(TOML.format(**{**words, **changes}))
    return folder / "net.toml"


def save(folder, shape, dtype=np.float32, count=16):
    values = np.random.default_rng(1).normal(1.5, 2, (count, *shape)) * (20 if dtype == np.uint8 else 1)
    values = np.clip(values, 0, 255).astype(dtype) if dtype == np.uint8 else values.astype(dtype)
    np.savez(folder / "data.npz", images=values, labels=np.arange(count) % 3)
    return values


FORMS = {
    "maps": ((5, 6, 7), np.float32, {}),
    "maps of bytes": ((5, 6, 7), np.uint8, {}),
    "one mean each": ((5, 6, 7), np.float32, {"mean": "[1, 2, 3, 4, 5]"}),
    "frames": ((5, 6, 7, 1), np.float32, {}),
    "frames of colours": ((2, 6, 7, 3), np.uint8, {"channels": 6, "model": "maps\"\narguments = { channels = 6 }\nname = \"net"}),
    "sequence": ((4, 30), np.float32, {"model": "words", "channels": 4, "size": "length = 30"}),
    "sequence, random weights": ((4, 30), np.float32, {"model": "words", "channels": 4, "size": "length = 30", "weights": "random"}),
}


@pytest.mark.parametrize("case", FORMS)
def test_from_arrays_to_evaluation(case, folder, capsys):
    shape, dtype, changes = FORMS[case]
    values, path, out = save(folder, shape, dtype), network(folder, **changes), folder / "out"
    assert main(["calibrate", str(path), "--out", str(out)]) == 0
    assert main(["evaluate", str(path), "--out", str(out)]) == 0
    artifact, samples = load(out / "artifact.npz"), load_samples(out / "samples.npz")
    found = json.loads((out / "evaluation.json").read_text())
    assert found["sqnr_db"] > 25  # the input's step is the arrays' own, and they go below zero
    config = load_config(path)
    assert artifact.preprocessing.channels == "array" and samples.images.shape[1:] == artifact.graph.shapes["input"]
    if changes.get("weights") == "random":
        return
    module = pipeline.build_module(config)
    mean = np.asarray(config.input.mean, np.float32)
    maps = values.transpose(0, 1, 4, 2, 3).reshape(len(values), -1, *values.shape[2:4]) if len(shape) == 4 else values
    x = ((maps.astype(np.float32) - mean.reshape(-1, *(1,) * (maps.ndim - 2))) / 2)[:8]
    np.testing.assert_allclose(samples.images.reshape(x.shape), x, rtol=1e-6)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    found = golden.returned(artifact, golden.quantise_input(artifact, samples.images))
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max() + 0.02


def test_random_arrays_have_the_networks_mean_and_deviation(folder):
    config = load_config(network(folder, images='"random"', mean="[100, -5, 0, 7, 1e3]"))
    batch = next(open_images(config.calibration, config.input).batches(12))
    assert batch.shape == (12, 5, 6, 7) and abs(batch.mean()) < 0.5 and 0.5 < batch.std() < 1.5


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channels": 65}, "channels is 65; it must be rgb, bgr, gray, or 1 to 64 of arrays"),
        ({"channels": 0}, "channels is 0"),
        ({"channels": '"array"'}, "channels is 'array'"),
        ({"size": "length = 0"}, "length is 0"),
        ({"size": "length = 4\nsize = 4"}, "size is not a known key"),
        ({"size": "size = 4\nresize = 5"}, "resize is not a known key"),
        ({"channels": '"rgb"', "size": "length = 4"}, "size is missing"),
        ({"mean": "[1, 2]"}, "it must be 5 number"),
        ({"images": '"photos/"'}, "photos.* is no .npz file"),
        ({"images": '"random"\naugment = 2'}, "augment makes variants of photographs"),
    ],
)
def test_files_that_are_refused(changes, message, folder):
    with pytest.raises(BfpError, match=message):
        load_config(network(folder, **changes))


@pytest.mark.parametrize("values", [np.zeros((3, 5, 6, 8), np.float32), np.zeros((3, 5, 6, 7)), np.zeros((3, 30), np.float32)])
def test_arrays_that_do_not_fit(values, folder):
    np.savez(folder / "data.npz", images=values)
    config = load_config(network(folder))
    with pytest.raises(BfpError, match=r"images must be uint8 or float32 of shape \(arrays, 5, 6, 7\)"):
        open_images(config.calibration, config.input)


def test_values_that_are_not_finite(folder):
    np.savez(folder / "data.npz", images=np.full((3, 5, 6, 7), np.nan, np.float32))
    config = load_config(network(folder))
    with pytest.raises(BfpError, match="array 0 of 'images' holds values that are not finite"):
        next(open_images(config.calibration, config.input).batches(2))


def test_photographs_are_no_input_of_it(folder):
    config = load_config(network(folder))
    with pytest.raises(BfpError, match="takes arrays of 5 channels"):
        load_image(folder / "photo.png", config.input)
    with pytest.raises(BfpError, match="uint8 or float32"):
        normalise(np.zeros((1, 6, 7, 5)), config.input)
