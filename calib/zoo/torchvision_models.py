"""Networks of torchvision."""

from __future__ import annotations

import torch
from torch import nn

from calib.zoo.weights import published_weights


def mobilenet_v2(pretrained: bool = False, width: float = 1.0, classes: int = 1000) -> nn.Module:
    """MobileNetV2 (Sandler et al., 2018): [N, 3, H, W] to logits [N, classes].

    pretrained: load torchvision's ImageNet weights; raises BfpError where they
    cannot be downloaded.
    """
    return _build("mobilenet_v2", "MobileNet_V2_Weights", pretrained, width_mult=width, num_classes=classes)


def resnext50(pretrained: bool = False) -> nn.Module:
    """ResNeXt-50 32x4d (Xie et al., 2017): [N, 3, H, W] to logits [N, 1000]. Arguments and errors as of mobilenet_v2."""
    return _build("resnext50_32x4d", "ResNeXt50_32X4D_Weights", pretrained)


def shufflenet_v2(pretrained: bool = False) -> nn.Module:
    """ShuffleNetV2 x1 (Ma et al., 2018): [N, 3, H, W] to logits [N, 1000]. Arguments and errors as of mobilenet_v2."""
    return _build("shufflenet_v2_x1_0", "ShuffleNet_V2_X1_0_Weights", pretrained)


def densenet121(pretrained: bool = False) -> nn.Module:
    """DenseNet-121 (Huang et al., 2017): [N, 3, H, W] to logits [N, 1000]. Arguments and errors as of mobilenet_v2."""
    return _build("densenet121", "DenseNet121_Weights", pretrained)


def mobilenet_v3_large(pretrained: bool = False) -> nn.Module:
    """MobileNetV3-Large (Howard et al., 2019): [N, 3, H, W] to logits [N, 1000]. Arguments and errors as of mobilenet_v2."""
    return _build("mobilenet_v3_large", "MobileNet_V3_Large_Weights", pretrained)


def mobilenet_v3_small(pretrained: bool = False) -> nn.Module:
    """MobileNetV3-Small (Howard et al., 2019): [N, 3, H, W] to logits [N, 1000]. Arguments and errors as of mobilenet_v2."""
    return _build("mobilenet_v3_small", "MobileNet_V3_Small_Weights", pretrained)


def efficientnet_b0(pretrained: bool = False) -> nn.Module:
    """EfficientNet-B0 (Tan and Le, 2019): [N, 3, H, W] to logits [N, 1000]. Arguments and errors as of mobilenet_v2."""
    return _build("efficientnet_b0", "EfficientNet_B0_Weights", pretrained)


def regnet_y_400mf(pretrained: bool = False) -> nn.Module:
    """RegNetY-400MF (Radosavovic et al., 2020): [N, 3, H, W] to logits [N, 1000]. Arguments and errors as of mobilenet_v2."""
    return _build("regnet_y_400mf", "RegNet_Y_400MF_Weights", pretrained)


def lraspp(pretrained: bool = False) -> nn.Module:
    """LR-ASPP on MobileNetV3-Large (Howard et al., 2019): [N, 3, H, W] to a channel for each class [N, 21, H, W].

    Arguments and errors as of mobilenet_v2.
    """
    from torchvision.models import segmentation

    if not pretrained:
        return _Masks(segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)).eval()
    published = segmentation.LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1
    with published_weights("lraspp", published.url):
        return _Masks(segmentation.lraspp_mobilenet_v3_large(weights=published)).eval()


class _Masks(nn.Module):
    """What a network of torchvision's segmentation says of each pixel, without the name that it has there."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)["out"]


def googlenet(pretrained: bool = False) -> nn.Module:
    """GoogLeNet (Szegedy et al., 2015), without the classifiers that only training uses: [N, 3, H, W] to logits [N, 1000].

    As torchvision's weights want it, it turns images that are normalised as for ImageNet into -1..1 itself; without
    these weights, too. Arguments and errors as of mobilenet_v2.
    """
    return _with_own_normalisation("googlenet", "GoogLeNet_Weights", pretrained)


def inception_v3(pretrained: bool = False) -> nn.Module:
    """Inception-v3 (Szegedy et al., 2016): [N, 3, H, W] of at least 75 pixels to logits [N, 1000]; as googlenet."""
    return _with_own_normalisation("inception_v3", "Inception_V3_Weights", pretrained)


def _with_own_normalisation(name: str, weights: str, pretrained: bool) -> nn.Module:
    """A network that changes the normalisation of its images, and has other results than logits in training only."""
    settings = {} if pretrained else {"transform_input": True, "aux_logits": False, "init_weights": False}
    return _build(name, weights, pretrained, **settings)


def _build(name: str, weights: str, pretrained: bool, **settings: object) -> nn.Module:
    """The package's own constructor and, if asked for, its own loading of the published weights."""
    import torchvision

    constructor = getattr(torchvision.models, name)
    if not pretrained:
        return constructor(weights=None, **settings).eval()
    published = getattr(torchvision.models, weights).IMAGENET1K_V1
    with published_weights(name, published.url):
        return constructor(weights=published, **settings).eval()
