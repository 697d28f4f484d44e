"""A float network in the engine's own terms: what calibration starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from bfp.graph import Graph
from bfp.joined import JoinedOutput


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

    input_scale: by which the channels of normalised images are divided to become the input tensors; None: by nothing.
    output_scales: by which output tensors are multiplied to become what the network returns; by nothing where none is said.
    output_range: exponent and largest logit of a classifier's output tensor, where its scaling has fixed them.
    hosts: steps of bfp.host_operators behind the outputs that have any, by tensor. joins: what the host makes of several.
    reach: furthest value that each channel's mantissas shall hold, float64 [C], of the tensors where
    calib.transforms.sequence has chosen it.
    """

    graph: Graph
    weights: dict[str, FloatWeights]
    input_scale: tuple[float, ...] | None = None
    output_scales: dict[str, float] = field(default_factory=dict)
    output_range: tuple[int, float] | None = None
    hosts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    joins: tuple[JoinedOutput, ...] = ()
    reach: dict[str, np.ndarray] = field(default_factory=dict)

    def entry(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """The input tensors of normalised images [N, C, H, W], by name."""
        if self.input_scale is not None:
            images = images / torch.tensor(self.input_scale, dtype=images.dtype, device=images.device)[:, None, None]
        return self.graph.input_parts(images)
