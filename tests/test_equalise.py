"""Cross-layer equalisation keeps the function and evens the ranges out."""

import numpy as np
import pytest
import torch
from small_modules import Fn
from test_quantise import noise_db, pixels, quantised
from torch import nn

from bfp.artifact import Preprocessing
from calib import float_model
from calib.config import BfpOptions
from calib.equalise import equalise, readers
from calib.importer import import_module
from calib.layer_options import resolve_options

PRE = Preprocessing((8, 8), (127.0,) * 3, (128.0,) * 3)


def chain(activation=torch.relu, dead=False):
    """Convolution, depthwise, pool, convolution, with channels eight octaves apart."""
    torch.manual_seed(0)
    a, b, c = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 6, 1)
    with torch.no_grad():
        octaves = torch.exp2(torch.linspace(-4, 4, 16))[torch.randperm(16)]
        a.weight *= octaves[:, None, None, None]
        a.bias *= octaves
        c.weight /= octaves[None, :, None, None]
        if dead:
            a.weight[3], b.weight[5], c.weight[:, 7] = 0, 0, 0
    pool = nn.MaxPool2d(2)
    return Fn(lambda m, x: m[2](m[3](activation(m[1](activation(m[0](x)))))), a, b, c, pool).eval()


@pytest.mark.parametrize("dead", [False, True])
def test_function_is_preserved_and_ranges_even_out(dead):
    network = import_module(chain(dead=dead), (3, 8, 8), "toy")
    images = pixels((3, 8, 8), PRE)
    even = equalise(network)
    reference = float_model.logits(network, images)
    assert torch.allclose(float_model.logits(even, images), reference, atol=1e-5 * float(reference.abs().max()))
    first = network.graph.nodes[0].name

    def octaves(net):
        span = np.abs(net.weights[first].weight).max(axis=(1, 2, 3))
        span = span[span > 0]
        return np.log2(span.max() / span.min())

    assert octaves(even) < octaves(network) - 2
    assert all(np.isfinite(w.weight).all() and np.isfinite(w.bias).all() for w in even.weights.values())


def test_relu6_sums_and_outputs_are_left_alone():
    network = import_module(chain(nn.functional.relu6), (3, 8, 8), "toy")
    assert all(not readers(network.graph, n) for n in network.graph.nodes if n.op != "max_pool")
    even = equalise(network)
    assert all(np.array_equal(even.weights[k].weight, w.weight) for k, w in network.weights.items())
    a, b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    graph = import_module(Fn(lambda m, x: m[1](torch.relu(m[0](x))) + x, a, b), (3, 8, 8), "toy").graph
    assert [len(readers(graph, n)) for n in graph.nodes if n.op == "conv"] == [1, 0]


def test_equalising_helps_one_exponent_a_tensor():
    module = chain()
    images = pixels((3, 8, 8), PRE, 8)
    options = BfpOptions(weights=6, activations=6, weight_group=0)
    plain, network, _ = quantised(module, (3, 8, 8), options, images=images)
    from calib.quantise import plan, quantise_network
    from calib.statistics import Statistics

    even = equalise(network)
    statistics = Statistics(even.graph, plan(even.graph, options, PRE).splits)
    float_model.run(even, images, keep=(), observe=statistics.observe)
    better = quantise_network(even, statistics, options, PRE)
    assert noise_db(better, network, images) > noise_db(plain, network, images) + 3


def test_sensitive_layers_keep_their_width():
    from test_refine import mobile_block

    graph = import_module(mobile_block(), (3, 10, 10), "toy").graph
    chosen = resolve_options(graph, BfpOptions(weights=4, activations=5, sensitive=8))
    layers = [n for n in graph.nodes if n.op in ("conv", "depthwise")]
    for node in layers:
        wide = node.op == "depthwise" or node in (layers[0], layers[-1])
        assert chosen[node.name].weights == (8 if wide else 4)
    trunk = {n.shortcut for n in graph.nodes if n.shortcut} | {n.output for n in graph.nodes if n.shortcut}
    assert trunk and all(chosen[n.name].activations == (8 if n.output in trunk else 5) for n in graph.nodes)
    assert {o.weights for o in resolve_options(graph, BfpOptions(weights=4)).values()} == {4}
