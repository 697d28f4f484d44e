"""The centre of each channel's range, as calibration images show it."""

from __future__ import annotations

import numpy as np
import torch


class RangeCentres:
    """Least and largest value of every channel of some tensors; an observer."""

    def __init__(self, tensors: list[str]) -> None:
        self.low: dict[str, np.ndarray | None] = dict.fromkeys(tensors)
        self.high: dict[str, np.ndarray | None] = dict.fromkeys(tensors)

    def observe(self, tensor: str, x: torch.Tensor) -> None:
        """Add a batch [N, C, H, W] of a tensor; others are not looked at."""
        if tensor not in self.low:
            return
        low, high = x.amin((0, 2, 3)).double().numpy(), x.amax((0, 2, 3)).double().numpy()
        if self.low[tensor] is not None:
            low, high = np.minimum(low, self.low[tensor]), np.maximum(high, self.high[tensor])
        self.low[tensor], self.high[tensor] = low, high

    def centre(self, tensor: str) -> np.ndarray:
        """Float64 [C]. Zero where a value was not finite: whoever counts the ranges names the layer."""
        centre = (self.low[tensor] + self.high[tensor]) / 2
        return np.where(np.isfinite(centre), centre, 0.0)
