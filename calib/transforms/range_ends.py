"""Where the channels of some tensors shall end, as calibration images show it."""

from __future__ import annotations

import numpy as np

from bfp.graph import Node
from calib.data.images import ImageSet
from calib.network.float_network import FloatNetwork
from calib.observers.channel_ranges import ChannelRanges
from calib.observers.observer import evenly, observe, with_variants
from calib.state import CalibrationState

IMAGES = 64


def range_ends(
    state: CalibrationState, images: ImageSet, tensors: set[str], gains: dict[str, np.ndarray], what: str
) -> dict[str, np.ndarray]:
    """Ends of the channels of some tensors, float64 [C] by tensor.

    gains: of ``noise_gains``. what: for the line of progress.
    """
    plan, network = state.plan, state.network
    images = evenly(with_variants(images, IMAGES), IMAGES)
    ranges = ChannelRanges(network.graph, tensors, images.augment)
    observe(network, images, ranges, what)
    ends = {}
    for t in sorted(tensors):
        node = network.graph.producer(t)
        if plan.layers[node.name].method == "max":
            ends[t] = ranges.whole(t, plan.splits[t])
        else:
            limit = activation_limit(network, node)
            ends[t] = ranges.ends(t, plan.splits[t], plan.bits[t], plan.signed[t], gains[t], limit)
    return ends


def activation_limit(network: FloatNetwork, node: Node) -> np.ndarray | float:
    """Beyond which the node's activation lets nothing, [C] or one for all channels; infinite where it has no limit."""
    weights = network.weights.get(node.name)
    if weights is not None and weights.limit is not None:
        return weights.limit
    return np.inf if node.act.high is None else node.act.high
