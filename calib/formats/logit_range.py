"""The range of logits that the mantissas of a classifier's output resolve, and the step between them.

Logits lie mostly on one side of zero, and end anywhere between two powers of
two; so mantissas of the maximum's exponent leave much of their range unused,
and a narrow one leaves ties (a 5-bit output of EfficientNet-Lite0 at the
exponent of its maximum loses the class of 7 % of the images, whatever the
network before it does). A constant added to all logits changes no
probability, and what turns mantissas into logits works in float anyway. So
the last layer's biases are shifted until the largest logit meets the end of
the mantissas' range; the lowest logits may saturate. The step is the one of
least squared error: of powers of two here, of any size where the transform
calib.transforms.output_scaling has scaled the layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.format import exponent_for_maximum, mantissa_range, round_half_up
from bfp.graph import Graph
from bfp.operators import Channels
from calib.observers.channel_ranges import MARGINS
from calib.observers.extreme_values import margins

CANDIDATES = 4  # the exponent of the whole range and three below it
STEPS_PER_OCTAVE = 16
OCTAVES = 2  # below the step of the whole range


@dataclass(frozen=True)
class LogitRange:
    """exponent: of every output. largest: the largest logit that the mantissas hold."""

    exponent: int
    largest: float

    def offset(self, exponent: int, bits: int) -> float:
        """The constant that the mantissas leave out, at an exponent that may have been raised."""
        return left_out(self.largest, 2.0**exponent, bits)


def left_out(largest: float, step: float, bits: int) -> float:
    """The constant that mantissas of this step leave out where ``largest`` is the largest of them."""
    return largest - mantissa_range(bits, True)[1] * step


def applies(graph: Graph, output: str, signed: bool) -> bool:
    """Whether an output is a vector of logits, from a layer with biases, that nothing else reads."""
    node = graph.producer(output)
    vector = graph.shapes[output][1:] == (1, 1) and graph.shapes[output][0] > 1
    mixing = node is not None and node.weighted and node.operator.channels is Channels.MIXED
    plain = mixing and node.act.is_identity and node.shortcut is None
    return vector and plain and signed and not graph.consumers(output)


def covered(logits: np.ndarray) -> float:
    """What the mantissas' whole range covers; no less than the largest magnitude, or biases would outgrow it."""
    return max(float(logits.max()) - float(logits.min()), float(np.abs(logits).max()))


def choose(logits: np.ndarray, bits: int) -> LogitRange:
    """The exponent of least squared error, the coarser of equals. logits: of the float network, [N, classes]."""
    largest = float(logits.max())
    highest = int(exponent_for_maximum(np.array([covered(logits) / 2]), bits)[0])
    tried = [highest - i for i in range(CANDIDATES)]
    return LogitRange(min(tried, key=lambda e: squared_error(logits, 2.0**e, bits)), largest)


def best_step(logits: np.ndarray, bits: int) -> float:
    """The step between two mantissas of least squared error; arguments as of ``choose``."""
    tried = covered(logits) / (2**bits - 1) * np.exp2(-np.arange(OCTAVES * STEPS_PER_OCTAVE) / STEPS_PER_OCTAVE)
    return float(min(tried, key=lambda step: squared_error(logits, step, bits)))


def stretch(logits: np.ndarray, bits: int) -> float:
    """Factor, 1 or more, by which logits of images not seen may lie further from the mean than ``logits`` [N, classes].

    What one half of the images needs for the other says it; of a single image, the number of its logits.
    """
    if len(logits) == 1:
        return float(margins(np.array([logits.size]), mantissa_range(bits, True)[1])[0])
    errors = np.zeros(len(MARGINS))
    for seen, other in ((logits[::2], logits[1::2]), (logits[1::2], logits[::2])):
        for i, factor in enumerate(MARGINS):
            wide = stretched(seen, float(factor))
            errors[i] += squared_error(other, best_step(wide, bits), bits, float(wide.max()))
    return float(MARGINS[int(np.argmin(errors))])


def stretched(logits: np.ndarray, factor: float) -> np.ndarray:
    """The same, further from their common mean by a factor."""
    mean = logits.mean()
    return mean + (logits - mean) * factor


def squared_error(logits: np.ndarray, step: float, bits: int, largest: float | None = None) -> float:
    """Sum over all logits once ``largest``, theirs by default, is the largest mantissa; what lies beyond saturates."""
    low, high = mantissa_range(bits, True)
    offset = left_out(float(logits.max()) if largest is None else largest, step, bits)
    rounded = np.clip(round_half_up((logits - offset) / step), low, high) * step + offset
    return float(((rounded - logits) ** 2).sum())
