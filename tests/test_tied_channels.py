"""Which channels must be changed together: by operators' records, and never past one that cannot hand a change on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.small_modules import Fn, random_module
from torch import nn

from bfp.activations import ACTIVATIONS
from bfp.errors import BfpError
from bfp.operators import OPERATORS, Scaling
from calib.frontend.importer import import_module
from calib.network import float_model
from calib.transforms.range_centring import shiftable
from calib.transforms.rescaling import rescaled
from calib.transforms.tied_channels import Change, tied_channels, takes_in


def graph_of(module, channels=3):
    return import_module(module.eval(), (channels, 8, 8), "toy").graph


def pooled():
    """Convolution, ReLU, depthwise convolution, pool, convolution."""
    layers = [nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.MaxPool2d(2), nn.Conv2d(6, 4, 1)]
    return graph_of(nn.Sequential(*layers))


def test_weights_take_scales_in_and_depthwise_ones_hand_an_order_on():
    graph = pooled()
    first, depthwise, pool, last = graph.nodes
    scales, orders = tied_channels(graph, Change.SCALE).chains(), tied_channels(graph, Change.ORDER).chains()
    found = [(c.tensors, c.layers, c.readers) for c in scales]
    assert found == [
        ((first.output,), (first,), (depthwise,)),
        ((depthwise.output, pool.output), (depthwise,), (last,)),
    ]
    (chain,) = orders
    assert chain.tensors == (first.output, depthwise.output, pool.output)
    assert chain.layers == (first, depthwise) and chain.readers == (last,)
    assert takes_in(first, graph.input, Change.SCALE) and not takes_in(last, graph.input, Change.SCALE)


@pytest.mark.parametrize("op", ["depthwise", "max_pool"])
def test_an_operator_that_blocks_scales_ends_them(monkeypatch, op):
    """Neither its operand's channels nor its output's are free any more; their order still is."""
    before = {c.layers[0].op for c in tied_channels(pooled(), Change.SCALE).chains()}
    monkeypatch.setitem(OPERATORS, op, replace(OPERATORS[op], scaling=Scaling.BLOCKED))
    graph = pooled()
    node = next(n for n in graph.nodes if n.op == op)
    tied = tied_channels(graph, Change.SCALE)
    assert not tied.free[tied.of[node.main]].any() and not tied.free[tied.of[node.output]].any()
    chains = {c.layers[0].op for c in tied.chains()}
    assert before == {"conv", "depthwise"} and chains == (set() if op == "depthwise" else {"conv"})
    assert len(tied_channels(graph, Change.ORDER).chains()) == 1


def test_an_activation_that_blocks_scales_ends_them(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "relu", replace(ACTIVATIONS["relu"], scaling=Scaling.BLOCKED))
    graph = pooled()
    tied = tied_channels(graph, Change.SCALE)
    assert [c.layers[0].op for c in tied.chains()] == ["depthwise"]
    with pytest.raises(BfpError, match="relu lets no factor of a channel through"):
        network = import_module(nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU()).eval(), (3, 8, 8), "toy")
        rescaled(network, {network.graph.output: np.ones(6, np.float32)})


def test_a_limit_without_weights_to_take_its_factor_ends_scales():
    """ReLU6 behind a sum of two pools has six for every channel."""

    def forward(m, x):
        x = m[0](x)
        return m[1](nn.functional.relu6(nn.functional.max_pool2d(x, 2) + nn.functional.avg_pool2d(x, 2)))

    graph = graph_of(Fn(forward, nn.Conv2d(3, 5, 1), nn.Conv2d(5, 4, 1)))
    tied = tied_channels(graph, Change.SCALE)
    limited = next(n for n in graph.nodes if n.activation == "relu6")
    assert not limited.weighted and not tied.free[tied.of[limited.output]].any() and tied.chains() == []


def test_a_layer_that_adds_its_own_input_ties_it_to_its_output():
    def forward(m, x):
        x = m[0](x)
        return m[2](m[1](x) + x)

    graph = graph_of(Fn(forward, nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 2, 1)))
    total = next(n for n in graph.nodes if n.shortcut)
    assert total.main == total.shortcut
    for change in Change:
        tied = tied_channels(graph, change)
        assert np.array_equal(tied.of[total.output], tied.of[total.main]) and tied.free[tied.of[total.main]].all()
        assert tied.chains() == []


def random_factors(graph, seed):
    """One positive factor for every free class, by tensor."""
    tied = tied_channels(graph, Change.SCALE)
    scale = np.exp2(np.random.default_rng(seed).uniform(-3, 3, len(tied.free)))
    scale[~tied.free] = 1
    return {t: scale[c].astype(np.float32) for t, c in tied.of.items()}


@pytest.mark.parametrize("seed", range(25))
def test_any_factors_of_free_classes_keep_the_function(seed):
    """Random networks of every operator: each tensor is divided by its channels' factors, the output by none."""
    torch.manual_seed(seed)
    network = import_module(random_module(seed).eval(), (4, 9, 8), "toy")
    images = torch.randn(3, 4, 9, 8)
    factors = random_factors(network.graph, seed)
    changed = rescaled(network, factors)
    before, after = float_model.run(network, images), float_model.run(changed, images)
    for tensor, values in before.items():
        want = values / torch.from_numpy(factors[tensor])[:, None, None]
        assert torch.allclose(after[tensor], want, rtol=1e-3, atol=1e-4 * float(want.abs().max())), tensor


def test_shifts_pass_no_operator_that_blocks_them(monkeypatch):
    graph = graph_of(nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1)))
    assert shiftable(graph) == [graph.nodes[0].output]
    blocked = OPERATORS["max_pool"].shifting
    monkeypatch.setitem(OPERATORS, "conv", replace(OPERATORS["conv"], shifting=blocked))
    assert shiftable(graph) == []
