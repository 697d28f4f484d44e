"""What random forms are drawn with: random numbers, the module's layers so far, and the sizes of the map so far."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

Step = Callable  # of the module's layers and a map, which gives another map
Named = dict[str, Callable]  # a form by its name: of Forms, which gives a step, or None where it does not fit


class Forms:
    """``sizes``: channels, rows and columns."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[nn.Module] = []
        self.sizes = [int(self.rng.integers(1, 20)), int(self.rng.integers(3, 12)), int(self.rng.integers(3, 12))]

    @property
    def channels(self) -> int:
        return self.sizes[0]

    def layer(self, module: nn.Module) -> int:
        self.layers.append(module)
        return len(self.layers) - 1

    def one_of(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return int(self.rng.integers(low, high + 1))

    def divisor(self, count: int) -> int:
        """A divisor of a number, one included."""
        return self.one_of(*(n for n in range(1, count + 1) if count % n == 0))

    def groups(self) -> int | None:
        """Parts that channels can be cut into, at least two; None where there are none."""
        found = [n for n in range(2, self.channels + 1) if self.channels % n == 0]
        return self.one_of(*found) if found else None

    def numbers(self, *shape: int, low: float = 0.5, high: float = 2.0) -> torch.Tensor:
        """Positive numbers, float32."""
        return torch.as_tensor(self.rng.uniform(low, high, shape).astype(np.float32))  # where new tensors are made

    def constant(self) -> torch.Tensor:
        """One positive number, or one for each channel."""
        return self.numbers(*self.one_of((), (1,), (self.channels, 1, 1), (1, self.channels, 1, 1)))
