"""Narrow outputs of classifiers: what decides the class is resolved, and real logits come out."""

import numpy as np
import pytest
import torch
from test_quantise import pixels
from test_refine import PRE, mobile_block
from torch import nn

from bfp import artifact as artifacts
from bfp import golden
from bfp.format import mantissa_range
from calib import auto, float_model, output_window
from calib.config import BfpOptions
from calib.fake_quant import check, run
from calib.importer import import_module
from calib.integer_model import IntegerModel
from calib.output_window import choose, divergence
from calib.quantise import plan, quantise_network
from calib.refine import refine
from calib.statistics import KEPT_OUTPUTS, Statistics


def logits_of(images=200, classes=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, classes)) - 6
    for _ in range(2):  # two classes in question
        x[np.arange(images), rng.integers(0, classes, images)] += rng.uniform(10, 16, images)
    return x.astype(np.float32)


@pytest.mark.parametrize("bits", [4, 5, 6])
def test_window_keeps_more_classes_than_the_whole_range(bits):
    seen, unseen = logits_of(), logits_of(seed=1)
    window = choose(seen, bits)
    low, high = mantissa_range(bits, True)

    def kept(exponent, offset):
        q = np.clip(np.floor((unseen - offset) / 2.0**exponent + 0.5), low, high)
        return (q.argmax(1) == unseen.argmax(1)).mean()

    whole = int(np.ceil(np.log2(np.abs(seen).max() / high)))
    assert kept(window.exponent, window.offset(window.exponent, bits)) > kept(whole, 0.0)
    # the largest logit of the calibration images is the largest mantissa
    assert window.offset(window.exponent, bits) + high * 2.0**window.exponent == pytest.approx(seen.max())


def test_divergence_by_hand():
    p, q = np.array([[0.0, np.log(3)]]), np.array([[0.0, 0.0]])
    assert divergence(p, q) == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert divergence(p, p + 7) == pytest.approx(0, abs=1e-12)


def classifier(bits, output="classes", count=32):
    """mobile_block with logits of a classifier's spread."""
    module = mobile_block()
    with torch.no_grad():
        list(module.modules())[-1].weight.mul_(12)
    images = pixels((3, 10, 10), PRE, count)
    network = import_module(module, (3, 10, 10), "toy")
    options = BfpOptions(weights=8, activations=bits, method="mse", weight_method="mse", output=output)
    fixed = plan(network.graph, options, PRE)
    statistics = Statistics(network.graph, fixed.splits, fixed.needs_histogram())
    float_model.run(network, images, keep=(), observe=statistics.observe)
    return network, quantise_network(network, statistics, options, PRE), images


def test_offset_is_in_the_biases_and_comes_back(tmp_path):
    network, artifact, images = classifier(5)
    assert artifact.output_offset != 0
    saved = artifacts.save(artifact, tmp_path / "artifact.npz")
    loaded = artifacts.load(tmp_path / "artifact.npz")
    assert loaded.output_offset == saved.output_offset == artifact.output_offset
    mantissas = golden.quantise_input(artifact, images.numpy())
    out, fmt = artifact.graph.output, artifact.formats[artifact.graph.output]
    step = 2.0 ** fmt.exponents[0]
    reference = golden.logits(loaded, mantissas)
    raw = golden.run(artifact, mantissas, keep=[out])[out].reshape(len(images), -1) * step
    assert np.array_equal(reference, raw + artifact.output_offset)
    assert np.array_equal(IntegerModel(artifact, torch.device("cpu")).logits(mantissas), reference)
    assert all(d.ok for d in check(artifact, mantissas))
    for other in (run(artifact, images.numpy()), auto.outputs(artifact, images.numpy())):
        assert np.abs(other - reference).max() <= 2 * step
    exact = float_model.logits(network, images).numpy()
    lowest = fmt.low * step + artifact.output_offset
    assert np.abs(reference - np.maximum(exact, lowest)).mean() < np.abs(exact).mean() / 4
    better = refine(network, artifact, images.numpy(), True, True)
    again = golden.logits(better, mantissas)
    assert divergence(exact, again) < 1.05 * divergence(exact, reference)


@pytest.mark.parametrize("bits, output", [(8, "classes"), (5, "values"), (5, None)])
def test_values_and_wide_outputs_keep_their_whole_range(bits, output):
    _, artifact, _ = classifier(bits, output)
    assert artifact.output_offset == 0


def test_maps_and_activated_outputs_have_no_window():
    for module in (nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(3, 4, 10), nn.ReLU()), nn.Conv2d(3, 1, 10)):
        graph = import_module(module.eval(), (3, 10, 10), "toy").graph
        assert not output_window.applies(graph, 5, True)
    graph = import_module(nn.Conv2d(3, 4, 10).eval(), (3, 10, 10), "toy").graph
    assert output_window.applies(graph, 5, True) and not output_window.applies(graph, 5, False)


def test_kept_outputs_are_bounded():
    network = import_module(nn.Conv2d(3, 4, 10).eval(), (3, 10, 10), "toy")
    statistics = Statistics(network.graph, {})
    for _ in range(3):
        float_model.run(network, pixels((3, 10, 10), PRE, 300), keep=(), observe=statistics.observe)
    assert statistics.outputs.shape == (KEPT_OUTPUTS, 4)
