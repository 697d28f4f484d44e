"""The benchmarks, end to end on a small network, and their reference, the published loop, against single values."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from support.published_rule import direct_published_step

from bfp import BfpError
from bfp.format import exponent_for_maximum
from calib import pipeline
from calib.evaluation.benchmark import memory, overlap, pictures, published_loop, results
from calib.evaluation.benchmark.__main__ import NETWORK, main
from calib.config import load_config

TOML = """
model = "benched:make"
weights = "random"
[input]
size = 16
mean = 127
std = 64
[calibration]
images = "random"
limit = 6
[bfp]
method = "kl"
weight_method = "mse"
"""
MODULE = """
from torch import nn
def make():
    return nn.Sequential(nn.Conv2d(3, 70, 3), nn.BatchNorm2d(70), nn.ReLU(), nn.Conv2d(70, 70, 3, groups=70),
                         nn.ReLU6(), nn.Conv2d(70, 16, 1), nn.ReLU(), nn.AvgPool2d(12), nn.Flatten(), nn.Linear(16, 10))
"""


@pytest.fixture
def network(tmp_path):
    (tmp_path / "benched.py").write_text(MODULE)
    (tmp_path / "net.toml").write_text(TOML)
    yield tmp_path / "net.toml"
    sys.modules.pop("benched", None)
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def test_every_benchmark_leaves_its_figures(network, tmp_path, capsys):
    out = tmp_path / "results" / "benchmark.json"
    for name in ("exponents", "golden"):
        assert main([name, "--network", str(network), "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    assert list(content) == ["exponents", "golden"]
    printed = capsys.readouterr().out
    for name, entry in content.items():
        assert f"{name} (measured on {results.cores()} cores)" in printed
        for what, figure, _ in entry["table"]:
            assert what in printed and figure > 0
    e = content["exponents"]
    # five feature maps and the input; 70 + 70 + 16 x 2 + 10 weight blocks
    assert e["images"] == 6 and e["exponents"] == 6 + 182
    assert e["loop_to_choose"] == sum(e["loop_seconds"].values()) / e["seconds"]["choose"]
    assert set(content["golden"]["batches"]) == {"1", "8"}


def test_pictures_are_measured_in_every_step(tmp_path):
    entry = pictures.measure(repeats=1)
    results.store("pictures", entry, tmp_path / "benchmark.json")
    assert all(figure > 0 for _, figure, _ in entry["table"])
    factors = [what for what, _, unit in entry["table"] if "at least 10" in unit]
    assert [f.split(":")[0] for f in factors] == [
        f"{when}, {bits} bits" for when in ("fresh process", "after that") for bits in (8, 5)
    ]
    assert set(entry["measured_with"]) == {"python", "numpy", "Pillow"}
    with pytest.raises(BfpError, match="no_such_python cannot be started"):
        pictures.measure(python=tmp_path / "no_such_python")


def test_overlap_is_measured_against_both_halves(capsys):
    """Figures only: what share is reached depends on what else the machine does."""
    entry = overlap.measure(seconds=0.05, rounds=1, ratios=(1.0, 2.0))
    assert [what.split(": ")[1] for what, _, _ in entry["table"]] == 2 * ["host alone", "engine alone", "both", "of the slower half"]
    assert all(figure > 0 for _, figure, _ in entry["table"])


def test_the_benchmarks_network_is_resnet50_at_224():
    config = load_config(NETWORK)
    assert config.input.size == (224, 224) and config.calibration.limit == 50
    assert sum(p.numel() for p in pipeline.build_module(config).parameters()) == 25_557_032


def test_results_are_merged_and_damaged_ones_refused(tmp_path):
    path = tmp_path / "benchmark.json"
    path.write_text('{"hls4ml": {"table": []}}')
    results.store("golden", {"table": [["x", 1.0, "s"]]}, path)
    content = json.loads(path.read_text())
    assert set(content) == {"hls4ml", "golden"} and content["golden"]["cores"] >= 1
    path.write_text("{")
    with pytest.raises(BfpError, match="is damaged"):
        results.store("golden", {}, path)


def test_alternation():
    calls = []
    seconds = results.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert "".join(calls) == "abababab" and [len(s) for s in seconds.values()] == [3, 3]
    assert results.ratio([2.0, 9.0, 4.0], [1.0, 1.0, 1.0]) == 4.0


# -- the published loop ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_activations_by_the_published_loop(seed):
    """The candidate of least divergence, as a second writing of the search finds it value by value."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=5000) * rng.choice([0.8, 3, 20])).astype(np.float32).astype(float)
    found = published_loop.activation_exponent(torch.from_numpy(x).float().reshape(2, 5, 10, 50), 8)
    divergences = direct_published_step(x, 8)
    step = int(np.floor(np.log2(np.abs(x).max())) - found)
    assert 0 <= step < 3 and divergences[step] <= 1.01 * min(divergences)


def test_weights_by_the_published_loop():
    """Blocks of 64 channels of each filter and the rest; each within its candidates, and judged on its own."""
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 100, 3, 3)).astype(np.float32))
    weight[1] *= 2**5
    first, rest = published_loop.weight_exponents(weight, 8, 64)
    assert first.shape == rest.shape == (3, 1)
    for part, found in ((weight[:, :64], first), (weight[:, 64:], rest)):
        highest = np.floor(np.log2(part.abs().amax((1, 2, 3)).numpy()))
        assert set((highest - found[:, 0].numpy()).tolist()) <= {0.0, 1.0}
    alone, _ = published_loop.weight_exponents(weight[1:2], 8, 64)
    assert alone[0] == first[1]
    assert published_loop.weight_exponents(weight[:, :1], 8, 64)[0].shape == (3, 1)
    dense = published_loop.weight_exponents(weight, 8, 64, dense=True)[0]
    assert dense[:, 0].tolist() == np.floor(np.log2(weight.abs().amax((1, 2, 3)).numpy())).tolist()


def test_published_rounding_and_clip():
    values = torch.tensor([[[1.99, 0.5, -1.99, 0.3]]])
    exponents = published_loop.block_exponents(values)
    assert exponents.item() == 0
    assert torch.equal(published_loop.quantise(values, exponents, 4), torch.tensor([[[1.5, 0.5, -1.5, 0.25]]]))
    assert exponent_for_maximum(np.array(1.99), 4) == -1  # the engine's own range would not hold it at this step


# -- memory ---------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_number_of_images(network):
    few, many = memory.peaks_gigabytes(network, (64, 640))
    # the largest map alone is 70 x 14 x 14 floats an image, 32 MB over the additional images
    assert many - few < 0.012


@pytest.mark.heavy
def test_statistics_of_1024_images_of_resnet50_take_less_than_4_gb():
    few, many = memory.measure(NETWORK)["gigabytes"]
    assert 0.2 < few <= many < 4 and many < few * 1.1
