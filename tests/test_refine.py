"""Corrections from calibration images: weight rounding, bias; each keeps what it must keep."""

import numpy as np
import pytest
import torch
from support.quantised import noise_db, pixels, quantised
from torch import nn
from support.mobile_block import PRE, mobile_block

from bfp import golden
from bfp import artifact_file
from bfp.limits import ACC_LIMIT
from bfp.parameters import accumulator_bound
from calib.network import float_model, in_parts
from calib.options import DESCENT, GPTQ, BfpOptions
from calib.network.fake_quant import check
from calib.frontend.importer import import_module
from calib.reconstruction import samples
from calib.reconstruction.layerwise import FOLDS, RIDGES, best_ridge, image_limit, reconstruct
from calib.reconstruction.gptq import fits, gptq


def narrow(**changes):
    return BfpOptions(weights=4, activations=6, weight_group=8, activation_group=8, weight_method="mse", **changes)


def test_refining_brings_a_narrow_network_closer_to_float():
    images = pixels((3, 10, 10), PRE, 48)
    plain, network, _ = quantised(mobile_block(), (3, 10, 10), narrow(), images=images)
    unseen = pixels((3, 10, 10), PRE, 32, seed=9)
    found = {}
    for rounding, bias in (("nearest", True), ("gptq", False), ("gptq", True), ("descent", True)):
        better = reconstruct(network, plain, images.numpy(), rounding, bias)
        found[rounding, bias] = noise_db(better, network, unseen)
        assert all(d.ok for d in check(better, golden.quantise_input(better, unseen.numpy())))
    assert found["gptq", True] > noise_db(plain, network, unseen) + 3
    assert found["nearest", True] > noise_db(plain, network, unseen)


def test_bias_correction_removes_the_mean_error():
    images = pixels((3, 6, 6), PRE, 8)
    plain, network, _ = quantised(nn.Conv2d(3, 7, 3), (3, 6, 6), narrow(), images=images)
    better = reconstruct(network, plain, images.numpy(), rounding="nearest", bias=True)
    node = plain.graph.nodes[0]
    assert np.array_equal(better.parameters[node.name].weights.mantissas, plain.parameters[node.name].weights.mantissas)
    reference = float_model.run(network, images)[node.output].double().numpy().mean(axis=(0, 2, 3))
    lsb = np.exp2(plain.formats[node.output].channel_exponents().astype(float))
    for artifact, limit in ((better, 0.1), (plain, np.inf)):
        q = golden.run(artifact, golden.quantise_input(artifact, images.numpy()))[node.output]
        assert np.all(np.abs(q.mean(axis=(0, 2, 3)) * lsb - reference) < limit * lsb)


def test_refining_is_deterministic_and_proved(tmp_path):
    images = pixels((3, 10, 10), PRE, 16)
    plain, network, _ = quantised(mobile_block(), (3, 10, 10), narrow(), images=images)
    files = []
    for i in range(2):
        artifact = reconstruct(network, plain, images.numpy(), "gptq", True, seed=5)
        artifact_file.save(artifact, tmp_path / f"{i}.npz")
        files.append((tmp_path / f"{i}.npz").read_bytes())
    assert files[0] == files[1]
    for node in artifact.graph.nodes:
        source, target, shortcut = artifact.operand_formats(node)
        p = artifact.parameters[node.name]
        if p.weights is not None:
            assert np.all(accumulator_bound(node, p, source, shortcut, artifact.graph.shapes[node.main][1:]) < ACC_LIMIT)
            assert np.abs(p.weights.mantissas).max() <= 7


@pytest.mark.parametrize("what", ["filter", "channel", "image"])
def test_dead_filters_channels_and_constant_images(what):
    module = mobile_block()
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    images = pixels((3, 10, 10), PRE, 4)
    with torch.no_grad():
        if what == "filter":
            layers[2].weight[3] = 0
            layers[1].weight[4] = 0
        elif what == "channel":
            layers[1].bias[5] = -1e4  # never above zero
        else:
            images = torch.zeros_like(images) + 0.5
    plain, network, _ = quantised(module, (3, 10, 10), narrow(), images=images)
    better = reconstruct(network, plain, images.numpy(), "gptq", True)
    assert noise_db(better, network, images) > 15
    if what == "filter":
        depthwise = next(n for n in better.graph.nodes if n.op == "depthwise")
        assert not better.parameters[depthwise.name].weights.mantissas[3].any()


def test_gptq_is_never_worse_than_rounding_to_nearest_on_correlated_inputs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 40, generator=generator, dtype=torch.float64) @ torch.randn(
        40, 4000, generator=generator, dtype=torch.float64
    )
    hessian = (x @ x.T)[None]
    weight = torch.randn(1, 6, 12, generator=generator, dtype=torch.float64)
    step = torch.full_like(weight, 0.25)
    nearest = torch.floor(weight / step + 0.5).clamp(-7, 7)
    found = gptq(weight, hessian, step, -7, 7)

    def error(q):
        return float((((q * step - weight)[0] @ x) ** 2).sum())

    assert torch.equal(found, found.round()) and found.abs().max() <= 7
    assert error(found) < 0.8 * error(nearest)


def test_fit_recovers_weights_and_stays_where_nothing_was_seen():
    x = torch.randn(1, 5, 400, dtype=torch.float64)
    wanted = torch.randn(1, 2, 5, dtype=torch.float64)
    start = torch.zeros_like(wanted)
    (found,) = fits(start, x @ x.mT, wanted @ x @ x.mT, (1e-9,))
    assert torch.allclose(found, wanted, atol=1e-6)
    silent = torch.zeros(1, 5, 5, dtype=torch.float64)
    (found,) = fits(wanted, silent, wanted @ silent, (0.1,))
    assert torch.equal(found, wanted)


def test_image_limit_bounds_memory():
    network = import_module(nn.Conv2d(3, 8, 1), (3, 4096, 4096), "large")
    assert image_limit(network, GPTQ) == image_limit(network, DESCENT) == 1
    network = import_module(nn.Conv2d(3, 8, 1), (3, 1024, 1024), "smaller")
    assert (image_limit(network, GPTQ), image_limit(network, DESCENT)) == (8, 24)


def test_ridge_follows_what_images_left_out_say(monkeypatch):
    generator = torch.Generator().manual_seed(0)

    def moments(samples, inputs, noise, change):
        x = torch.randn(1, inputs, samples, generator=generator, dtype=torch.float64)
        y = (weight + change) @ x + noise * torch.randn(1, 4, samples, generator=generator, dtype=torch.float64)
        return x @ x.mT, y @ x.mT

    weight = torch.randn(1, 4, 40, generator=generator, dtype=torch.float64)
    change = 0.3 * torch.randn(1, 4, 40, generator=generator, dtype=torch.float64)

    def ridge(samples, noise, change):
        parts = [moments(samples, 40, noise, change) for _ in range(FOLDS)]
        return best_ridge(weight, sum(h for h, _ in parts), sum(c for _, c in parts), parts)

    assert ridge(2000, 1.0, change) == RIDGES[0]  # there is something to be learnt, and enough to learn it from
    assert ridge(30, 1.0, 0 * change) >= RIDGES[-2]  # nothing but noise
    solved = []
    monkeypatch.setattr(torch.linalg, "cholesky", lambda *a, f=torch.linalg.cholesky: solved.append(1) or f(*a))
    assert ridge(8, 10.0, 0 * change) == RIDGES[-1] and len(solved) == 2 * FOLDS  # weaker ones are not looked at
    one = moments(100, 40, 1.0, change)
    assert best_ridge(weight, *one, [one]) == RIDGES[-1]  # nothing is left to judge by


def test_what_is_computed_a_few_images_at_a_time_does_not_depend_on_how_many(monkeypatch):
    images = pixels((3, 10, 10), PRE, 24)
    plain, network, _ = quantised(mobile_block(), (3, 10, 10), narrow(), images=images)
    found, convolutions = [], []
    convolve = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda *a, **k: convolutions.append(len(a[0])) or convolve(*a, **k))
    for values in (1 << 20, 1500):
        monkeypatch.setattr(in_parts, "PART_VALUES", values)
        monkeypatch.setattr(samples, "GROUP_VALUES", values)
        convolutions.clear()
        found.append(reconstruct(network, plain, images.numpy(), "gptq", True).parameters)
        # float, with the new weights for the bias, and with that
        assert sum(convolutions) == 3 * len(images) * len(network.weights)
        assert (min(convolutions) == len(images)) == (values == 1 << 20)
    whole, parts = found
    assert all(np.array_equal(p.bias, parts[n].bias) for n, p in whole.items())
    assert all(np.array_equal(p.weights.mantissas, parts[n].weights.mantissas) for n, p in whole.items() if p.weights)
