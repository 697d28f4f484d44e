"""The output tensor of a classifier: its mantissas resolve the logits' own range.

Logits lie mostly on one side of zero, and end anywhere between two powers of
two; so mantissas of the maximum's exponent leave much of their range unused,
and a narrow one leaves ties (a 5-bit output of EfficientNet-Lite0 at the
exponent of its maximum loses the class of 7 % of the images, whatever the
network before it does). A constant added to all logits changes no
probability, and what turns mantissas into logits works in float anyway. So
the last layer's biases are shifted until the largest logit meets the end of
the mantissas' range, and its weights are scaled so that the step between
mantissas is the one of least squared error; the lowest logits may saturate.
Constant and scale are kept in the artifact and given back when mantissas
become logits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bfp.format import exponent_for_maximum, mantissa_range, round_half_up
from bfp.graph import Graph
from calib.network.float_network import FloatNetwork

CANDIDATES = 4  # the exponent of the whole range and three below it
STEPS_PER_OCTAVE = 16
OCTAVES = 2  # below the step of the whole range


@dataclass(frozen=True)
class OutputWindow:
    """exponent: of every output. largest: the largest logit of the calibration images."""

    exponent: int
    largest: float

    def offset(self, exponent: int, bits: int) -> float:
        """The constant that the mantissas leave out, at an exponent that may have been raised."""
        return top_down(self.largest, 2.0**exponent, bits)


def top_down(largest: float, step: float, bits: int) -> float:
    """The constant that mantissas of this step leave out where ``largest`` is the largest of them."""
    return largest - mantissa_range(bits, True)[1] * step


def applies(graph: Graph, signed: bool) -> bool:
    """Whether the output is a vector of logits, from a layer with biases, that nothing else reads."""
    node = graph.producer(graph.output)
    vector = graph.shapes[graph.output][1:] == (1, 1) and graph.shapes[graph.output][0] > 1
    plain = node is not None and node.op == "conv" and node.activation == "none" and node.shortcut is None
    return vector and plain and signed and not graph.consumers(graph.output)


def span(logits: np.ndarray) -> float:
    """What the window of the whole range covers; no less than the largest magnitude, or biases would outgrow it."""
    return max(float(logits.max()) - float(logits.min()), float(np.abs(logits).max()))


def choose(logits: np.ndarray, bits: int) -> OutputWindow:
    """The exponent of least squared error, the coarser of equals. logits: of the float network, [N, classes]."""
    largest = float(logits.max())
    highest = int(exponent_for_maximum(np.array([span(logits) / 2]), bits)[0])
    tried = [highest - i for i in range(CANDIDATES)]
    return OutputWindow(min(tried, key=lambda e: squared_error(logits, 2.0**e, bits)), largest)


def best_step(logits: np.ndarray, bits: int) -> float:
    """The step between two mantissas of least squared error; arguments as of ``choose``."""
    tried = span(logits) / (2**bits - 1) * np.exp2(-np.arange(OCTAVES * STEPS_PER_OCTAVE) / STEPS_PER_OCTAVE)
    return float(min(tried, key=lambda step: squared_error(logits, step, bits)))


def squared_error(logits: np.ndarray, step: float, bits: int) -> float:
    """Sum over all logits once their largest is the largest mantissa and the lowest saturate."""
    low, high = mantissa_range(bits, True)
    offset = top_down(float(logits.max()), step, bits)
    rounded = np.clip(round_half_up((logits - offset) / step), low, high) * step + offset
    return float(((rounded - logits) ** 2).sum())


def fill_output(network: FloatNetwork, logits: np.ndarray, bits: int) -> FloatNetwork:
    """The same function with its output tensor scaled so that ``best_step`` is a power of two.

    Nothing is changed where logits are all alike, or not finite (whoever
    counts the ranges names the layer).
    """
    if not np.isfinite(logits).all() or logits.max() == logits.min():
        return network
    step = best_step(np.asarray(logits, np.float64), bits)
    scale = np.float32(step * 2.0 ** -round(np.log2(step)))
    last = network.graph.producer(network.graph.output).name
    w = network.weights[last]
    weights = {**network.weights, last: replace(w, weight=w.weight / scale, bias=w.bias / scale)}
    return replace(network, weights=weights, output_scale=float(scale))
