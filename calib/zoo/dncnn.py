"""DnCNN of Zhang et al., "Beyond a Gaussian Denoiser" (2017): seventeen convolutions that find an image's noise.

Batch normalisation is in the convolutions, as in the weights that its authors publish (KAIR, release v1.0).
"""

from __future__ import annotations

import torch
from torch import nn

from bfp.errors import BfpError
from calib.zoo.weights import check_state_dict, published_weights

NOISE_LEVELS = (15, 25, 50)
URL = "https://github.com/cszn/KAIR/releases/download/v1.0/dncnn_{}.pth"
DEPTH, WIDTH = 17, 64


class DnCNN(nn.Module):
    """Noisy images [N, 1, H, W], 0 to 1, to clean ones of the same shape; any height and width."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, WIDTH, 3, padding=1), nn.ReLU()]
        for _ in range(DEPTH - 2):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(WIDTH, 1, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.model(x)


def dncnn(pretrained: bool = False, noise: int = 25) -> nn.Module:
    """DnCNN for Gaussian noise of the standard deviation ``noise`` of 255: [N, 1, H, W] to [N, 1, H, W].

    pretrained: load the published weights. Raises BfpError for another noise than 15, 25 or 50, and where weights
    are out of reach.
    """
    if noise not in NOISE_LEVELS:
        raise BfpError(f"DnCNN has published weights for noise {', '.join(map(str, NOISE_LEVELS))}, not for {noise}")
    model = DnCNN()
    if pretrained:
        url = URL.format(noise)
        with published_weights("dncnn", url):
            state = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
        check_state_dict(model, state, url)
        model.load_state_dict(state)
    return model.eval()
