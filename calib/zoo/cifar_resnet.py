"""The CIFAR-10 residual networks of He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2.

Three stages of 16, 32 and 64 channels, two convolutions to a block, and
shortcuts without parameters (option A): where a stage begins, the shortcut
takes every second pixel and pads the new channels with zeros on both sides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from bfp.errors import BfpError

DEPTHS = (20, 32, 44, 56)


class Block(nn.Module):
    """Two 3x3 convolutions and the shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Images [N, 3, 32, 32] to logits [N, classes]."""

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, blocks, 1)
        self.layer2 = stage(16, 32, blocks, 2)
        self.layer3 = stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """``blocks`` blocks, the first of which changes width and map size."""
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))


def cifar_resnet(depth: int = 20, classes: int = 10) -> nn.Module:
    """ResNet of ``depth`` layers (6 n + 2). Raises BfpError for a depth other than 20, 32, 44 or 56."""
    if depth not in DEPTHS:
        raise BfpError(f"CIFAR ResNet depth {depth} is not one of {', '.join(map(str, DEPTHS))}")
    return CifarResNet((depth - 2) // 6, classes).eval()
