"""U-Net of Ronneberger et al. (2015) as it is mostly written today: padded convolutions with batch normalisation."""

from __future__ import annotations

import torch
from torch import nn


class Twice(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """Images [N, 3, H, W] to a channel for each class [N, classes, H, W]; H and W are multiples of 2**levels."""

    def __init__(self, classes: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.entry = Twice(3, width)
        self.down = nn.ModuleList(Twice(a, b) for a, b in zip(widths, widths[1:]))
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths[:0:-1], widths[-2::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.join = nn.ModuleList(Twice(2 * b, b) for _, b in pairs)
        self.exit = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = [self.entry(x)]
        for block in self.down:
            kept.append(block(self.pool(kept[-1])))
        y = kept.pop()
        for up, join in zip(self.up, self.join):
            y = join(torch.cat([kept.pop(), up(y)], 1))
        return self.exit(y)


def unet(classes: int = 21, width: int = 32, levels: int = 4) -> nn.Module:
    """U-Net of ``levels`` halvings, published with a width of 64: [N, 3, H, W] to [N, classes, H, W]. No published weights are loaded."""
    return UNet(classes, width, levels).eval()
