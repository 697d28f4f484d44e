"""TC-ResNet8 of Choi et al., "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices" (2019).

What a spectrogram's rows are, the coefficients of a moment, are channels here, so that all convolutions run along time.
"""

from __future__ import annotations

import torch
from torch import nn

CHANNELS = (16, 24, 32, 48)
STEM, KERNEL = 3, 9


class Block(nn.Module):
    """Two convolutions along time, of which the first halves it, and a 1x1 convolution around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, KERNEL, 2, KERNEL // 2, bias=False)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, KERNEL, 1, KERNEL // 2, bias=False)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.shortcut = nn.Sequential(nn.Conv1d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class TCResNet(nn.Module):
    """Coefficients [N, coefficients, frames] to logits [N, classes]."""

    def __init__(self, coefficients: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(coefficients, CHANNELS[0], STEM, padding=STEM // 2, bias=False)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(CHANNELS, CHANNELS[1:])))
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.linear = nn.Linear(CHANNELS[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


def tc_resnet8(coefficients: int = 40, classes: int = 12) -> nn.Module:
    """TC-ResNet8: [N, coefficients, frames] to logits [N, classes]; 40 coefficients and 98 frames a second are its own."""
    return TCResNet(coefficients, classes).eval()
