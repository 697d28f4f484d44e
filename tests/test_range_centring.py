"""Signed channels shifted to the centre of their range: same function, and nothing that padding or a ReLU needs."""

import numpy as np
import pytest
import torch
from support.small_modules import Fn
from support.quantised import pixels
from torch import nn

from bfp.artifact import Preprocessing
from calib.network import float_model
from calib.observers.range_centres import RangeCentres
from calib.transforms.range_centring import centred, shiftable
from calib.frontend.importer import import_module

PRE = Preprocessing((8, 8), (127.0,) * 3, (128.0,) * 3)


def bottlenecks():
    """Linear bottlenecks with a sum and a depthwise reader without padding, and one that a padded layer reads."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, groups=8)]
    layers += [nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 3, 1, 1), nn.Conv2d(4, 5, 6)]
    with torch.no_grad():
        for layer in layers:
            layer.bias += 2

    def forward(m, x):
        x = m[0](x)
        x = x + m[2](torch.relu(m[1](x)))
        x = torch.relu(m[3](x))
        return m[6](torch.relu(m[5](m[4](x)))).flatten(1)

    return Fn(forward, *layers).eval()


def found(network, images):
    centres = RangeCentres(shiftable(network.graph))
    for part in images.split(5):
        float_model.run(network, part, keep=(), observe=centres.observe)
    return centres


def test_function_is_preserved_and_centres_are_zero():
    network = import_module(bottlenecks(), (3, 8, 8), "toy")
    images = pixels((3, 8, 8), PRE, 12)
    nodes = {n.output: n for n in network.graph.nodes}
    shifted = shiftable(network.graph)
    total = next(n for n in nodes.values() if n.shortcut)
    # the stem and the sum; not the output, not what a padded convolution reads, nothing behind a ReLU
    assert set(shifted) == {total.shortcut, total.output}
    even = centred(network, found(network, images).centre)
    reference = float_model.logits(network, images)
    assert torch.allclose(float_model.logits(even, images), reference, atol=1e-5 * float(reference.abs().max()))
    before, after = float_model.run(network, images), float_model.run(even, images)
    for tensor in nodes:
        x = after[tensor]
        if tensor not in shifted:
            assert torch.allclose(x, before[tensor], atol=1e-4)
            continue
        low, high = x.amin((0, 2, 3)), x.amax((0, 2, 3))
        assert torch.allclose(low, -high, atol=1e-4) and not torch.allclose(x, before[tensor], atol=0.1)


@pytest.mark.parametrize("pad, stays", [(0, False), (1, True)])
def test_depthwise_readers(pad, stays):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=pad, groups=6), nn.ReLU(), nn.Conv2d(6, 4, 1))
    network = import_module(module.eval(), (3, 8, 8), "toy")
    assert (not shiftable(network.graph)) == stays
    images = pixels((3, 8, 8), PRE, 6)
    even = centred(network, found(network, images).centre)
    assert torch.allclose(float_model.logits(even, images), float_model.logits(network, images), atol=1e-5)


def test_pools_and_sums_without_weights_keep_their_operands():
    def forward(m, x):
        return m[1](m[0](x) + x).mean((2, 3))

    module = Fn(forward, nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)).eval()
    graph = import_module(module, (3, 8, 8), "toy").graph
    (total,) = (n for n in graph.nodes if n.shortcut)
    assert total.shortcut == graph.input and shiftable(graph) == [total.output]


def test_values_that_are_not_finite_shift_nothing():
    centres = RangeCentres(["t"])
    centres.observe("t", torch.tensor([1.0, 3.0, float("inf"), 0.0]).reshape(1, 2, 2, 1))
    assert np.array_equal(centres.centre("t"), [2.0, 0.0])
