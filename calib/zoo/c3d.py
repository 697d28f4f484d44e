"""C3D of Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks" (2015)."""

from __future__ import annotations

import torch
from torch import nn

# filters of the convolutions between two pools, and the pools' kernels of frames
STAGES = (((64,), 1), ((128,), 2), ((256, 256), 2), ((512, 512), 2), ((512, 512), 2))
FRAMES, SIZE = 16, 112
HIDDEN = 4096


class C3D(nn.Module):
    """Films [N, 3, 16, 112, 112] to logits [N, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for number, (filters, frames) in enumerate(STAGES):
            for outputs in filters:
                layers += [nn.Conv3d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            last = number == len(STAGES) - 1  # seven pixels become four
            layers.append(nn.MaxPool3d((frames, 2, 2), padding=(0, 1, 1) if last else 0))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 16, HIDDEN), nn.ReLU(), nn.Dropout(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(),
            nn.Linear(HIDDEN, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def c3d(classes: int = 487) -> nn.Module:
    """C3D: [N, 3, 16, 112, 112] to logits [N, classes]; 487 are those of Sports-1M, which it was published for."""
    return C3D(classes).eval()
