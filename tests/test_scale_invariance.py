"""Factors of channels that the next layer undoes are no other network: its integers are as good as without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.rescaled import KINDS, Net, factors
from torch import nn

from bfp import golden
from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from calib.config import bfp_options, find_network, load_config
from calib.together import shipped_networks
from calib.data.images import open_images
from calib.frontend.importer import import_module
from calib.network import float_model
from calib.options import ImageOptions
from calib.pipeline import prepare
from calib.state import begin
from calib.transforms import sequence
from calib.transforms.canonical_scales import APART, canonical

PRE = Preprocessing((12, 12), (127.0,) * 3, (64.0,) * 3)
SHAPE = (3, 12, 12)


def sqnr_db(module, images=24, **bfp) -> float:
    """Of the golden model's outputs on images that calibration has not seen, at 8 bits."""
    network, options = import_module(module.eval(), SHAPE, "toy"), bfp_options(bfp, "test")
    calibration = open_images(ImageOptions(("random",), limit=images), PRE)
    state = begin(network, options, PRE, options.output or "values")
    passes = (*sequence.preparation(options), *sequence.quantisation(options))
    artifact = sequence.run(passes, state, calibration).artifact
    unseen = next(open_images(ImageOptions(("random",), skip=1000, limit=32), PRE).batches(32))
    reference = float_model.logits(network, torch.from_numpy(unseen)).double().numpy()
    noise = golden.logits(artifact, golden.quantise_input(artifact, unseen)) - reference
    return 10 * float(np.log10((reference**2).sum() / (noise**2).sum()))


def pair(kind: str, seed: int, share: float, **bfp) -> tuple[float, float]:
    """SQNR of two rescaled networks; a share of the channels have factors of 1e-6 to 1e6."""
    draws = (factors(np.random.default_rng([seed, n]), 6, share) for n in range(2))
    first, second = (sqnr_db(Net(kind, seed).scaled(draw), **bfp) for draw in draws)
    return first, second


@pytest.mark.parametrize("kind", KINDS)
def test_rescaled_channels_leave_the_noise_where_it_is(kind):
    seed = KINDS.index(kind) % 2
    plain, found = sqnr_db(Net(kind, seed)), pair(kind, seed, share=1.0 if seed else 0.2)
    assert all(abs(one - plain) < 1 for one in found), (plain, found)


@pytest.mark.parametrize("kind", KINDS)
def test_methods_that_scale_nothing_find_the_same_network(kind):
    first, second = pair(kind, 2, 1.0, method=("max", "mse", "kl", "percentile")[KINDS.index(kind)])
    assert abs(first - second) < 0.1 and first > 30


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_many_networks(kind):
    """Canonical scales are another starting point than those of a plain network: where its ends of ranges come to lie is luck."""
    differences = []
    for seed in range(3, 23):
        found = pair(kind, seed, share=(1.0, 0.5, 0.1)[seed % 3])
        assert abs(found[0] - found[1]) < 1, (seed, found)
        differences.append(found[0] - sqnr_db(Net(kind, seed)))
    assert abs(np.mean(differences)) < 0.5 and np.max(np.abs(differences)) < 3, differences
    assert np.mean(np.abs(differences) < 1) >= 0.9, differences


def test_one_channel_ten_thousand_times_as_large():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    plain = sqnr_db(net)
    with torch.no_grad():
        net[0].weight[3] *= 1e4
        net[0].bias[3] *= 1e4
        net[2].weight[:, 3] /= 1e4
    assert abs(sqnr_db(net) - plain) < 1 and plain > 35


# -- the pass ------------------------------------------------------------------------


def outputs(network):
    images = next(open_images(ImageOptions(("random",), limit=4), PRE).batches(4))
    return float_model.logits(network, torch.from_numpy(images))


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_stays_and_canonical_networks_are_alike(kind):
    net, rng = Net(kind, 0), np.random.default_rng(0)
    reference = outputs(import_module(net.eval(), SHAPE, "toy"))
    found = [canonical(import_module(net.scaled(factors(rng, 6)), SHAPE, "toy")) for _ in range(2)]
    for network in found:
        assert torch.allclose(outputs(network), reference, rtol=1e-3, atol=1e-4 * float(reference.abs().max()))
    for node in found[0].graph.weighted():
        a, b = (n.weights[node.name].weight for n in found)
        # but for one factor for all channels of a layer, they are the same weights; a branch has its own
        for ratio in np.array_split((a / b).reshape(len(a), -1), 2, axis=1):
            assert np.allclose(ratio, ratio.mean(), rtol=1e-3), node.name


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_networks_stay_as_they_are(kind):
    network = import_module(Net(kind, 0).scaled(factors(np.random.default_rng(0), np.log10(APART) / 4)), SHAPE, "toy")
    assert canonical(network) is network


def test_channels_that_are_nothing_do_not_matter():
    net = Net("chain", 0)
    with torch.no_grad():
        for layer in (net.stem, net.expand):
            layer.weight[2], layer.bias[2] = 0, 0
            layer.weight[5] *= 1e-36
            layer.bias[5] = 0
    network = import_module(net.eval(), SHAPE, "toy")
    dead = {n.name for n in network.graph.weighted()}
    assert dead and canonical(network).graph == network.graph
    plain = sqnr_db(net)
    with torch.no_grad():  # nothing but zeros is read by these
        net.expand.weight[:, 2] *= 1e6
        net.last.weight[:, 2] *= 1e6
    assert abs(sqnr_db(net) - plain) < 1


def test_what_an_activation_limits_keeps_its_scale():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        net[0].weight[3] *= 1e4
    network = import_module(net, SHAPE, "toy")
    assert canonical(network) is network


FAR_APART = ("mtcnn_onet",)  # as trained: channels of its second convolution lie 95 times apart


@pytest.mark.heavy
@pytest.mark.parametrize("name", [p.stem for p in shipped_networks()])
def test_shipped_networks_stay_as_they_are(name):
    try:
        network = prepare(load_config(find_network(name)), adapted=False).network
    except BfpError as error:
        if not any(words in str(error) for words in ("could not be downloaded", "which is not installed")):
            raise
        pytest.skip(str(error))
    assert (canonical(network) is network) == (name not in FAR_APART)
