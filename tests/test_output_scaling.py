"""Outputs of classifiers: mantissas resolve the range of the logits, and real logits come out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.quantised import pixels
from support.mobile_block import PRE, mobile_block
from torch import nn

from bfp import artifact_file
from bfp import golden
from bfp.errors import BfpError
from bfp.format import mantissa_range
from calib import auto
from calib.network import float_model
from calib.formats import logit_range
from calib.formats.logit_range import best_step, choose
from calib.formats.plan import plan
from calib.options import BfpOptions
from calib.network.fake_quant import check, run
from calib.frontend.importer import import_module
from calib.evaluation.integer_model import IntegerModel
from calib.transforms.output_scaling import output_scaled
from calib.formats.solver import quantise_network
from calib.reconstruction.layerwise import reconstruct
from calib.evaluation.report.measure import measure
from calib.observers.statistics import KEPT_OUTPUTS, Statistics


def logits_of(images=200, classes=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, classes)) - 6
    for _ in range(2):  # two classes in question
        x[np.arange(images), rng.integers(0, classes, images)] += rng.uniform(10, 16, images)
    return x.astype(np.float32)


def rounded(logits, step, offset, bits):
    low, high = mantissa_range(bits, True)
    return np.clip(np.floor((logits - offset) / step + 0.5), low, high) * step + offset


@pytest.mark.parametrize("bits", [4, 5, 6])
def test_the_logits_range_keeps_more_classes_than_the_whole_range(bits):
    seen, unseen = logits_of(), logits_of(seed=1)
    high, step = mantissa_range(bits, True)[1], best_step(seen, bits)

    def kept(step, offset):
        return (rounded(unseen, step, offset, bits).argmax(1) == unseen.argmax(1)).mean()

    whole = np.exp2(np.ceil(np.log2(np.abs(seen).max() / high)))
    assert kept(step, seen.max() - high * step) > kept(whole, 0.0)
    # the largest logit of the calibration images is the largest mantissa
    chosen = choose(seen, bits)
    assert chosen.offset(chosen.exponent, bits) + high * 2.0**chosen.exponent == pytest.approx(seen.max())


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_best_step_has_the_least_error_of_all(bits):
    seen, high = logits_of().astype(np.float64), mantissa_range(bits, True)[1]
    step = best_step(seen, bits)

    def error(step):
        return ((rounded(seen, step, seen.max() - high * step, bits) - seen) ** 2).sum()

    whole = (seen.max() - seen.min()) / (2**bits - 1)
    assert error(step) <= 1.001 * min(error(whole * 2 ** (-k / 16)) for k in range(-16, 33))
    # as much better than the best power of two as its step is finer
    assert error(step) < error(2.0 ** choose(seen, bits).exponent)


def test_logits_all_alike_or_not_finite_are_left_as_they_are():
    network = import_module(nn.Conv2d(3, 4, 10).eval(), (3, 10, 10), "toy")
    for logits in (np.full((3, 4), 2.5), np.array([[1.0, np.nan, 0.0, 2.0]])):
        assert output_scaled(network, network.graph.output, logits, 5) is network


def classifier(bits, output="classes", count=32, scaled=False):
    """mobile_block with logits of a classifier's spread; scaled: as calib.transforms.output_scaling does."""
    module = mobile_block()
    with torch.no_grad():
        list(module.modules())[-1].weight.mul_(12)
    images = pixels((3, 10, 10), PRE, count)
    network = import_module(module, (3, 10, 10), "toy")
    if scaled:
        network = output_scaled(network, network.graph.output, float_model.logits(network, images).numpy(), bits)
    options = BfpOptions(weights=8, activations=bits, method="mse", weight_method="mse", output=output)
    fixed = plan(network.graph, options, PRE)
    statistics = Statistics(network.graph, fixed.splits, fixed.needs_histogram())
    float_model.run(network, images, keep=(), observe=statistics.observe)
    return network, quantise_network(network, statistics, fixed), images


@pytest.mark.parametrize("bits", [5, 8])
@pytest.mark.parametrize("scaled", [False, True])
def test_offset_and_scale_are_in_the_weights_and_come_back(tmp_path, bits, scaled):
    network, artifact, images = classifier(bits, scaled=scaled)
    assert artifact.result.offset != 0 and (artifact.result.scale == network.output_scales.get(network.graph.output, 1.0) != 1) == scaled
    saved = artifact_file.save(artifact, tmp_path / "artifact.npz")
    loaded = artifact_file.load(tmp_path / "artifact.npz")
    assert loaded.result.offset == saved.result.offset == artifact.result.offset
    assert loaded.result.scale == saved.result.scale == artifact.result.scale
    mantissas = golden.quantise_input(artifact, images.numpy())
    out, fmt = artifact.graph.output, artifact.formats[artifact.graph.output]
    step = 2.0 ** fmt.exponents[0]
    reference = golden.logits(loaded, mantissas)
    raw = golden.run(artifact, mantissas, keep=[out])[out].reshape(len(images), -1) * step
    scale = artifact.result.scale
    assert np.array_equal(reference, (raw + artifact.result.offset) * scale)
    assert np.array_equal(IntegerModel(artifact, torch.device("cpu")).logits(mantissas), reference)
    assert all(d.ok for d in check(artifact, mantissas))
    for other in (run(artifact, images.numpy()), auto.outputs(artifact, images.numpy())):
        assert np.abs(other - reference).max() <= 2 * step * scale
    exact = float_model.logits(network, images).numpy()
    lowest = (fmt.low * step + artifact.result.offset) * scale
    assert np.abs(reference - np.maximum(exact, lowest)).mean() < np.abs(exact).mean() / 4
    better = reconstruct(network, artifact, images.numpy(), "gptq", True)
    again = golden.logits(better, mantissas)
    noise = [((x - np.maximum(exact, lowest)) ** 2).sum() for x in (again, reference)]
    assert noise[0] < 1.05 * noise[1]


@pytest.mark.parametrize("bits, output", [(8, "values"), (5, "values"), (5, None)])
def test_values_keep_their_whole_range(bits, output):
    _, artifact, _ = classifier(bits, output)
    assert artifact.result.offset == 0 and artifact.result.scale == 1


@pytest.mark.parametrize("bits", [5, 8])
def test_scaled_output_has_less_noise(bits):
    noise = []
    for scaled in (False, True):
        network, artifact, images = classifier(bits, count=64, scaled=scaled)
        exact = float_model.logits(network, images).numpy()
        noise.append(((rounded_output(artifact, exact) - exact) ** 2).sum())
    assert noise[1] < noise[0]


def rounded_output(artifact, logits):
    """What is left of exact logits once the output tensor has been rounded."""
    fmt = artifact.formats[artifact.graph.output]
    values = logits / artifact.result.scale
    stored = rounded(values, 2.0 ** fmt.exponents[0], artifact.result.offset, fmt.bits) - artifact.result.offset
    return artifact.logits({artifact.graph.output: stored})


@pytest.mark.parametrize("bits", [5, 8])
def test_the_report_counts_the_signal_with_what_mantissas_leave_out(bits):
    network, artifact, images = classifier(bits, scaled=True)
    total = measure(network, artifact, images.numpy())[artifact.graph.output]
    exact = float_model.logits(network, images).double().numpy()
    noise = golden.logits(artifact, golden.quantise_input(artifact, images.numpy())) - exact
    assert total.reference / total.difference == pytest.approx((exact**2).sum() / (noise**2).sum(), rel=1e-3)


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": float("nan")}, {"offset": np.inf}])
def test_offset_and_scale_that_cannot_be_are_refused(tmp_path, wrong):
    _, artifact, _ = classifier(5)
    with pytest.raises(BfpError, match="output's offset .* and scale"):
        artifact_file.save(replace(artifact, outputs=(replace(artifact.result, **wrong),)), tmp_path / "artifact.npz")


def test_maps_and_activated_outputs_are_no_logits():
    for module in (nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(3, 4, 10), nn.ReLU()), nn.Conv2d(3, 1, 10)):
        graph = import_module(module.eval(), (3, 10, 10), "toy").graph
        assert not logit_range.applies(graph, graph.output, True)
    graph = import_module(nn.Conv2d(3, 4, 10).eval(), (3, 10, 10), "toy").graph
    assert logit_range.applies(graph, graph.output, True) and not logit_range.applies(graph, graph.output, False)


def test_kept_outputs_are_bounded():
    network = import_module(nn.Conv2d(3, 4, 10).eval(), (3, 10, 10), "toy")
    statistics = Statistics(network.graph, {})
    for _ in range(3):
        float_model.run(network, pixels((3, 10, 10), PRE, 300), keep=(), observe=statistics.observe)
    assert statistics.outputs[network.graph.output].shape == (KEPT_OUTPUTS, 4)
