"""The output tensor of a classifier, when its mantissas are few: resolve what decides the class.

Logits spread widely, but classes are told apart at their upper end, where a
narrow mantissa of the whole range leaves ties (a 5-bit output of
EfficientNet-Lite0 at the exponent of its maximum loses the class of 7 % of
the images, whatever the network before it does). A constant added to all
logits changes no probability; so the last layer's biases are shifted until
the largest logit meets the end of the mantissas' range, logits that fall
below the range saturate, and the exponent is the one whose class
probabilities diverge least from the float network's on the calibration
images. The constant is kept in the artifact and added again when mantissas
are turned into logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.format import MAX_BITS, exponent_for_maximum, mantissa_range, round_half_up
from bfp.graph import Graph

CANDIDATES = 4  # the exponent of the whole range and three below it


@dataclass(frozen=True)
class OutputWindow:
    """exponent: of every output. largest: the largest logit of the calibration images."""

    exponent: int
    largest: float

    def offset(self, exponent: int, bits: int) -> float:
        """The constant that the mantissas leave out, at an exponent that may have been raised."""
        return self.largest - mantissa_range(bits, True)[1] * 2.0**exponent


def applies(graph: Graph, bits: int, signed: bool) -> bool:
    """Whether the output is a vector of logits, from a layer with biases, in fewer than 8 bits."""
    node = graph.producer(graph.output)
    vector = graph.shapes[graph.output][1:] == (1, 1) and graph.shapes[graph.output][0] > 1
    plain = node is not None and node.op == "conv" and node.activation == "none" and node.shortcut is None
    return vector and plain and signed and bits < MAX_BITS and not graph.consumers(graph.output)


def choose(logits: np.ndarray, bits: int) -> OutputWindow:
    """logits: of the float network, [N, classes]. The coarser of equals wins."""
    largest = float(logits.max())
    reach = max(largest - float(logits.min()), float(np.abs(logits).max())) / 2
    highest = int(exponent_for_maximum(np.array([reach]), bits)[0])
    divergences = []
    for e in range(highest, highest - CANDIDATES, -1):
        offset = OutputWindow(e, largest).offset(e, bits)
        low, high = mantissa_range(bits, True)
        rounded = np.clip(round_half_up((logits - offset) / 2.0**e), low, high) * 2.0**e
        divergences.append(divergence(logits, rounded))
    return OutputWindow(highest - int(np.argmin(divergences)), largest)


def divergence(logits: np.ndarray, other: np.ndarray) -> float:
    """Kullback-Leibler divergence of the class probabilities of two sets of logits [N, classes], mean in nats."""
    p, q = log_softmax(logits), log_softmax(other)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64) - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))
