"""Every method of choosing exponents, on data whose right answer is known, and the automatic choice among them."""

import numpy as np
import pytest
import torch
from support.histograms import histogram, squared_error
from support.quantised import noise_db, quantised
from support.mobile_block import mobile_block
from support.published_rule import direct_published_step

from bfp.operators import OPERATORS
from bfp.format import exponent_for_maximum
from calib import auto
from calib.formats import fan2019
from calib.config import load_config
from calib.options import BfpOptions
from calib.formats.exponent_rules import CANDIDATES, by_percentile, by_squared_error
from calib.pipeline import calibrate
from calib.observers.statistics import Histogram
from calib.formats.weights import WeightBlocks


@pytest.mark.parametrize("bits", [3, 5, 8])
@pytest.mark.parametrize("kind", ["laplace", "uniform", "spike"])
def test_squared_error_finds_the_best_candidate(bits, kind):
    rng = np.random.default_rng(bits)
    values = {"laplace": rng.laplace(size=9000), "uniform": rng.uniform(-1, 1, 9000)}.get(kind)
    if values is None:
        values = np.concatenate([rng.normal(size=9000), [300.0]])
    h = histogram(values[:, None])
    maximum = np.array([np.abs(values).max()])
    highest = int(exponent_for_maximum(maximum, bits)[0])
    chosen = int(by_squared_error(h.counts, h.tops, maximum, bits, True)[0])
    errors = [squared_error(values, highest - i, bits, True) for i in range(CANDIDATES)]
    assert errors[highest - chosen] <= 1.02 * min(errors)


def test_percentile_ignores_a_rare_outlier_and_handles_dead_blocks():
    values = np.zeros((50_000, 2))
    values[:, 0] = np.random.default_rng(0).uniform(-1, 1, 50_000)
    values[0, 0] = 100
    h = histogram(values, (0, 1, 2))
    chosen = by_percentile(h.counts, h.tops, np.array([100.0, 0.0]), 8, True)
    assert chosen.tolist() == [-6, 0]


def test_weight_blocks_by_squared_error():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(6, 32, 3, 3)).astype(np.float32)
    weight[2, :16] = 0
    by = {m: WeightBlocks(weight, (0, 16, 32), 4, OPERATORS["conv"], m) for m in ("max", "mse")}

    def error(blocks):
        scale = np.exp2(np.repeat(blocks.natural, 16, axis=1).astype(float))[:, :, None, None]
        return ((blocks.quantise(blocks.natural).mantissas * scale - weight) ** 2).sum()

    assert error(by["mse"]) < error(by["max"])
    assert np.all(by["mse"].natural <= by["max"].natural)


def test_published_rule_by_hand():
    assert fan2019.exponent(np.array([1.0, 1.99, 0.99, 0.0]), 8).tolist() == [-6, -6, -7, 0]
    assert [fan2019.clip_limit(b) for b in (8, 4, 2)] == [126, 6, 1]
    blocks = WeightBlocks(np.array([[[[1.99]], [[0.5]]]], np.float32), (0, 2), 8, OPERATORS["conv"], "fan2019")
    weights = blocks.quantise(blocks.natural)
    assert weights.exponents.tolist() == [[-6]] and weights.mantissas.ravel().tolist() == [126, 32]


@pytest.mark.parametrize("seed", range(6))
def test_published_rule_agrees_with_the_published_search(seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=20_000) * rng.choice([0.8, 3, 20]) + rng.choice([0, 1])).astype(np.float32).astype(float)
    if seed % 2:
        x = np.maximum(x, 0)
    h = Histogram((0, 1))
    h.negative = Histogram((0, 1))
    values = torch.from_numpy(x).float()[:, None, None, None]
    h.add(values.abs(), np.array([np.abs(x).max()]))
    h.negative.add((-values).clamp(min=0), np.array([max(-x.min(), 0)]))
    maximum = np.array([np.abs(x).max()])
    chosen = int(fan2019.activation_exponents(h, maximum, 8)[0])
    divergences = direct_published_step(x, 8)
    step = int(fan2019.exponent(maximum, 8)[0]) - chosen
    # bin edges may move a value or two: where two candidates are nearly equal, either may win
    assert divergences[step] <= 1.1 * min(divergences) + 1e-7


def test_published_method_end_to_end_with_dead_depthwise_filters():
    module = mobile_block()
    with torch.no_grad():
        next(m for m in module.modules() if getattr(m, "groups", 1) > 1).weight[3] = 0
    options = BfpOptions(method="fan2019", weight_method="fan2019", unsigned=False)
    artifact, network, images = quantised(module, (3, 10, 10), options)
    assert noise_db(artifact, network, images) > 10
    assert all(np.abs(p.weights.mantissas).max() <= 126 for p in artifact.parameters.values() if p.weights)


TOML = """
model = "net:make"
[input]
size = 10
mean = [127.0, 127.0, 127.0]
std = [128.0, 128.0, 128.0]
[calibration]
images = "random"
limit = 20
[bfp]
weights = {weights}
activations = 5
method = "auto"
"""
NET = "from test_refine import mobile_block as make\n"


def test_auto_chooses_on_held_out_images_and_repeats_itself(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "toy.toml").write_text(TOML.format(weights=4))
    config = load_config(tmp_path / "toy.toml")
    assert config.bfp.rounding == "descent" and config.bfp.sort_channels and config.bfp.activation_group == 16
    artifact = calibrate(config, tmp_path / "a")
    calibrate(config, tmp_path / "b")
    assert (tmp_path / "a/artifact.npz").read_bytes() == (tmp_path / "b/artifact.npz").read_bytes()
    figures = artifact.provenance["sqnr_db"]
    assert {*auto.CANDIDATES, "refined", "gptq", "plain"} == set(figures) and artifact.provenance["held_out"] == 5
    best = max(auto.CANDIDATES, key=lambda m: figures[m])
    assert figures[best] == max(figures[m] for m in auto.CANDIDATES)
    assert artifact.provenance["method"].startswith("auto: ")


def test_held_out_images_are_not_used_twice():
    images = np.arange(20.0)[:, None, None, None]
    rest, held = auto.split(images)
    assert len(held) == 5 and sorted(np.concatenate([rest, held]).ravel()) == list(range(20))
    assert [len(part) for part in auto.split(images[:1])] == [1, 1]
    assert [len(part) for part in auto.split(images[:2])] == [1, 1]
