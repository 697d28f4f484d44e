"""ESPCN of Shi et al., "Real-Time Single Image and Video Super-Resolution" (2016): all at the small size, then a shuffle."""

from __future__ import annotations

from torch import nn


def espcn(factor: int = 3, channels: int = 1) -> nn.Module:
    """ESPCN with ReLU: [N, channels, H, W] to [N, channels, factor * H, factor * W]. No published weights are loaded."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 64, 5, padding=2), nn.ReLU(), nn.Conv2d(64, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, channels * factor**2, 3, padding=1), nn.PixelShuffle(factor)),
    ).eval()
