"""Output scaling: a classifier's last layer is scaled so that the step between its mantissas is the best there is.

Without it the step is a power of two. The last layer's weights are divided by
one factor, so that the step of least squared error (calib.formats.logit_range)
becomes one; the factor is kept in the artifact, and given back when mantissas
become logits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.format import mantissa_range
from calib.data.images import ImageSet
from calib.formats.logit_range import best_step, stretch, stretched
from calib.network.float_network import FloatNetwork, TrainedSums
from calib.observers.observer import evenly, observe
from calib.observers.tensor_values import TensorValues
from calib.observers.trained_ranges import trained_ends, trained_values
from calib.state import CalibrationState
from calib.transforms.rescaling import rescaled

IMAGES = 64


def scale_output(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: a classifier's output scaled to its logits' range; nothing where outputs are no logits."""
    output = state.plan.logits
    if output is None:
        return state
    logits = TensorValues(output)
    observe(state.network, evenly(images, IMAGES), logits, "output scaling")
    # one image, or such as do not look like training's, do not show how far logits reach
    enough = len(logits.values()) > 1 and state.evidence.likeness.alike
    trained = None if enough else trained_values(state.network).get(output)
    return state.with_network(output_scaled(state.network, output, logits.values(), state.plan.bits[output], trained))


def output_scaled(
    network: FloatNetwork, output: str, logits: np.ndarray, bits: int, trained: TrainedSums | None = None
) -> FloatNetwork:
    """The same function with one of its output tensors scaled so that ``best_step`` is a power of two.

    Logits of other images may reach further than ``logits`` [N, classes]: by ``stretch``, and as far as ``trained``
    says, where that is given.
    Nothing is changed where logits are all alike, or not finite (whoever
    counts the ranges names the layer).
    """
    if not np.isfinite(logits).all() or logits.max() == logits.min():
        return network
    logits = np.asarray(logits, np.float64)
    factor = stretch(logits, bits)
    if trained is not None:
        end = trained_ends(trained, mantissa_range(bits, True)[1], non_negative=True).max()
        factor = max(factor, float((end - logits.mean()) / (logits.max() - logits.mean())))
    wide = stretched(logits, factor) if factor > 1 else logits
    step = best_step(wide, bits)
    exponent = round(np.log2(step))
    scale = np.float32(step * 2.0**-exponent)
    factors = np.full(network.graph.shapes[output][0], scale)
    scaled = replace(rescaled(network, {output: factors}), output_scales={output: float(scale)})
    if factor == 1:
        return scaled
    return replace(scaled, output_range=(exponent, float(wide.max() / scale)))
