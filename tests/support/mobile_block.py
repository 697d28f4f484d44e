"""A block like those of MobileNetV2."""

from __future__ import annotations

import torch
from torch import nn

from support.small_modules import Fn
from bfp.artifact import Preprocessing

PRE = Preprocessing((10, 10), (127.0,) * 3, (128.0,) * 3)


def mobile_block(x=8, hidden=24):
    """Expansion, depthwise, projection, residual: what the corrections have to walk through."""
    torch.manual_seed(3)
    layers = (
        nn.Conv2d(3, x, 3, 2, 1),
        nn.Conv2d(x, hidden, 1),
        nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden),
        nn.Conv2d(hidden, x, 1),
        nn.Linear(x, 5),
    )
    with torch.no_grad():
        layers[1].weight *= torch.exp2(torch.randn(hidden))[:, None, None, None]

    def forward(m, image):
        first = torch.relu(m[0](image))
        mid = nn.functional.relu6(m[2](nn.functional.relu6(m[1](first))))
        return m[4]((first + m[3](mid)).mean((2, 3)))

    return Fn(forward, *layers).eval()
