"""A float network in the engine's own terms: what calibration starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.graph import Graph


@dataclass(frozen=True)
class FloatWeights:
    """Weights of a convolution, with batch normalisation folded in.

    weight: float32 [filters, input channels (1 for depthwise), kernel height, kernel width].
    bias: float32 [filters]. limit: float32 [filters], what replaces the six of
    a ReLU6 behind it, or None.
    """

    weight: np.ndarray
    bias: np.ndarray
    limit: np.ndarray | None = None


@dataclass(frozen=True)
class FloatNetwork:
    """Graph and float weights; ``weights`` has one entry per ``conv`` and ``depthwise`` node, by node name."""

    graph: Graph
    weights: dict[str, FloatWeights]
