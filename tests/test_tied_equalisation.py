"""Channels that sums tie together, scaled to their mantissas' range: same function, less noise."""

import numpy as np
import pytest
import torch
from support.small_modules import Fn
from support.quantised import pixels
from torch import nn

from bfp.artifact import Preprocessing
from calib.network import float_model
from calib.observers.channel_ranges import ChannelRanges
from calib.options import BfpOptions
from calib.frontend.importer import import_module
from calib.formats.plan import plan
from calib.observers.statistics import Statistics
from calib.observers.noise_gains import noise_gains
from calib.transforms.tied_channels import Change, tied_channels
from calib.transforms.tied_equalisation import shared_tensors, tied_equalised

PRE = Preprocessing((8, 8), (127.0,) * 3, (128.0,) * 3)
UNEVEN = torch.exp2(torch.linspace(-0.7, 0.7, 16))


def residual(activation=torch.relu):
    """Stem, two sums, a concatenation, a pool and a classifier."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, 1, 1), *(nn.Conv2d(16, 16, 3, 1, 1) for _ in range(4)), nn.Conv2d(16, 8, 1)]
    layers += [nn.Conv2d(24, 5, 1)]
    with torch.no_grad():
        for layer in (layers[0], layers[2], layers[4]):
            layer.weight *= UNEVEN[:, None, None, None]
            layer.bias *= UNEVEN

    def forward(m, x):
        x = activation(m[0](x))
        x = activation(x + m[2](activation(m[1](x))))
        x = activation(x + m[4](activation(m[3](x))))
        x = torch.cat([x, m[5](x)], 1)
        return m[6](x.mean((2, 3), keepdim=True)).flatten(1)

    return Fn(forward, *layers).eval()


def tied_of(graph):
    return tied_channels(graph, Change.SCALE)


def observed(network, tensors, images):
    channels = {t: tuple(range(network.graph.shapes[t][0] + 1)) for t in tensors}
    statistics = Statistics(network.graph, channels, set(tensors))
    float_model.run(network, images, keep=(), observe=statistics.observe)
    return statistics


def filled(network, images, options, whole=True):
    fixed = plan(network.graph, options, PRE)
    tensors = shared_tensors(tied_of(network.graph), fixed)
    ranges = ChannelRanges(network.graph, set(tensors))
    float_model.run(network, images, keep=(), observe=ranges.observe)
    gains, ends = noise_gains(network, images), {}
    for t in tensors:
        width = fixed.splits[t], fixed.bits[t], fixed.signed[t]
        ends[t] = ranges.whole(t, width[0]) if whole else ranges.ends(t, *width, gains[t], np.inf)
    return tied_equalised(network, ends, fixed, gains)


def test_channels_that_meet_in_a_sum_are_one_class():
    graph = import_module(residual(), (3, 8, 8), "toy").graph
    tied = tied_of(graph)
    of, free = tied.of, tied.free
    sums = [n for n in graph.nodes if n.shortcut]
    assert len(sums) == 2
    for node in sums:
        assert np.array_equal(of[node.output], of[node.shortcut])
    inner = tied.chains()[0].tensors[0]
    assert not set(of[inner]) & set(of[sums[0].output])
    concat = next(n for n in graph.nodes if n.op == "concat")
    assert np.array_equal(of[concat.output], np.concatenate([of[t] for t in concat.inputs]))
    assert free[of[concat.output]].all()
    assert not free[of[graph.input]].any() and not free[of[graph.output]].any()
    assert inner not in shared_tensors(tied, plan(graph, BfpOptions(), PRE))


@pytest.mark.parametrize("activation", [torch.relu, nn.functional.relu6])
@pytest.mark.parametrize("whole", [False, True])
def test_function_is_preserved(activation, whole):
    network = import_module(residual(activation), (3, 8, 8), "toy")
    images = 3 * pixels((3, 8, 8), PRE, 12)
    even = filled(network, images, BfpOptions(activations=6, activation_group=8), whole)
    assert any(not np.array_equal(even.weights[n].weight, network.weights[n].weight) for n in network.weights)
    reference = float_model.logits(network, images)
    assert torch.allclose(float_model.logits(even, images), reference, atol=1e-5 * float(reference.abs().max()))


def test_each_class_reaches_the_end_of_a_block_and_none_goes_beyond():
    network = import_module(residual(), (3, 8, 8), "toy")
    images = pixels((3, 8, 8), PRE, 12)
    even = filled(network, images, BfpOptions())
    fixed = plan(even.graph, BfpOptions(), PRE)
    tied = tied_of(even.graph)
    tensors, of = shared_tensors(tied, fixed), tied.of
    values = float_model.run(even, images)
    fill = np.zeros(len(tied.free))
    for t in tensors:
        end = values[t].abs().amax(dim=(0, 2, 3)).double().numpy() / (127 if fixed.signed[t] else 255)
        np.maximum.at(fill, of[t], end / 2 ** np.ceil(np.log2(end.max()) - 1e-4))
    used = np.unique(np.concatenate([of[t] for t in tensors]))
    # one that is two octaves below its block's largest is left below the end
    assert np.mean(fill[used] > 0.999) > 0.6 and fill.max() < 1.001


def test_equalised_tied_channels_leave_less_noise_at_the_output():
    network = import_module(residual(), (3, 8, 8), "toy")
    images = pixels((3, 8, 8), PRE, 12)
    even = filled(network, images, BfpOptions())

    def noise(net):
        fixed = plan(net.graph, BfpOptions(), PRE)
        gains, total = noise_gains(net, images), 0.0
        for t in shared_tensors(tied_of(net.graph), fixed):
            top = 127 if fixed.signed[t] else 255
            end = float(observed(net, [t], images).maximum[t].max())
            total += gains[t].sum() * 4.0 ** np.ceil(np.log2(end / top) - 1e-4)
        return total

    assert noise(even) < 0.7 * noise(network)


def test_gains_predict_the_noise_at_the_output():
    network = import_module(residual(), (3, 8, 8), "toy")
    images = pixels((3, 8, 8), PRE, 64)
    tensor = next(n.output for n in network.graph.nodes if n.shortcut)
    gain = noise_gains(network, images)[tensor]
    generator = torch.Generator().manual_seed(0)
    values = {network.graph.input: images}
    power = 1e-3
    for node in network.graph.nodes:
        values[node.output] = float_model.compute(node, network, [values[t] for t in node.inputs])
        if node.output == tensor:  # the gradient is that of the tensor as it is
            values[tensor] += power * torch.randn(values[tensor].shape, generator=generator)
    out = values[network.graph.output].flatten(1)
    found = float((out - float_model.logits(network, images)).double().square().sum(1).mean())
    assert 0.7 < found / (power**2 * gain.sum()) < 1.4
