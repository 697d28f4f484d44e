"""Convolutions that pad their input themselves, as PyTorch's own behind a padding.

Tools find layers by their type: one that traces modules does not see a convolution in a class of its own, and leaves it in
float without a word.
"""

from __future__ import annotations

from torch import nn

PADDING = "static_padding"  # the attribute of such a class, a module


def with_plain_convolutions(module: nn.Module) -> nn.Module:
    """The same module, changed in place, with the same outputs: whoever calls it compares them."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and type(child) is not nn.Conv2d and hasattr(child, PADDING):
            setattr(module, name, nn.Sequential(getattr(child, PADDING), plain(child)))
        else:
            with_plain_convolutions(child)
    return module


def plain(layer: nn.Conv2d) -> nn.Conv2d:
    """PyTorch's own convolution with the layer's weights, without the padding that its class adds."""
    made = nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups,
        layer.bias is not None,
    )  # fmt: skip
    made.load_state_dict({name: layer.state_dict()[name] for name in made.state_dict()})
    return made
