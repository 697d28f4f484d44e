"""Channels divided by factors, and what reads them multiplied: the one rescaling of all transforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bfp.errors import BfpError
from bfp.graph import Node
from bfp.operators import Scaling
from calib.network.float_network import FloatNetwork, FloatWeights


def rescaled(network: FloatNetwork, factors: Mapping[str, np.ndarray]) -> FloatNetwork:
    """The network with channel c of every tensor in ``factors`` divided by ``factors[tensor][c]``, float32 [C].

    The layer that makes the tensor has its filters, biases and limits divided, the layers that read it as their main
    operand have their input channels multiplied. The function stays the same, up to float rounding, where channels
    that are tied (calib.transforms.tied_channels) have one factor. Raises BfpError for a layer that no factor passes.
    """
    weights = dict(network.weights)
    for node in network.graph.weighted():
        read, made = factors.get(node.main), factors.get(node.output)
        if read is not None or made is not None:
            weights[node.name] = _rescaled_layer(node, weights[node.name], read, made)
    return replace(network, weights=weights)


def _rescaled_layer(node: Node, w: FloatWeights, read: np.ndarray | None, made: np.ndarray | None) -> FloatWeights:
    if node.operator.scaling is not Scaling.ABSORBED:
        raise BfpError(f"node {node.name}: {node.op} cannot take factors of channels into its weights")
    if read is not None:
        w = replace(w, weight=w.weight * node.operator.weights.along_inputs(read))
    if made is None:
        return w
    limit, trained = _rescaled_limit(node, w.limit, made), w.trained and w.trained.scaled(1 / made)
    return FloatWeights(w.weight / made[:, None, None, None], w.bias / made, limit, trained)


def _rescaled_limit(node: Node, limit: np.ndarray | None, made: np.ndarray) -> np.ndarray | None:
    """The layer's own limits of its activation, [C], where its channels are divided by ``made``."""
    if node.act.scaling is Scaling.PASSES:
        return limit
    if node.act.scaling is Scaling.ABSORBED:
        return ((node.act.high if limit is None else limit) / made).astype(np.float32)
    raise BfpError(f"node {node.name}: {node.activation} lets no factor of a channel through")
