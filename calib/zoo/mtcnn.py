"""The three networks of MTCNN's face cascade (Zhang et al., 2016), with the weights that facenet-pytorch ships.

RGB, ``(pixel - 127.5) / 128``. Offsets are left, top, right and bottom as parts of the window's side; scores are of no
face and of a face; landmarks are five x, then five y, as parts of the window's side.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from bfp.errors import BfpError
from calib.zoo.weights import load_weights

PACKAGE = "facenet_pytorch"
CLASSES, SIDES, LANDMARKS = 2, 4, 10


class PNet(nn.Module):
    """Proposals: images [N, 3, H, W] to scores [N, 2, h, w] and offsets [N, 4, h, w], of windows of 12 pixels every 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1, self.pool1 = nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, CLASSES, 1), nn.Conv2d(32, SIDES, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return {"scores": self.conv4_1(x).softmax(1), "offsets": self.conv4_2(x)}


class RNet(nn.Module):
    """Refinement: windows [N, 3, 24, 24] to scores [N, 2] and offsets [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1, self.pool1 = nn.Conv2d(3, 28, 3), nn.PReLU(28), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2, self.pool2 = nn.Conv2d(28, 48, 3), nn.PReLU(48), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(64 * 3 * 3, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, CLASSES), nn.Linear(128, SIDES)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(column_by_column(x)))
        return {"scores": self.dense5_1(x).softmax(1), "offsets": self.dense5_2(x)}


class ONet(nn.Module):
    """Output: windows [N, 3, 48, 48] to scores [N, 2], offsets [N, 4] and landmarks [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1, self.pool1 = nn.Conv2d(3, 32, 3), nn.PReLU(32), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2, self.pool2 = nn.Conv2d(32, 64, 3), nn.PReLU(64), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3, self.pool3 = nn.Conv2d(64, 64, 3), nn.PReLU(64), nn.MaxPool2d(2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(128 * 3 * 3, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2 = nn.Linear(256, CLASSES), nn.Linear(256, SIDES)
        self.dense6_3 = nn.Linear(256, LANDMARKS)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(column_by_column(x)))
        return {"scores": self.dense6_1(x).softmax(1), "offsets": self.dense6_2(x), "landmarks": self.dense6_3(x)}


STAGES = {"pnet": PNet, "rnet": RNet, "onet": ONet}


def column_by_column(x: torch.Tensor) -> torch.Tensor:
    """Maps [N, C, H, W] as vectors [N, W * H * C], in the order that the published weights of the linear layers expect."""
    return x.permute(0, 3, 2, 1).flatten(1)


def mtcnn(stage: str, pretrained: bool = True) -> nn.Module:
    """One network of the cascade: "pnet", "rnet" or "onet". Raises BfpError for another, or a package that is not installed."""
    if stage not in STAGES:
        raise BfpError(f"MTCNN has no network {stage!r}; it has {', '.join(STAGES)}")
    model = STAGES[stage]()
    if pretrained:
        load_weights(model, str(weights_folder() / f"{stage}.pt"))
    return model.eval()


def weights_folder() -> Path:
    """Where the package keeps the weights; it is not imported, as it wants other versions of torch."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BfpError(
            "MTCNN's weights are in the package facenet-pytorch, which is not installed; run pip install --no-deps "
            "facenet-pytorch==2.5.3, or give pretrained = false with weights = \"random\""
        )
    return Path(next(iter(spec.submodule_search_locations))) / "data"
