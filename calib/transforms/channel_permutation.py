"""Channel permutation: channels of like range beside each other, so that a group's one exponent suits all of them.

The order of the channels between two convolutions is free: filters of the
first, channels of the depthwise convolutions and pools between, and input
channels of the second are permuted together. The network's function is the
same bit for bit up to the order of float sums, through any activation; at run
time it costs nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.data.images import ImageSet
from calib.network.float_network import FloatNetwork, FloatWeights, TrainedSums
from calib.observers.observer import evenly, observe
from calib.observers.statistics import Statistics
from calib.state import CalibrationState
from calib.transforms.tied_channels import Change, tied_channels

IMAGES = 16


def permute_channels(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: the channels of every chain in ascending order of range."""
    statistics = Statistics(state.network.graph, {})
    observe(state.network, evenly(images, IMAGES), statistics, "channel permutation")
    return state.with_network(permuted(state.network, statistics.maximum))


def permuted(network: FloatNetwork, maximum: dict[str, np.ndarray]) -> FloatNetwork:
    """The network with the channels that are free to move in ascending order of range.

    maximum: largest |x| per channel of every tensor, [C]. Where a chain holds
    several tensors, the geometric mean of their ranges decides.
    """
    weights = dict(network.weights)
    for chain in tied_channels(network.graph, Change.ORDER).chains():
        tiny = np.finfo(np.float64).tiny
        key = sum(np.log2(np.maximum(maximum[t], tiny)) for t in chain.tensors)
        order = np.argsort(key, kind="stable")
        for layer in chain.layers:
            w = weights[layer.name]
            limit = None if w.limit is None else w.limit[order]
            trained = w.trained and TrainedSums(w.trained.mean[order], w.trained.deviation[order])
            weights[layer.name] = FloatWeights(w.weight[order], w.bias[order], limit, trained)
        for reader in chain.readers:
            w = weights[reader.name]
            moved = np.take(w.weight, order, axis=reader.operator.weights.inputs)
            weights[reader.name] = replace(w, weight=np.ascontiguousarray(moved))
    return replace(network, weights=weights)
