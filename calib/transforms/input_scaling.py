"""Input scaling: the input's channels are scaled so that the 256 pixel codes fill the mantissas' range.

Normalised pixels end anywhere between two powers of two, in every channel
elsewhere. Since the input is quantised from float anyway, a scale for each
channel costs nothing: images are divided by it where they are quantised, and
the weights that read the input multiplied. The network's function stays the
same; images are normalised as the network's file says.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.artifact import ARRAY, Preprocessing
from bfp.format import mantissa_range, round_half_up
from calib.data.images import ImageSet
from calib.formats.activations import input_exponent
from calib.formats.plan import FormatPlan
from calib.network.float_network import FloatNetwork
from calib.state import CalibrationState
from calib.transforms.rescaling import rescaled
from calib.transforms.tied_channels import Change, takes_in

CODES = np.arange(256.0)
STEPS = 32  # ends of the range that are compared, down from the furthest code
SPAN = 0.75  # of the furthest code: the nearest of them


def scale_input(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: the input's channels with the step of least squared error over all codes. No image is looked at."""
    return state.with_network(input_scaled(state.network, state.plan))


def input_scaled(network: FloatNetwork, plan: FormatPlan) -> FloatNetwork:
    """The same function of the images, with a scale for its input, where all that reads it takes a scale in."""
    graph = network.graph
    if plan.preprocessing.channels == ARRAY:
        return network  # there are no codes: statistics choose the step
    (entry,) = graph.inputs  # pictures are the only input
    readers = graph.consumers(entry)
    if not readers or not all(takes_in(n, entry, Change.SCALE) for n in readers):
        return network
    scale = best_scale(plan.preprocessing, plan.splits[entry], plan.bits[entry], plan.signed[entry])
    if np.all(scale == 1):
        return network
    scale = scale.astype(np.float32)
    return replace(rescaled(network, {entry: scale}), input_scale=tuple(float(s) for s in scale))


def best_scale(pre: Preprocessing, splits: tuple[int, ...], bits: int, signed: bool) -> np.ndarray:
    """Scale of each channel whose step has the least squared error, float64 [C]; 1 where none is better."""
    scale = np.empty(len(pre.mean))
    for first, last in zip(splits, splits[1:]):
        step = 2.0 ** input_exponent(pre, range(first, last), bits, signed)
        for c in range(first, last):
            scale[c] = best_step(pre.mean[c], bits, signed, pre.std[c] * step) / (pre.std[c] * step)
    return scale


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
