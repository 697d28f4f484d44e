"""Canonical scales: channels whose scales lie far apart are brought to one scale before anything is measured.

A channel may be multiplied by any positive factor, and what reads it divided,
without another function: whoever trained or converted a network may have left
any such factor in it. What is measured later looks at the channels of a block
side by side, so that one channel a thousand times as large would decide for
all the others. So every class of tied channels (calib.transforms.tied_channels)
has a canonical scale: the norm of all filters and biases that make it, where
what these filters read is at its own canonical scale. The network at canonical
scales is the same one whatever factors were in it.

Ordinary networks stay as they are: where a layer has scales further apart than
APART, the channels of the whole network are brought to theirs, since smaller
factors are likely then, too. Behind an activation with a fixed limit there are
no such factors, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bfp.graph import Node
from bfp.operators import Scaling
from calib.data.images import ImageSet
from calib.network.float_network import FloatNetwork
from calib.state import CalibrationState
from calib.transforms.rescaling import rescaled
from calib.transforms.tied_channels import Change, TiedChannels, tied_channels

APART = 2.0**5  # ratio of scales in one layer; trained networks reach half of it
MATTERS = 1e-2  # of the norm of the most read channel's weights, at canonical scales: channels below hardly count
SWEEPS = 2  # over all layers: what several of them add to has the scale of all of these
NOTHING = 1e-30  # a scale below this is that of a channel that is always zero


def bring_to_canonical_scales(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: channels at canonical scales, where a layer's lie further than APART apart. No image is looked at."""
    return state.with_network(canonical(state.network))


def canonical(network: FloatNetwork) -> FloatNetwork:
    """The same function, up to float rounding, with channels at their canonical scales where some lie far apart."""
    tied = _unlimited(tied_channels(network.graph, Change.SCALE))
    scales = _scales(network, tied)
    if not any(_far_apart(scales.of(members)) for members in _meeting(tied, [n.output for n in network.graph.weighted()])):
        return network
    factors = np.ones(len(tied.free))
    for members in _meeting(tied, [t for n in network.graph.weighted() for t in (n.main, n.output)]):
        factors[members] = _factors(scales.of(members))
    return rescaled(network, {t: factors[c].astype(np.float32) for t, c in tied.of.items() if np.any(factors[c] != 1)})


def _unlimited(tied: TiedChannels) -> TiedChannels:
    """The classes, of which only those are free whose activations have no limits of their own."""
    free = tied.free.copy()
    for node in tied.graph.nodes:
        free[tied.of[node.output]] &= node.act.scaling is Scaling.PASSES
    return replace(tied, free=free)


@dataclass(frozen=True)
class _Scales:
    """Of every class, float64 [classes]. made: its canonical scale, 0 where it is always zero.

    read: the largest norm of the weights of one layer that read one of its channels, as they are.
    """

    made: np.ndarray
    read: np.ndarray

    def of(self, classes: np.ndarray) -> _Scales:
        return _Scales(self.made[classes], self.read[classes])

    @property
    def worth(self) -> np.ndarray:
        """What each channel adds to what reads it, whatever its scale."""
        return self.made * self.read

    @property
    def matter(self) -> np.ndarray:
        """Which channels count, bool [classes]."""
        return self.worth > MATTERS * self.worth.max(initial=0)


def _scales(network: FloatNetwork, tied: TiedChannels) -> _Scales:
    made = np.zeros(len(tied.free))
    for node in network.graph.weighted():  # what a layer reads was made by layers before it
        outputs, norm = tied.of[node.output], _norms(network, node, tied, made)
        first = tied.free[outputs] & (made[outputs] == 0)
        np.maximum.at(made, outputs[first], norm[first])
    for _ in range(SWEEPS):
        square = np.zeros(len(tied.free))
        for node in network.graph.weighted():
            np.add.at(square, tied.of[node.output], _norms(network, node, tied, made) ** 2)
        made = np.where(tied.free, np.sqrt(square), 0.0)
    read = np.zeros(len(tied.free))
    for node in network.graph.weighted():
        inputs, outputs = tied.of[node.main], tied.of[node.output]
        even = network.weights[node.name].weight / _or_one(made[outputs])[:, None, None, None]
        np.maximum.at(read, inputs, np.sqrt((even**2).sum(axis=node.operator.weights.other_axes())))
    return _Scales(made, read)


def _norms(network: FloatNetwork, node: Node, tied: TiedChannels, made: np.ndarray) -> np.ndarray:
    """Of the node's filters with their biases, float64 [filters], where what they read has the scales ``made``.

    In front of a ReLU a bias far below zero does not count: it only says that the channel is always zero.
    """
    w = network.weights[node.name]
    weight = w.weight.astype(np.float64) * node.operator.weights.along_inputs(_or_one(made[tied.of[node.main]]))
    own, bias = np.sqrt((weight**2).sum(axis=(1, 2, 3))), w.bias.astype(np.float64)
    shut = node.act.non_negative & (bias < -APART * own)
    norm = np.hypot(own, np.where(shut, 0.0, bias))
    return np.where(norm > NOTHING, norm, 0.0)


def _or_one(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, 1.0)


def _meeting(tied: TiedChannels, tensors: Iterable[str]) -> list[np.ndarray]:
    """Free classes that meet in some of the tensors, each set once, ascending."""
    found: list[np.ndarray] = []
    for tensor in tensors:
        members = np.unique(tied.of[tensor])
        members = members[tied.free[members]]
        meeting = [m for m in found if np.isin(m, members).any()]
        found = [m for m in found if not any(m is other for other in meeting)]
        found += [np.unique(np.concatenate([members, *meeting]))] if len(members) else []
    return found


def _far_apart(layer: _Scales) -> bool:
    """Whether one of a layer's channels is made much larger than one that matters, or is read by much larger weights."""
    made, read, matter = layer.made, layer.read, layer.matter
    return bool(matter.any()) and (
        made.max() > APART * made[matter].min() or read.max() > APART * read[matter].max()
    )


def _factors(layer: _Scales) -> np.ndarray:
    """By what the channels of a layer are divided, float64; the layer as a whole keeps its scale to a power of two."""
    made, read, matter = layer.made, layer.read, layer.matter
    if not matter.any():
        return np.ones(len(made))
    middle, worth = (np.exp2(np.log2(values[matter]).mean().round()) for values in (made, layer.worth))
    # weights that read nothing but zeros are made as small as any
    unread = np.where(read > 0, worth / middle / _or_one(read), 1.0)
    return np.where(made > 0, made / middle, unread)
