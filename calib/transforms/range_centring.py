"""Signed channels are shifted so that the middle of their range is zero.

A mantissa reaches as far below zero as above it. A channel whose values lie
mostly on one side wastes the other; shifted by a constant, it needs less of a
range for the same values. The layer that makes the tensor takes the constant
off its bias, and the layers that read it, or add it, put it back into theirs,
so that the network's function stays the same (as zero points of quantisation
do, Jacob et al., 2018, but folded into biases before exponents are chosen).
Zero padding would not be shifted, and a ReLU needs its zero where it is: such
tensors stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from bfp.graph import Graph, Node
from calib.network.float_network import FloatNetwork

WEIGHTED = ("conv", "depthwise")


def centred(graph: Graph) -> list[str]:
    """Tensors whose channels may be shifted: made without activation and read without padding, by layers with biases."""
    return [
        node.output
        for node in graph.nodes
        if node.op in WEIGHTED
        and node.activation == "none"
        and node.output != graph.output
        and all(_takes(reader, node.output) for reader in graph.consumers(node.output))
    ]


def _takes(reader: Node, tensor: str) -> bool:
    padded = reader.main == tensor and any(p > 0 for p in reader.window.padding)
    return reader.op in WEIGHTED and not padded


class Middles:
    """Gathers the middle of each channel's range; ``observe`` is for ``float_model.run``."""

    def __init__(self, tensors: list[str]) -> None:
        self.low: dict[str, np.ndarray] = dict.fromkeys(tensors)
        self.high: dict[str, np.ndarray] = dict.fromkeys(tensors)

    def observe(self, tensor: str, x: torch.Tensor) -> None:
        """Add a batch [N, C, H, W] of a tensor; others are not looked at."""
        if tensor not in self.low:
            return
        low, high = x.amin((0, 2, 3)).double().numpy(), x.amax((0, 2, 3)).double().numpy()
        if self.low[tensor] is not None:
            low, high = np.minimum(low, self.low[tensor]), np.maximum(high, self.high[tensor])
        self.low[tensor], self.high[tensor] = low, high

    def of(self, tensor: str) -> np.ndarray:
        """Float64 [C]. Zero where a value was not finite: whoever counts the ranges names the layer."""
        middle = (self.low[tensor] + self.high[tensor]) / 2
        return np.where(np.isfinite(middle), middle, 0.0)


def centre(network: FloatNetwork, middle: Callable[[str], np.ndarray]) -> FloatNetwork:
    """The same function, up to float rounding, with ``middle(tensor)`` [C] taken off every tensor of ``centred``."""
    graph, shift = network.graph, {t: middle(t) for t in centred(network.graph)}
    weights = dict(network.weights)
    for node in graph.nodes:
        if node.op not in WEIGHTED:
            continue
        w = weights[node.name]
        change = np.zeros(len(w.bias))
        if node.main in shift:
            taps = w.weight.sum(axis=(2, 3), dtype=np.float64)  # [filters, inputs], depthwise [filters, 1]
            change += taps[:, 0] * shift[node.main] if node.op == "depthwise" else taps @ shift[node.main]
        if node.shortcut in shift:
            change += shift[node.shortcut]
        if node.output in shift:
            change -= shift[node.output]
        weights[node.name] = replace(w, bias=(w.bias + change).astype(np.float32))
    return replace(network, weights=weights)
