"""The project from Python, as a notebook uses it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import static_bfp
from bfp import golden
from bfp.errors import BfpError


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 4), nn.Softmax(1))


def loader(count=24):
    torch.manual_seed(1)
    images = torch.randn(count, 3, 8, 8)
    return DataLoader(TensorDataset(images, module().eval()(images).argmax(1)), batch_size=5)


@pytest.fixture(scope="module")
def artifact():
    return static_bfp.calibrate(module(), loader(), name="toy", classes=("a", "b", "c", "d"), method="max", limit=16)


def test_from_a_loader_to_a_simulated_engine(artifact, tmp_path):
    images = next(iter(loader()))[0]
    found = artifact.emulate("cpu")(images)
    assert found.shape == (5, 4) and torch.allclose(found.sum(1), torch.ones(5, dtype=torch.float64))
    wanted = golden.returned(artifact.record, golden.quantise_input(artifact.record, images.numpy()))
    assert np.array_equal(found.numpy(), wanted)
    figures = artifact.evaluate(loader())
    assert figures["images"] == 24 and figures["top1_float"] == 1.0 and figures["agreement"] > 0.6 and figures["sqnr_db"] > 25
    figures = static_bfp.generate(artifact, tmp_path / "engine", lanes=4, filters=2, pixels=2)
    assert figures["network"] == "toy" and (tmp_path / "engine" / "generated" / "schedule.hpp").is_file()
    assert figures["cycles"] == static_bfp.estimate(artifact, lanes=4, filters=2, pixels=2)["cycles"]
    result = static_bfp.csim(artifact, tmp_path / "engine", loader(), limit=3, lanes=4, filters=2, pixels=2)
    assert result["mismatches"] == 0 and result["images"] == 3 and result["layers_compared"] > 1
    again = static_bfp.load(tmp_path / "engine" / "artifact.npz")
    assert torch.equal(again.emulate("cpu")(images), found)
    with pytest.raises(BfpError, match="has no float network"):
        again.evaluate(loader())


def test_sequences_and_plain_arrays():
    network = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1))
    values = np.random.default_rng(0).normal(size=(12, 4, 30)).astype(np.float32)
    artifact = static_bfp.calibrate(network, values, method="max", weights=6)
    assert artifact.emulate("cpu")(torch.from_numpy(values[:2])).shape == (2, 1)
    figures = artifact.evaluate(values)
    assert figures["task"] == "binary" and figures["top1_bfp"] is None
    assert artifact.evaluate(values, task="regression")["metric"] == "psnr_db"


@pytest.mark.parametrize(
    "images, options, message",
    [
        (3, {}, "give an array, a tensor, or a DataLoader"),
        ([], {}, "there are no images"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), {}, "must be finite normalised floats"),
        (torch.full((2, 3, 8, 8), float("nan")), {}, "must be finite"),
        ([torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 9, 8)], {}, "give them one shape"),
        (torch.zeros(2, 3, 8, 8), {"weight": 5}, "weight is not a known key"),
        (torch.zeros(2, 3, 8, 8), {"method": "best"}, "method is 'best'"),
        (torch.zeros(2, 3, 12, 12), {}, "cannot be traced"),
    ],
)
def test_bad_input_is_one_sentence(images, options, message):
    with pytest.raises(BfpError, match=message) as error:
        static_bfp.calibrate(module(), images, **options)
    assert "\n" not in str(error.value)


def test_every_name_says_what_it_takes_and_returns():
    for name in static_bfp.__all__:
        assert len(getattr(static_bfp, name).__doc__) > 60
