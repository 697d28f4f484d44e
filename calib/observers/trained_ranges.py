"""How far the channels of a network reach by what its batch normalisations know of all images that it was trained on.

A batch normalisation knows the mean and the deviation of every channel, not
the tail behind it. A Laplace distribution of that deviation stands in for it,
as in analytical clipping (Banner, Nahshan and Soudry, Post training 4-bit
quantization of convolutional networks for rapid-deployment, 2019): its end of
least squared error lies where what a longer range saves in saturated values
is what it costs in rounding.
"""

from __future__ import annotations

import numpy as np
import torch

from bfp.graph import Node
from bfp.operators import Channels, Join
from bfp.tables import operator_table
from calib.network.float_network import FloatNetwork, TrainedSums

ITERATIONS = 20  # of a fixed point that gains a digit with each


def _same(node: Node, known: TrainedSums, channels: int) -> TrainedSums | None:
    return known


def _placed(node: Node, known: TrainedSums, channels: int) -> TrainedSums | None:
    """Channels at their new places; the others are zero. Pixels left out change nothing, pixels of padding would."""
    if max(node.window.padding) > 0:
        return None
    source = np.arange(channels) - node.channel_offset
    there = (source >= 0) & (source < len(known.mean))
    return TrainedSums(*(np.where(there, v[np.where(there, source, 0)], 0.0) for v in (known.mean, known.deviation)))


def _unknown(node: Node, known: TrainedSums, channels: int) -> TrainedSums | None:
    return None


# what becomes of each channel's mean, and of a deviation that may be less than that, in an operator without weights
HANDS_ON = operator_table(
    "ranges of training",
    {
        "avg_pool": _same,
        "identity": _same,
        "upsample_nearest": _same,
        "slice_pad": _placed,
        "upsample_bilinear": _unknown,
        "depth_to_space": _unknown,
        "pad_edge": _unknown,
        "interpolate": _unknown,
        "max_pool": _unknown,
        "add": _unknown,
        "maximum": _unknown,
        "minimum": _unknown,
        "multiply": _unknown,
        "lookup": _unknown,
        "concat": _unknown,
    },
    lambda operator: operator.weights is None,
)


def trained_values(network: FloatNetwork) -> dict[str, TrainedSums]:
    """Mean and deviation of every tensor's values before its activation, where batch normalisations say them."""
    found: dict[str, TrainedSums] = {}
    for node in network.graph.nodes:
        known = _of_node(network, node, found)
        if known is not None:
            found[node.output] = known
    return found


def _of_node(network: FloatNetwork, node: Node, found: dict[str, TrainedSums]) -> TrainedSums | None:
    if not node.weighted:
        known = _activated(network, node.main, found) if node.act.is_identity else None
        return None if known is None else HANDS_ON[node.op](node, known, network.graph.shapes[node.output][0])
    own = network.weights[node.name].trained or _through(network, node, found)
    if own is None or node.shortcut is None:
        return own
    other = _activated(network, node.shortcut, found)
    if other is None or node.operator.join is not Join.SUM:
        return None
    return TrainedSums(own.mean + other.mean, np.hypot(own.deviation, other.deviation))


def _through(network: FloatNetwork, node: Node, found: dict[str, TrainedSums]) -> TrainedSums | None:
    """Of a layer without batch normalisation over one pixel, as if its operand's channels were independent."""
    known = _activated(network, node.main, found)
    if known is None or node.operator.channels is not Channels.MIXED or node.window.kernel != (1, 1):
        return None
    w = network.weights[node.name]
    weight = w.weight[:, :, 0, 0].astype(np.float64)
    return TrainedSums(weight @ known.mean + w.bias, np.sqrt(weight**2 @ known.deviation**2))


def _activated(network: FloatNetwork, tensor: str, found: dict[str, TrainedSums]) -> TrainedSums | None:
    """Of the tensor's values behind its activation, as if those before it were normally distributed."""
    known, node = found.get(tensor), network.graph.producer(tensor)
    if known is None or not node.act.non_negative:
        return known
    deviation = np.maximum(known.deviation, np.finfo(np.float64).tiny)
    z = known.mean / deviation
    share, density = torch.special.ndtr(torch.from_numpy(z)).numpy(), np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    mean = known.mean * share + deviation * density
    square = (known.mean**2 + deviation**2) * share + known.mean * deviation * density
    return TrainedSums(mean, np.sqrt(np.maximum(square - mean**2, 0)))


def trained_ends(known: TrainedSums, top: int, non_negative: bool) -> np.ndarray:
    """End of least squared error of each channel, float64 [C], for mantissas up to ``top``."""
    scale = known.deviation / np.sqrt(2)
    centre = np.maximum(known.mean, 0) if non_negative else np.abs(known.mean)
    live = scale > 0
    b = np.where(live, scale, 1.0)
    end = centre + b
    for _ in range(ITERATIONS):
        # the derivatives of scale**2 * exp((centre - end) / scale) and of (end / top)**2 / 12 are opposite
        end = centre + b * np.maximum(np.log(6.0 * top**2 * b / end), 0)
    return np.where(live, end, centre)
