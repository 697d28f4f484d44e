"""A detector as YOLOv3-tiny (Redmon and Farhadi, 2018): convolutions with LeakyReLU, and two maps of anchors' values."""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = (16, 32, 64, 128, 256, 512)  # of the convolutions in front of the pools
NECK, DEEPEST = 256, 1024
ANCHORS = 3  # for each of the two maps


def layer(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the size, with batch normalisation and LeakyReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1))


class YoloTiny(nn.Module):
    """Images [N, 3, H, W] to the values of the anchors on maps of 1/32 and of 1/16 of their size; H, W multiples of 32.

    Each map has ANCHORS times four coordinates, an objectness and a value for each class, before any sigmoid.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        values = ANCHORS * (5 + classes)
        self.stages = nn.ModuleList(layer(a, b, 3) for a, b in zip((3, *WIDTHS), WIDTHS))
        self.pool = nn.MaxPool2d(2)
        self.same = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, stride=1))
        self.deep, self.neck = layer(WIDTHS[-1], DEEPEST, 3), layer(DEEPEST, NECK, 1)
        self.coarse = nn.Sequential(layer(NECK, 512, 3), nn.Conv2d(512, values, 1))
        self.bridge, self.up = layer(NECK, 128, 1), nn.Upsample(scale_factor=2)
        self.fine = nn.Sequential(layer(128 + WIDTHS[4], 256, 3), nn.Conv2d(256, values, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for stage in self.stages[:4]:
            x = self.pool(stage(x))
        middle = self.stages[4](x)
        x = self.neck(self.deep(self.same(self.stages[5](self.pool(middle)))))
        return self.coarse(x), self.fine(torch.cat([self.up(self.bridge(x)), middle], 1))


def yolo_tiny(classes: int = 80) -> nn.Module:
    """A detector like YOLOv3-tiny: [N, 3, H, W] to two maps [N, 3 * (5 + classes), ...]. No published weights are loaded."""
    return YoloTiny(classes).eval()
