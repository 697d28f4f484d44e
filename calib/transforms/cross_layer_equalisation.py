"""Cross-layer equalisation: channels between two layers are divided by a scale, and multiplied in the next.

Between two layers, channel c of the first is divided by s and that of the
second multiplied. ReLU lets a positive s through; behind a ReLU6 the channel's
limit becomes 6 / s, which the engine keeps as one integer per channel. The
network's function stays the same. Two choices of s:

- ``equalise_weights``: both layers' weights get the same range in every
  channel (data-free quantisation, Nagel et al., 2019, eq. 11).
- ``equalise_ranges``: the values of all channels of a block end where the
  block's mantissas end. An exponent can only choose among powers of two, and
  only one for all of the block; s gives every channel the real-valued scale of
  its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.format import mantissa_range
from bfp.graph import Graph
from calib.data.images import ImageSet
from calib.formats.plan import FormatPlan
from calib.network.float_network import FloatNetwork
from calib.observers.noise_gains import noise_gains
from calib.observers.observer import few
from calib.state import CalibrationState
from calib.transforms.range_ends import range_ends
from calib.transforms.rescaling import rescaled
from calib.transforms.tied_channels import Chain, Change, tied_channels

SWEEPS = 4  # chains of three layers settle within a few
LARGEST = 2.0**8  # one channel's scale, either way


def equalise_weights(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: neighbouring layers' weights with one range in every channel. No image is looked at."""
    return state.with_network(weights_equalised(state.network))


def equalise_ranges(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: every channel of ``chains`` ends where its mantissas end."""
    network = state.network
    tensors = {c.tensors[0] for c in chains(network.graph)}
    if not tensors:
        return state
    gains = noise_gains(network, few(network, images), state.seed)
    ends, state = range_ends(state, images, tensors, gains, "cross-layer equalisation")
    return state.with_network(ranges_equalised(network, ends, state.plan))


def chains(graph: Graph) -> list[Chain]:
    """Layers whose output channels may be scaled by themselves, with the layers that read them."""
    return tied_channels(graph, Change.SCALE).chains()


def weights_equalised(network: FloatNetwork) -> FloatNetwork:
    """The same function, up to float rounding, with equalised ranges of weights."""
    found = chains(network.graph)
    for _ in range(SWEEPS):
        for chain in found:
            network = rescaled(network, dict.fromkeys(chain.tensors, _balance(network, chain)))
    return network


def ranges_equalised(network: FloatNetwork, ends: dict[str, np.ndarray], plan: FormatPlan) -> FloatNetwork:
    """The same function, up to float rounding, with channels scaled so that their ranges end with their mantissas'.

    ends: furthest value that each channel shall hold, float64 [C], of the first
    tensor of all ``chains``; 0 where it holds none. plan: blocks, widths and signs.
    """
    factors, reach = {}, dict(network.reach)
    for chain in chains(network.graph):
        tensor = chain.tensors[0]
        end, splits = ends[tensor], plan.splits[tensor]
        top = mantissa_range(plan.bits[tensor], plan.signed[tensor])[1]
        largest = np.maximum.reduceat(end, splits[:-1])
        largest = np.repeat(np.where(largest > 0, largest, top), np.diff(splits))
        block_end = top * np.exp2(np.round(np.log2(largest / top)))
        scale = np.where(end > 0, end, largest) / block_end
        factors |= dict.fromkeys(chain.tensors, scale.astype(np.float32))
        reach[tensor] = np.where(end > 0, block_end, 0.0)
    return replace(rescaled(network, factors), reach=reach)


def _balance(network: FloatNetwork, chain: Chain) -> np.ndarray:
    """The scale of every channel at which the layer's weights and its readers' have one range, float32 [C]."""
    (layer,) = chain.layers
    own = np.abs(network.weights[layer.name].weight).max(axis=(1, 2, 3)).astype(np.float64)
    spans = [np.abs(network.weights[n.name].weight).max(axis=n.operator.weights.other_axes()) for n in chain.readers]
    following = np.max(spans, axis=0).astype(np.float64)
    alive = (own > 0) & (following > 0)
    scale = np.sqrt(np.where(alive, own, 1) / np.where(alive, following, 1))
    if alive.any():
        scale = scale / np.exp(np.log(scale[alive]).mean())  # the layers as a whole keep their scale
    return np.where(alive, np.clip(scale, 1 / LARGEST, LARGEST), 1).astype(np.float32)
