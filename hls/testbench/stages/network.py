"""The network whose layers the stages' test benches get their data from: every operator, on small maps."""

import torch
from torch import nn


class Network(nn.Module):
    """Input [N, 3, 12, 12], output [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.depthwise = nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.pointwise = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.around = nn.MaxPool2d(3, stride=1, padding=1)
        self.wide = nn.Sequential(nn.Conv2d(12, 40, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(40), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(40, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20), nn.ReLU())
        self.mean = nn.AvgPool2d(3, stride=2, padding=1)
        self.classes = nn.Linear(80, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        x = torch.relu(self.pointwise(self.depthwise(x)) + x)
        x = self.around(x) + x
        x = self.mean(self.deep(self.wide(x)))
        return self.classes(torch.flatten(x, 1))


def make() -> nn.Module:
    return Network()
