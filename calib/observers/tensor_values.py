"""The values of one tensor, kept as they are."""

from __future__ import annotations

import numpy as np
import torch


class TensorValues:
    """Keeps every value of one tensor; an observer."""

    def __init__(self, tensor: str) -> None:
        self.tensor = tensor
        self._batches: list[np.ndarray] = []

    def observe(self, tensor: str, x: torch.Tensor) -> None:
        """Keep a batch [N, C, H, W] of the tensor; others are not looked at."""
        if tensor == self.tensor:
            self._batches.append(x.flatten(1).numpy())

    def values(self) -> np.ndarray:
        """Float32 [images, C * H * W]."""
        return np.concatenate(self._batches)
