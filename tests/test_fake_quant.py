"""The fake-quantised view against the golden model: an error in the contract itself would show here."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.quantised import quantised
from torch import nn

from bfp import golden
from bfp.golden import model
from bfp.operators import OPERATORS
from calib.network import fake_quant
from calib.options import BfpOptions
from calib.network.fake_quant import check


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_agree(seed):
    artifact = random_artifact(seed, lanes=8)
    wrong = [d for d in check(artifact, random_input(artifact, seed)) if not d.ok]
    assert not wrong


def test_the_random_graphs_hold_every_operator():
    met = {node.op for seed in range(60) for node in random_artifact(seed, lanes=8).graph.nodes}
    assert met == set(OPERATORS)


def small():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.AvgPool2d(3), nn.Conv2d(8, 5, 2)
    )
    with torch.no_grad():
        module[4].weight[:, 4:] *= 8  # so that its two blocks have different exponents
    return quantised(module, (3, 11, 11), BfpOptions(weights=6, weight_group=4, activation_group=4))


def test_the_whole_network_in_real_numbers():
    artifact, _, images = small()
    x = images.numpy()
    real = fake_quant.run(artifact, x)
    integer = golden.logits(artifact, golden.quantise_input(artifact, x))
    lsb = fake_quant.scales(artifact.formats[artifact.graph.output]).numpy().ravel()
    # the average pool may be off by one bit, which the last convolution spreads
    assert np.abs(real - integer).max() <= 3 * lsb.max()


def mutated(name):
    """The golden model's epilogue with one mistake in it."""
    original = model.epilogue

    def epilogue(acc, node, p, target, shortcut):
        if name == "truncates":
            return np.clip(np.maximum(acc, 0 if node.activation != "none" else -(2**31)) >> 3, target.low, target.high)
        if name == "forgets the clamp":
            kept = "relu" if node.activation == "relu6" else node.activation
            return original(acc, replace(node, activation=kept), p, target, shortcut)
        if name == "rounds up":
            return np.minimum(original(acc, node, p, target, shortcut) + 1, target.high).astype(np.int16)
        if name == "wraps":
            wide = replace(target, bits=8, signed=True)
            return original(acc, node, p, wide, shortcut)
        return original(acc, node, p, target, shortcut)

    return epilogue


@pytest.mark.parametrize("mistake", ["truncates", "forgets the clamp", "rounds up", "wraps"])
def test_a_mistake_in_the_golden_model_shows(monkeypatch, mistake):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        conv.weight *= 40  # far above six
    artifact, _, images = quantised(nn.Sequential(conv, nn.ReLU6()), (3, 8, 8))
    mantissas = golden.quantise_input(artifact, images.numpy())
    assert all(d.differing == 0 for d in check(artifact, mantissas))
    monkeypatch.setattr(model, "epilogue", mutated(mistake))
    assert not all(d.ok for d in check(artifact, mantissas))


def test_a_wrong_alignment_shift_shows():
    artifact, _, images = small()
    mantissas = golden.quantise_input(artifact, images.numpy())
    node = next(n for n in artifact.graph.nodes if artifact.parameters[n.name].align_shift.any())
    p = artifact.parameters[node.name]
    wrong = replace(p, align_shift=p.align_shift * 0)
    broken = replace(artifact, parameters={**artifact.parameters, node.name: wrong})
    assert [d.node for d in check(broken, mantissas) if not d.ok] == [node.name]
