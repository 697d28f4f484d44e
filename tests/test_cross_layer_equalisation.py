"""Cross-layer equalisation keeps the function and evens the ranges out."""

import numpy as np
import pytest
import torch
from support.small_modules import Fn
from support.quantised import noise_db, pixels, quantised
from torch import nn

from bfp.artifact import Preprocessing
from calib.network import float_model
from calib.observers.channel_ranges import ChannelRanges
from calib.options import BfpOptions
from calib.transforms.cross_layer_equalisation import chains, ranges_equalised, weights_equalised
from calib.frontend.importer import import_module
from calib.formats.layer_options import resolve_options
from calib.formats.plan import plan
from calib.formats.solver import quantise_network
from calib.network.fake_quant import fake_quantise
from calib.observers.statistics import Statistics

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
    even = weights_equalised(network)
    reference = float_model.logits(network, images)
    assert torch.allclose(float_model.logits(even, images), reference, atol=1e-5 * float(reference.abs().max()))
    first = network.graph.nodes[0].name

    def octaves(net):
        span = np.abs(net.weights[first].weight).max(axis=(1, 2, 3))
        span = span[span > 0]
        return np.log2(span.max() / span.min())

    assert octaves(even) < octaves(network) - 2
    assert all(np.isfinite(w.weight).all() and np.isfinite(w.bias).all() for w in even.weights.values())


@pytest.mark.parametrize("dead", [False, True])
def test_relu6_gets_a_limit_per_channel(dead):
    network = import_module(chain(nn.functional.relu6, dead), (3, 8, 8), "toy")
    images = 20 * pixels((3, 8, 8), PRE)  # far beyond six
    even = weights_equalised(network)
    first = network.graph.nodes[0]
    scale = 6 / even.weights[first.name].limit
    assert scale.max() / scale.min() > 16
    reference, found = (float_model.run(n, images)[first.output] for n in (network, even))
    assert float(reference.max()) == 6
    assert torch.allclose(found * torch.from_numpy(scale)[:, None, None], reference, atol=1e-5)
    reference = float_model.logits(network, images)
    assert torch.allclose(float_model.logits(even, images), reference, atol=1e-5 * float(reference.abs().max()))


def test_sums_and_outputs_are_left_alone():
    a, b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    graph = import_module(Fn(lambda m, x: m[1](torch.relu(m[0](x))) + x, a, b), (3, 8, 8), "toy").graph
    first = next(n for n in graph.nodes if n.op == "conv")
    assert [(c.layers, c.tensors, len(c.readers)) for c in chains(graph)] == [((first,), (first.output,), 1)]


def test_equalising_helps_one_exponent_a_tensor():
    module = chain()
    images = pixels((3, 8, 8), PRE, 8)
    options = BfpOptions(weights=6, activations=6, weight_group=0)
    plain, network, _ = quantised(module, (3, 8, 8), options, images=images)
    even = weights_equalised(network)
    fixed = plan(even.graph, options, PRE)
    statistics = Statistics(even.graph, fixed.splits)
    float_model.run(even, images, keep=(), observe=statistics.observe)
    better = quantise_network(even, statistics, fixed)
    assert noise_db(better, network, images) > noise_db(plain, network, images) + 3


def ends_of(network, images, fixed, whole=False):
    tensors = {c.tensors[0] for c in chains(network.graph)}
    ranges = ChannelRanges(network.graph, tensors)
    float_model.run(network, images, keep=(), observe=ranges.observe)
    if whole:
        return {t: ranges.whole(t, fixed.splits[t]) for t in tensors}
    widths = {t: (fixed.splits[t], fixed.bits[t], fixed.signed[t]) for t in tensors}
    return {t: ranges.ends(t, *w, np.ones(w[0][-1]), np.inf) for t, w in widths.items()}


@pytest.mark.parametrize("activation", [torch.relu, nn.functional.relu6])
@pytest.mark.parametrize("dead", [False, True])
def test_filled_ranges_end_where_mantissas_end(activation, dead):
    network = import_module(chain(activation, dead), (3, 8, 8), "toy")
    images = 4 * pixels((3, 8, 8), PRE)
    fixed = plan(network.graph, BfpOptions(activations=5, activation_group=4), PRE)
    even = ranges_equalised(network, ends_of(network, images, fixed, whole=True), fixed)
    reference = float_model.logits(network, images)
    assert torch.allclose(float_model.logits(even, images), reference, atol=1e-5 * float(reference.abs().max()))
    for tensor in (c.tensors[0] for c in chains(network.graph)):
        before, after = (
            torch.log2(float_model.run(n, images)[tensor].amax(dim=(0, 2, 3)).double() / 31) for n in (network, even)
        )
        for block in (slice(i, i + 4) for i in range(0, 16, 4)):
            live = torch.isfinite(before[block])
            was, now = before[block][live], after[block][live]
            # the largest ends exactly where mantissas do; so do the others, unless they are two octaves smaller
            assert float((now.max() - now.max().round()).abs()) < 1e-4
            assert torch.allclose(now.max() - now, (was.max() - was - 2).clamp(min=0), atol=1e-4)


def test_filled_ranges_take_rounding_noise_away():
    from support.mobile_block import mobile_block

    options = BfpOptions(activations=5, activation_group=8, method="mse")
    pre = Preprocessing((10, 10), (127.0,) * 3, (128.0,) * 3)
    images = pixels((3, 10, 10), pre, 24)
    plain, network, _ = quantised(mobile_block(), (3, 10, 10), options, images=images)
    fixed = plan(network.graph, options, pre)
    even = ranges_equalised(network, ends_of(network, images, fixed), fixed)
    statistics = Statistics(even.graph, fixed.splits, fixed.needs_histogram())
    float_model.run(even, images, keep=(), observe=statistics.observe)
    filled = quantise_network(even, statistics, fixed)

    def noise(net, artifact):
        """Rounding noise over signal, of each channel's values, mean over the tensors that may be scaled."""
        values = float_model.run(net, images)
        shares = []
        for tensor in (c.tensors[0] for c in chains(net.graph)):
            x = values[tensor]
            error = (fake_quantise(x, artifact.formats[tensor]) - x).square().sum(dim=(0, 2, 3))
            shares.append(float((error / x.square().sum(dim=(0, 2, 3)).clamp(min=1e-9)).mean()))
        return np.mean(shares)

    assert noise(even, filled) < 0.9 * noise(network, plain)
    limits = [p.clamp_high for p in filled.parameters.values() if p.clamp_high is not None]
    assert any(len(np.unique(limit)) > 2 for limit in limits)


def test_sensitive_layers_keep_their_width():
    from support.mobile_block import mobile_block

    graph = import_module(mobile_block(), (3, 10, 10), "toy").graph
    chosen = resolve_options(graph, BfpOptions(weights=4, activations=5, sensitive=8))
    layers = [n for n in graph.nodes if n.op in ("conv", "depthwise")]
    for node in layers:
        wide = node.op == "depthwise" or node in (layers[0], layers[-1])
        assert chosen[node.name].weights == (8 if wide else 4)
    trunk = {n.shortcut for n in graph.nodes if n.shortcut} | {n.output for n in graph.nodes if n.shortcut}
    assert trunk and all(chosen[n.name].activations == (8 if n.output in trunk else 5) for n in graph.nodes)
    assert {o.weights for o in resolve_options(graph, BfpOptions(weights=4)).values()} == {4}
    ends = {layers[0].output, layers[-1].main}
    narrow = resolve_options(graph, BfpOptions(weights=4, activations=4, sensitive=8))
    assert all(narrow[n.name].activations == (8 if n.output in trunk | ends else 4) for n in graph.nodes)
    assert not ends <= trunk
