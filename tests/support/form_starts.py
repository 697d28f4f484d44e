"""Forms of what a network takes: a picture, a sequence, frames, several inputs; each gives a map."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from support.forms import Forms, Step
from torch import nn

PICTURE = "picture"
Start = "tuple[Callable, tuple[int, ...] | dict[str, tuple[int, ...]]]"  # the first step, and the input's shape


def begun(forms: Forms, step: Step, *shapes: tuple[int, ...]) -> Start:
    """A step that gives a map, of one input or several; ``sizes`` become the map's."""
    for layer in forms.layers:
        layer.eval()
    with torch.no_grad():
        forms.sizes = list(step(forms.layers, *(torch.zeros(1, *shape) for shape in shapes)).shape[1:])
    return step, shapes[0] if len(shapes) == 1 else dict(zip(("left", "right"), shapes))


def picture(forms: Forms) -> Start:
    return begun(forms, lambda m, x: x, tuple(forms.sizes))


def sequence(forms: Forms) -> Start:
    """Layers over one axis, then a map of one row."""
    channels, length = forms.channels, forms.whole(8, 20)
    dilation = forms.one_of(1, 2)
    i = forms.layer(nn.Conv1d(channels, 8, 3, padding=2, dilation=dilation))
    j = forms.layer(nn.BatchNorm1d(8))
    pool = forms.one_of(F.max_pool1d, F.avg_pool1d)
    return begun(forms, lambda m, x: pool(F.relu(m[j](m[i](x))), 2).unsqueeze(2), (channels, length))


def frames(forms: Forms) -> Start:
    """Layers over frames; then a map of their mean, of one, or of all side by side."""
    channels, count, (h, w), (depth, apart) = forms.whole(1, 4), forms.whole(2, 5), forms.sizes[1:], forms.one_of((1, 0), (2, 1), (2, 0))
    i = forms.layer(nn.Conv3d(channels, forms.whole(2, 6), (depth, 3, 3), padding=(apart, 1, 1)))
    j = forms.layer(nn.BatchNorm3d(forms.layers[i].out_channels))
    pool = forms.one_of(
        lambda x: F.max_pool3d(x, (1, 2, 2)), lambda x: F.avg_pool3d(x, (1, 2, 1)),
        lambda x: F.adaptive_avg_pool3d(x, (1, h, 1)), lambda x: F.adaptive_max_pool3d(x, (1, 1, w)), lambda x: x,
    )  # fmt: skip
    end = forms.one_of(lambda x: x.mean(2), lambda x: x.flatten(1, 2), lambda x: x[:, :, 0])
    return begun(forms, lambda m, x: end(pool(F.relu(m[j](m[i](x))))), (channels, count, h, w))


def several(forms: Forms) -> Start:
    """Two inputs of one size and of channels of their own, side by side or met."""
    left, right, (h, w) = forms.channels, forms.whole(1, 6), forms.sizes[1:]
    i, j = forms.layer(nn.Conv2d(left, 7, 3, padding=1)), forms.layer(nn.Conv2d(right, 7, 1))
    step = forms.one_of(
        lambda m, a, b: torch.cat([a, b], 1), lambda m, a, b: torch.cat([m[i](a), b], 1), lambda m, a, b: m[i](a) - m[j](b),
        lambda m, a, b: torch.maximum(m[i](a), m[j](b)), lambda m, a, b: m[i](a) * torch.sigmoid(m[j](b)),
    )  # fmt: skip
    return begun(forms, step, (left, h, w), (right, h, w))


STARTS = {PICTURE: picture, "sequence": sequence, "frames": frames, "several inputs": several}
