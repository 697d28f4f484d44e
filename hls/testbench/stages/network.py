"""The networks whose layers the stages' test benches get their data from: every operator, on small maps."""

import torch
from torch import nn


def pointwise(channels: int, *activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), *activation)


class Network(nn.Module):
    """Input [N, 3, 12, 12], output [N, 10].

    means: average pooling runs on inputs as they load; otherwise it is a layer, the largest of inputs are taken as
    they load, and the first map is stored besides its max pool.
    """

    def __init__(self, means: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.side = None if means else nn.Conv2d(12, 12, 3, stride=2, padding=1)
        self.depthwise = nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.pointwise = pointwise(12)
        self.gate = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Conv2d(12, 12, 1))
        self.lit = nn.Conv2d(12, 1, 1)
        self.around = nn.MaxPool2d(3, stride=1, padding=1)
        self.over_input = (nn.AvgPool2d if means else nn.MaxPool2d)(3, stride=1, padding=1)
        self.reader = pointwise(12, nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(12, 40, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(40), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(40, 20, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(20), nn.SiLU())
        self.phases = nn.Conv2d(12, 48, 1) if means else None
        self.mean = nn.AvgPool2d(3) if means else nn.AvgPool2d(3, stride=2, padding=1)
        self.classes = nn.Linear(20 if means else 80, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x)
        x = self.pool(stem)
        if self.side is not None:
            x = self.side(stem) + x
        x = torch.maximum(torch.relu(self.pointwise(self.depthwise(x)) + x), x)
        x = torch.minimum(x, self.lit(x)) * self.gate(x)
        x = self.around(x) + x
        if self.phases is not None:
            larger = nn.functional.interpolate(x, scale_factor=2) + nn.functional.pixel_shuffle(self.phases(x), 2)
            x = self.pool(larger)
        else:
            x = self.pool(nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
        x = self.reader(self.over_input(x))
        x = self.mean(self.deep(self.wide(x)))
        return self.classes(torch.flatten(x, 1))


def make(means: bool) -> nn.Module:
    return Network(means)
