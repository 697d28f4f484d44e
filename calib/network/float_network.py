"""A float network in the engine's own terms: what calibration starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from bfp.graph import Graph


@dataclass(frozen=True)
class TrainedSums:
    """What training saw of a layer's sums, before shortcut and activation: float64 [filters] each.

    A batch normalisation brings its layer's sums to the mean and the deviation that it has learnt, over all images
    that the network was trained on.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def scaled(self, factor: np.ndarray | float, shift: np.ndarray | float = 0.0) -> TrainedSums:
        """Of the sums times ``factor``, plus ``shift``."""
        return TrainedSums(self.mean * factor + shift, self.deviation * np.abs(factor))


@dataclass(frozen=True)
class FloatWeights:
    """Weights of a convolution, with batch normalisation folded in.

    weight: float32 [filters, input channels (1 for depthwise), kernel height, kernel width].
    bias: float32 [filters]. limit: float32 [filters], what replaces the six of
    a ReLU6 behind it, or None. trained: where a batch normalisation was folded in.
    """

    weight: np.ndarray
    bias: np.ndarray
    limit: np.ndarray | None = None
    trained: TrainedSums | None = None


@dataclass(frozen=True)
class FloatNetwork:
    """Graph and float weights; ``weights`` has one entry per ``conv`` and ``depthwise`` node, by node name.

    input_scale: by which the channels of normalised images are divided to become the input tensor; None: by nothing.
    output_scale: by which the output tensor is multiplied to become the network's output.
    output_range: exponent and largest logit of a classifier's output tensor, where its scaling has fixed them.
    host: steps of bfp.host_operators behind the network's output.
    reach: furthest value that each channel's mantissas shall hold, float64 [C], of the tensors where
    calib.transforms.sequence has chosen it.
    """

    graph: Graph
    weights: dict[str, FloatWeights]
    input_scale: tuple[float, ...] | None = None
    output_scale: float = 1.0
    output_range: tuple[int, float] | None = None
    host: tuple[str, ...] = ()
    reach: dict[str, np.ndarray] = field(default_factory=dict)

    def entry(self, images: torch.Tensor) -> torch.Tensor:
        """The input tensor of normalised images [N, C, H, W]."""
        if self.input_scale is None:
            return images
        return images / torch.tensor(self.input_scale, dtype=images.dtype, device=images.device)[:, None, None]
