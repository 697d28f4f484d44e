"""Signed channels are shifted so that the centre of their range is zero.

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

from bfp.graph import Graph, Node
from bfp.operators import Join, Shifting
from calib.data.images import ImageSet
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.observers.observer import evenly, observe
from calib.observers.range_centres import RangeCentres
from calib.state import CalibrationState

IMAGES = 64


def centre_ranges(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: every tensor of ``shiftable`` without the centres of its channels' ranges."""
    tensors = shiftable(state.network.graph)
    if not tensors:
        return state
    centres = RangeCentres(tensors)
    observe(state.network, evenly(images, IMAGES), centres, "range centring")
    return state.with_network(centred(state.network, centres.centre))


def shiftable(graph: Graph) -> list[str]:
    """Tensors whose channels may be shifted: made without activation, read without padding, by layers with biases."""
    return [
        node.output
        for node in graph.nodes
        if node.operator.shifting is Shifting.ABSORBED
        and node.act.is_identity
        and node.output not in graph.outputs
        and all(_takes_in(reader, node.output) for reader in graph.consumers(node.output))
    ]


def _takes_in(reader: Node, tensor: str) -> bool:
    """Whether the reader's biases take in constants of the tensor's channels."""
    padded = reader.main == tensor and any(p > 0 for p in reader.window.padding)
    added = reader.shortcut != tensor or reader.operator.join is Join.SUM
    return reader.operator.shifting is Shifting.ABSORBED and added and not padded


def centred(network: FloatNetwork, centre: Callable[[str], np.ndarray]) -> FloatNetwork:
    """The same function, up to float rounding, with ``centre(tensor)`` [C] taken off every tensor of ``shiftable``."""
    graph, shift = network.graph, {t: centre(t) for t in shiftable(network.graph)}
    weights = dict(network.weights)
    for node in graph.weighted():
        w = weights[node.name]
        change = moved = np.zeros(len(w.bias))  # of the biases, and of the layer's sums
        if node.main in shift:
            change = change + _passed_on(node, w, shift[node.main])
        if node.shortcut in shift:  # a sum, see ``shiftable``
            change, moved = change + shift[node.shortcut], moved + shift[node.shortcut]
        if node.output in shift:
            change, moved = change - shift[node.output], moved - shift[node.output]
        trained = w.trained and w.trained.scaled(1.0, moved)
        weights[node.name] = replace(w, bias=(w.bias + change).astype(np.float32), trained=trained)
    return replace(network, weights=weights)


def _passed_on(node: Node, w: FloatWeights, shift: np.ndarray) -> np.ndarray:
    """What constants of the input's channels add to the output's, float64 [filters]."""
    taps = w.weight.sum(axis=(2, 3), dtype=np.float64)  # [filters, inputs], or [filters, 1]
    return taps[:, 0] * shift if node.operator.weights.per_channel else taps @ shift
