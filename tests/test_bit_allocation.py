"""Widths of single layers under a budget of bits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.quantised import noise_db, pixels, quantised
from support.mobile_block import PRE, mobile_block
from torch import nn

from bfp.errors import BfpError
from calib.config import load_config
from calib.options import BfpOptions, Override
from calib.frontend.importer import import_module
from calib.formats.bit_allocation import WIDTHS, Noise, activation_noises, allocate, weight_noises
from calib.pipeline import calibrate
from calib.formats.plan import plan
from calib.observers.statistics import Statistics


def noise(layer, values, scale, floor=2):
    return Noise(layer, values, floor, tuple(scale * 4.0**-b for b in WIDTHS))


def cost(noises, widths):
    return sum(n.by_width[widths[n.layer] - 2] for n in noises)


@pytest.mark.parametrize("seed", range(5))
def test_allocation_is_within_the_budget_and_better_than_any_single_change(seed):
    rng = np.random.default_rng(seed)
    noises = [noise(f"l{i}", 100, float(np.exp(rng.normal() * 3))) for i in range(9)]
    widths = allocate(noises, 4.5)
    assert sum(100 * w for w in widths.values()) <= 4.5 * 900
    assert cost(noises, widths) <= cost(noises, {n.layer: 4 for n in noises})
    # with layers of one size, moving a bit from any layer to any other must not help
    for a in widths:
        for b in widths:
            if a != b and widths[a] > 2 and widths[b] < 8:
                assert cost(noises, {**widths, a: widths[a] - 1, b: widths[b] + 1}) >= cost(noises, widths)


def test_allocation_keeps_floors_and_refuses_what_cannot_be():
    noises = [noise("small", 10, 1.0, floor=8), noise("big", 1000, 100.0)]
    assert allocate(noises, 3.0)["small"] == 8
    assert allocate(noises, 8.0) == {"small": 8, "big": 8}
    with pytest.raises(BfpError, match="budget of 2 bits is below 2.06"):
        allocate(noises, 2.0)


def test_a_layer_without_effect_gets_no_bits():
    assert allocate([noise("dead", 10, 0.0), noise("live", 10, 1.0)], 5.0) == {"dead": 2, "live": 8}


def test_measured_noise_tells_a_sensitive_layer():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False)]
    with torch.no_grad():
        layers[1].weight.copy_(torch.eye(8)[:, :, None, None])  # exact in any width
    network = import_module(nn.Sequential(*layers).eval(), (3, 10, 10), "toy")
    options = BfpOptions(weights=4, activations=4)
    fixed, images = plan(network.graph, options, PRE), pixels((3, 10, 10), PRE, 4)
    found = {n.layer: n for n in weight_noises(network, fixed, images)}
    first, exact, _ = (n.name for n in network.graph.nodes)
    assert found[exact].by_width[2] == 0 and found[first].by_width[2] > 0
    assert all(a >= b for a, b in zip(found[first].by_width, found[first].by_width[1:]))
    statistics = Statistics(network.graph, fixed.splits)
    from calib.network import float_model

    float_model.run(network, images, keep=(), observe=statistics.observe)
    stored = activation_noises(network, fixed, statistics, images)
    assert [n.layer for n in stored] == [n.name for n in network.graph.nodes]
    assert all(n.values == np.prod(network.graph.shapes[n.layer]) and n.by_width[0] > 0 for n in stored)


def test_budget_beats_one_width_of_the_same_memory():
    images = pixels((3, 10, 10), PRE, 32)
    options = BfpOptions(weights=4, activations=8, weight_method="mse", method="mse")
    plain, network, _ = quantised(mobile_block(), (3, 10, 10), options, images=images)
    widths = allocate(weight_noises(network, plan(network.graph, options, PRE), images[:8]), 4.0)
    mixed = replace(options, overrides=tuple(Override(name, weights=bits) for name, bits in widths.items()))
    better, _, _ = quantised(mobile_block(), (3, 10, 10), mixed, images=images)
    sizes = {n: p.weights.mantissas.size for n, p in better.parameters.items() if p.weights}
    assert len(set(widths.values())) > 1
    assert sum(better.parameters[n].weights.bits * s for n, s in sizes.items()) <= 4 * sum(sizes.values())
    unseen = pixels((3, 10, 10), PRE, 32, seed=5)
    assert noise_db(better, network, unseen) > noise_db(plain, network, unseen)


TOML = """
model = "test_refine:mobile_block"
[input]
size = 10
mean = 127
std = 128
[calibration]
images = "random"
limit = 12
[bfp]
weights = 4
activations = 6
weight_budget = 4.5
activation_budget = 6.5
[[bfp.override]]
layers = "{name}"
weights = 3
"""


def test_budget_in_a_file_and_an_override_wins(tmp_path):
    graph = import_module(mobile_block(), (3, 10, 10), "toy").graph
    name = graph.nodes[1].name
    path = tmp_path / "net.toml"
    path.write_text(TOML.format(name=name))
    artifact = calibrate(load_config(path), tmp_path / "a")
    widths = {n: p.weights.bits for n, p in artifact.parameters.items() if p.weights}
    assert widths[name] == 3 and len(set(widths.values())) > 2
    assert artifact.provenance["bfp"]["weight_budget"] == 4.5
    assert any(o["layers"] == graph.nodes[0].name for o in artifact.provenance["bfp"]["overrides"])
    again = calibrate(load_config(path), tmp_path / "b")
    assert (tmp_path / "a" / "artifact.npz").read_bytes() == (tmp_path / "b" / "artifact.npz").read_bytes()
    assert again.digest == artifact.digest
