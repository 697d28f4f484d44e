"""Rounding that counts what errors cost at the network's output: coordinate descent after GPTQ, and doubled steps."""

import numpy as np
import pytest
import torch
from support.mobile_block import PRE, mobile_block
from support.quantised import noise_db, pixels, quantised

from bfp import artifact_file, golden
from bfp.limits import ACC_LIMIT, MAX_ALIGN_SHIFT
from bfp.parameters import accumulator_bound
from calib.config import bfp_options
from calib.network.fake_quant import check
from calib.observers.output_curvature import output_curvatures, shrunk
from calib.options import BfpOptions
from calib.reconstruction.descent import RIDGE, descend
from calib.observers import second_moments
from calib.reconstruction.gptq import gptq, with_doubled_steps
from calib.reconstruction.layerwise import reconstruct


def moment(size, samples, seed, rank=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, rank or size, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(rank or size, samples, generator=generator, dtype=torch.float64)
    return x @ x.T / samples


def cost(found, wanted, step, hessian, curvature):
    """J of calib.reconstruction.descent, element by element, with its ridges."""
    error = (wanted - found * step).numpy()
    damped = [m.numpy() + RIDGE * np.trace(m.numpy()) / len(m) * np.eye(len(m)) for m in (curvature, hessian)]
    return float(np.einsum("fg,fj,gk,jk->", damped[0], error, error, damped[1]))


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_descent_ends_where_no_single_step_helps_and_costs_less_than_gptq(rank):
    hessian, curvature = moment(12, 400, 1), moment(8, 400, 2, rank)
    wanted = torch.randn(8, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = torch.full_like(wanted, 0.5)
    step[::2] = 0.25
    first = gptq(wanted[None], hessian[None], step[None], -3, 3)[0]
    found = descend(first, wanted, step, (hessian, curvature), -3, 3)
    assert torch.equal(found, found.round()) and found.abs().max() <= 3
    least = cost(found, wanted, step, hessian, curvature)
    assert least < cost(first, wanted, step, hessian, curvature)
    for f, k in np.ndindex(*found.shape):
        for by in (-1, 1):
            other = found.clone()
            other[f, k] += by
            if abs(other[f, k]) <= 3:
                assert cost(other, wanted, step, hessian, curvature) > least * (1 - 1e-6)


def test_errors_that_cancel_at_the_output_cost_nothing():
    """Two equal filters of one rounding error each, whose sum is all that the output sees: one of them is rounded away."""
    curvature = torch.ones(2, 2, dtype=torch.float64)
    wanted = torch.full((2, 1), 0.4, dtype=torch.float64)
    step, hessian = torch.ones_like(wanted), torch.ones(1, 1, dtype=torch.float64)
    found = descend(torch.zeros_like(wanted), wanted, step, (hessian, curvature), -3, 3)
    assert sorted(found.flatten().tolist()) == [0, 1]
    assert not descend(torch.zeros_like(wanted), wanted, step, (hessian, torch.eye(2).double()), -3, 3).any()


def test_only_filters_that_gain_double_their_step():
    hessian = moment(10, 300, 5)[None]
    wanted = torch.randn(1, 4, 10, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    wanted[0, 1] *= 6  # nearly all of it is clipped
    wanted[0, 3] *= 6
    step = torch.full_like(wanted, 0.5)
    first = gptq(wanted, hessian, step, -3, 3)
    room = torch.tensor([[True, True, True, False]])
    found, doubled = with_doubled_steps(wanted, hessian, step, first, (-3, 3), room)
    assert doubled[0, 1] and not doubled[0, 3]
    kept = ~doubled[0]
    assert torch.equal(found[0, kept], first[0, kept]) and not torch.equal(found[0, 1], first[0, 1])


def test_curvature_is_that_of_finite_differences():
    images = pixels((3, 10, 10), PRE, 6)
    _, network, _ = quantised(mobile_block(), (3, 10, 10), BfpOptions(), images=images)
    layers = {n.name for n in network.graph.weighted()}
    found = output_curvatures(network, images.numpy(), layers)
    assert set(found) == layers
    last = network.graph.producer(network.graph.outputs[0])
    for name, matrix in found.items():
        assert torch.allclose(matrix, matrix.T) and torch.linalg.eigvalsh(matrix).min() > -1e-6 * matrix.trace()
    if last.name in layers and last.act.is_identity:  # errors of the output itself count as they are, each by itself
        diagonal = found[last.name].diagonal()
        assert torch.allclose(diagonal, diagonal.mean().expand_as(diagonal))
    assert torch.equal(shrunk(torch.ones(2, 2), 2), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))


def test_descent_is_deterministic_proved_and_nearer_to_float(tmp_path):
    images, unseen = pixels((3, 10, 10), PRE, 48), pixels((3, 10, 10), PRE, 32, seed=9)
    options = BfpOptions(weights=3, activations=8, weight_group=8, activation_group=8, weight_method="mse")
    plain, network, _ = quantised(mobile_block(), (3, 10, 10), options, images=images)
    for i in range(2):
        artifact = reconstruct(network, plain, images.numpy(), "descent", True, seed=5)
        artifact_file.save(artifact, tmp_path / f"{i}.npz")
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()
    without = reconstruct(network, plain, images.numpy(), "gptq", True, seed=5)
    assert noise_db(artifact, network, unseen) > noise_db(without, network, unseen)
    assert all(d.ok for d in check(artifact, golden.quantise_input(artifact, unseen.numpy())))
    raised = 0
    for node in artifact.graph.weighted():
        source, _, shortcut = artifact.operand_formats(node)
        p, old = artifact.parameters[node.name], plain.parameters[node.name]
        assert np.all(accumulator_bound(node, p, source, shortcut, artifact.graph.shapes[node.main][1:]) < ACC_LIMIT)
        assert np.abs(p.weights.mantissas).max() <= 3 and p.align_shift.max(initial=0) <= MAX_ALIGN_SHIFT
        assert set(np.unique(p.weights.exponents - old.weights.exponents)) <= {0, 1}
        raised += np.count_nonzero(p.weights.exponents != old.weights.exponents)
    assert raised


def test_descent_is_the_default_at_four_bits_and_below():
    for bits, rounding in ((8, "gptq"), (5, "gptq"), (4, "descent"), (3, "descent")):
        assert bfp_options({"weights": bits}, "here").rounding == rounding
    assert bfp_options({"weights": 4, "rounding": "gptq"}, "here").rounding == "gptq"
    assert bfp_options({"weights": 4, "method": "max"}, "here").rounding == "nearest"


def test_products_of_second_moments_are_computed_once(monkeypatch):
    x = torch.randn(2, 100, 300, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(second_moments, "BLOCK", 32)
    found = second_moments.gram(x)
    assert torch.equal(found, found.mT) and torch.allclose(found, x @ x.mT, rtol=1e-5, atol=1e-3)
    x[:, 40:] = torch.nan  # what is behind a row's own block does not reach those before it
    assert torch.equal(second_moments.gram(x)[:, :32, :32], found[:, :32, :32])


def test_a_network_without_weights_has_no_curvature():
    module = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    artifact, network, images = quantised(module, (3, 10, 10), BfpOptions(weights=4, activations=4))
    assert output_curvatures(network, images.numpy(), set()) == {}
    assert reconstruct(network, artifact, images.numpy(), "descent", True).formats == artifact.formats
