"""How far figures that are counted on a sample of images may lie from those of all images: intervals of 95 %."""

from __future__ import annotations

SURE = 1.96  # standard errors of 95 %


def share_interval(hits: float, images: int) -> tuple[float, float]:
    """Wilson's interval of the share that ``hits`` of so many images are (JASA 22, 1927): low and high end, 0..1."""
    share = hits / images
    centre, spread = share + SURE**2 / (2 * images), SURE * (share * (1 - share) / images + SURE**2 / (4 * images**2)) ** 0.5
    return max(0.0, (centre - spread) / (1 + SURE**2 / images)), min(1.0, (centre + spread) / (1 + SURE**2 / images))


def loss_interval(lost: int, won: int, images: int) -> float | None:
    """Half the interval of the loss of right answers, a share of all images; None for a single image.

    lost, won: images that only the float network, and only the quantised one, answers rightly. Each image counts as 1, -1 or
    0, so that images on which both agree, which are nearly all, add no spread.
    """
    if images < 2:
        return None
    variance = (lost + won - (lost - won) ** 2 / images) / (images - 1)
    return SURE * (variance / images) ** 0.5
