"""The network's input: its channels are scaled so that the 256 pixel codes fill the mantissas' range.

Normalised pixels end anywhere between two powers of two, in every channel
elsewhere. Since the input is quantised from float anyway, a scale for each
channel costs nothing: images are divided by it where they are quantised, and
the weights that read the input multiplied. The network's function stays the
same; images are normalised as the network's file says.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.format import mantissa_range, round_half_up
from calib.config import NetworkConfig
from calib.network.float_network import FloatNetwork
from calib.formats.activations import input_exponent
from calib.formats.solver import plan

CODES = np.arange(256.0)
STEPS = 32  # ends of the range that are compared, down from the furthest code
SPAN = 0.75  # of the furthest code: the nearest of them


def fill_input(network: FloatNetwork, config: NetworkConfig) -> tuple[FloatNetwork, NetworkConfig]:
    """The same function of the images, with a scale for its input, and the file with that scale."""
    graph, pre = network.graph, config.input
    fixed = plan(graph, config.bfp, pre)
    readers = graph.consumers(graph.input)
    if not readers or any(n.op not in ("conv", "depthwise") or n.shortcut == graph.input for n in readers):
        return network, config
    bits, signed = fixed.bits[graph.input], fixed.signed[graph.input]
    scale = np.empty(len(pre.mean))
    for first, last in zip(fixed.splits[graph.input], fixed.splits[graph.input][1:]):
        step = 2.0 ** input_exponent(pre, range(first, last), bits, signed)
        for c in range(first, last):
            scale[c] = best_step(pre.mean[c], bits, signed, pre.std[c] * step) / (pre.std[c] * step)
    if np.all(scale == 1):
        return network, config
    scale = scale.astype(np.float32)
    weights = dict(network.weights)
    for node in readers:
        shape = (-1, 1, 1, 1) if node.op == "depthwise" else (1, -1, 1, 1)
        w = weights[node.name]
        weights[node.name] = replace(w, weight=w.weight * scale.reshape(shape))
    factors = tuple(float(s) for s in scale)
    return replace(network, weights=weights, input_scale=factors), replace(config, input=replace(pre, scale=factors))


def best_step(mean: float, bits: int, signed: bool, usual: float) -> float:
    """Pixels per least significant bit with the least squared error over all codes; ``usual`` if none is better."""
    low, high = mantissa_range(bits, signed)
    values = CODES - mean
    furthest = max(values.max() / high, values.min() / low if signed else 0.0)
    tried = [usual, *(furthest * np.linspace(1, SPAN, STEPS))]
    # a whole number of pixels leaves nothing to round
    tried += [float(n) for n in range(1, 256) if SPAN * furthest <= n <= furthest * 2]

    def error(step: float) -> float:
        return float(((np.clip(round_half_up(values / step), low, high) * step - values) ** 2).sum())

    return min(tried, key=error)
