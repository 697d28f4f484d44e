"""Channels in the order of their range: the same function, and only where nothing else depends on the order."""

import numpy as np
import torch
from support.quantised import pixels
from support.mobile_block import PRE, mobile_block

from calib.frontend.importer import import_module
from calib.network import float_model
from calib.observers.statistics import Statistics
from calib.transforms.channel_permutation import permuted
from calib.transforms.tied_channels import Change, tied_channels


def test_permuting_channels_preserves_the_function_and_sorts():
    network = import_module(mobile_block(), (3, 10, 10), "toy")
    images = pixels((3, 10, 10), PRE, 4)
    statistics = Statistics(network.graph, {})
    float_model.run(network, images, keep=(), observe=statistics.observe)
    ordered = permuted(network, statistics.maximum)
    assert torch.allclose(float_model.logits(network, images), float_model.logits(ordered, images), atol=1e-5)
    again = Statistics(network.graph, {})
    float_model.run(ordered, images, keep=(), observe=again.observe)
    tied = tied_channels(network.graph, Change.ORDER)
    tensors = tied.chains()[0].tensors
    assert len(tensors) == 2
    key = sum(np.log2(np.maximum(again.maximum[t], 1e-300)) for t in tensors)
    assert np.all(np.diff(key) >= -1e-9)
    first = next(n for n in network.graph.nodes if n.op == "conv")
    assert tied.chain(first) is None  # its output is a shortcut too
