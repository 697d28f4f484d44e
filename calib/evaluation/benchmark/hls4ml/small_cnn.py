"""A CNN that fits hls4ml's one-kernel-per-layer style as well as an engine: convolutions, pooling, one dense layer.

2.2 million multiply-accumulates an image; CIFAR's input size.
"""

import torch
from torch import nn


def make(seed: int = 0) -> nn.Module:
    """Input [N, 3, 32, 32], output [N, 10]; the same seeded random weights on every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
