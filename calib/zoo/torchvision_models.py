"""Networks of torchvision."""

from __future__ import annotations

from torch import nn

from calib.zoo.weights import published_weights


def mobilenet_v2(pretrained: bool = False, width: float = 1.0, classes: int = 1000) -> nn.Module:
    """MobileNetV2 (Sandler et al., 2018): [N, 3, H, W] to logits [N, classes].

    pretrained: load torchvision's ImageNet weights; raises BfpError where they
    cannot be downloaded.
    """
    import torchvision

    if not pretrained:
        return torchvision.models.mobilenet_v2(weights=None, width_mult=width, num_classes=classes).eval()
    weights = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
    with published_weights("mobilenet_v2", weights.url):
        return torchvision.models.mobilenet_v2(weights=weights, width_mult=width, num_classes=classes).eval()
