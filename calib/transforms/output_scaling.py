"""Output scaling: a classifier's last layer is scaled so that the step between its mantissas is the best there is.

Without it the step is a power of two. The last layer's weights are divided by
one factor, so that the step of least squared error (calib.formats.logit_range)
becomes one; the factor is kept in the artifact, and given back when mantissas
become logits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.data.images import ImageSet
from calib.formats.logit_range import best_step
from calib.network.float_network import FloatNetwork
from calib.observers.observer import evenly, observe
from calib.observers.tensor_values import TensorValues
from calib.state import CalibrationState
from calib.transforms.rescaling import rescaled

IMAGES = 64


def scale_output(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: a classifier's output scaled to its logits' range; nothing where outputs are no logits."""
    output = state.network.graph.output
    if not state.plan.has_logits():
        return state
    logits = TensorValues(output)
    observe(state.network, evenly(images, IMAGES), logits, "output scaling")
    return state.with_network(output_scaled(state.network, logits.values(), state.plan.bits[output]))


def output_scaled(network: FloatNetwork, logits: np.ndarray, bits: int) -> FloatNetwork:
    """The same function with its output tensor scaled so that ``best_step`` is a power of two.

    Nothing is changed where logits are all alike, or not finite (whoever
    counts the ranges names the layer).
    """
    if not np.isfinite(logits).all() or logits.max() == logits.min():
        return network
    step = best_step(np.asarray(logits, np.float64), bits)
    scale = np.float32(step * 2.0 ** -round(np.log2(step)))
    output = network.graph.output
    factors = np.full(network.graph.shapes[output][0], scale)
    return replace(rescaled(network, {output: factors}), output_scale=float(scale))
