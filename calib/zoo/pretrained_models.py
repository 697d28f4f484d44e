"""ResNet-50, Inception-v4 and VGG-16 of the package pretrainedmodels, at their own or a reduced input size."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pretrainedmodels
import torch
from torch import nn

from bfp.errors import BfpError
from calib.zoo.weights import published_weights

VGG_STRIDE = 32  # pixels of the input to one of the last feature map


def resnet50(pretrained: bool = False, classes: int = 1000) -> nn.Module:
    """ResNet-50: [N, 3, H, W] to logits [N, classes]; any input size.

    Raises BfpError where weights are out of reach.
    """
    model = _build("resnet50", pretrained, classes)
    # older versions of torchvision pool over a fixed 7x7
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    return model.eval()


def inceptionv4(pretrained: bool = False, classes: int = 1000) -> nn.Module:
    """Inception-v4: [N, 3, H, W] to logits [N, classes]; 299 pixels are its own, and 75 the
    fewest that leave its last reduction a window.

    The average over the last map is taken over all of it, which at 299 pixels
    is the published 8x8 window. Raises BfpError where weights are out of reach.
    """
    model = _build("inceptionv4", pretrained, classes)
    model.avg_pool = nn.AdaptiveAvgPool2d(1)
    return model.eval()


def vgg16(pretrained: bool = False, input_size: int = 224, classifier: int = 4096, classes: int = 1000) -> nn.Module:
    """VGG-16: [N, 3, input_size, input_size] to logits [N, classes].

    input_size: a multiple of 32. classifier: width of its two hidden fully
    connected layers. With other than the published 224 and 4096 these are
    built anew, so that only its own or random weights fit. Raises BfpError.
    """
    if input_size < VGG_STRIDE or input_size % VGG_STRIDE:
        raise BfpError(f"VGG-16 input size {input_size} is not a multiple of {VGG_STRIDE}; choose 32, 64, ..., 224")
    if (input_size, classifier, classes) == (224, 4096, 1000):
        return _build("vgg16", pretrained, classes).eval()
    if pretrained:
        raise BfpError(
            f"VGG-16 with input size {input_size}, classifier {classifier} and {classes} classes has no published "
            "weights; use 224, 4096 and 1000, or pretrained = false"
        )
    # the published classifier has 120 million weights: do not allocate them to throw them away
    with torch.device("meta"):
        model = _build("vgg16", False, classes)
        model.linear0 = nn.Linear(512 * (input_size // VGG_STRIDE) ** 2, classifier)
        model.linear1 = nn.Linear(classifier, classifier)
        model.last_linear = nn.Linear(classifier, classes)
    model.to_empty(device="cpu")
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.reset_parameters()
    return model.eval()


def _build(name: str, pretrained: bool, classes: int) -> nn.Module:
    """The package's own constructor and, if asked for, its own loading of the published weights."""
    constructor: Callable[..., nn.Module] = getattr(pretrainedmodels, name)
    settings = pretrainedmodels.pretrained_settings[name]["imagenet"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision by an older signature
        if not pretrained:
            model = constructor(num_classes=1000, pretrained=None)
            if classes != 1000:
                model.last_linear = nn.Linear(model.last_linear.in_features, classes)
            return model
        if classes != settings["num_classes"]:
            raise BfpError(f"{name} has published weights for {settings['num_classes']} classes, not for {classes}")
        with published_weights(name, settings["url"]):
            return constructor(num_classes=classes, pretrained="imagenet")
