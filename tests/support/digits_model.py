"""A small network for 8x8 gray digits: convolutions, a depthwise one, a residual sum, both kinds of pooling.

The tests train it, and copy this file beside a network's TOML, as a user would.
"""

from torch import nn


class Block(nn.Module):
    """Depthwise and pointwise convolution around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU6()

    def forward(self, x):
        y = self.relu(self.norm1(self.depthwise(x)))
        return self.relu(self.norm2(self.pointwise(y)) + x)


def make(width: int = 12) -> nn.Module:
    """Input [N, 1, 8, 8], output [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Block(width),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * width, 10),
    )
