"""Forms of pools, larger and smaller maps, and of two maps of which one has few values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support.forms import Forms, Step
from torch import nn


def max_pool(forms: Forms) -> Step | None:
    """Any window, dilated or not, padded by half of it at most."""
    _, h, w = forms.sizes
    kernel = (forms.whole(1, 5), forms.whole(1, 5))
    dilation = (forms.one_of(1, 1, 2), forms.one_of(1, 1, 2))
    stride = (forms.whole(1, 3), forms.whole(1, 3))
    padding = tuple(min(k // 2, forms.whole(0, 2)) for k in kernel)
    fits = all(d * (k - 1) + 1 <= n + p for d, k, n, p in zip(dilation, kernel, (h, w), padding))
    return (lambda m, x: F.max_pool2d(x, kernel, stride, padding, dilation)) if fits else None


def avg_pool(forms: Forms) -> Step | None:
    _, h, w = forms.sizes
    kernel, counted = (forms.whole(1, 4), forms.whole(1, 4)), forms.rng.random() < 0.5
    padding, stride = tuple(min(k // 2, forms.whole(0, 1)) for k in kernel), (forms.whole(1, 2), forms.whole(1, 3))
    fits = kernel[0] <= h and kernel[1] <= w
    return (lambda m, x: F.avg_pool2d(x, kernel, stride, padding, count_include_pad=counted)) if fits else None


def adaptive(pool) -> Step:
    """To any size: larger, smaller, of whole cells or not."""

    def form(forms: Forms) -> Step:
        size = (forms.whole(1, 7), forms.whole(1, 7))
        return lambda m, x: pool(x, size)

    return form


def pool_of_one_axis(forms: Forms) -> Step | None:
    _, h, w = forms.sizes
    pool = forms.one_of(F.max_pool1d, F.avg_pool1d)
    return (lambda m, x: pool(x.amax(2), 2, 1).unsqueeze(2)) if w > 1 else None


def largest(forms: Forms) -> Step:
    return forms.one_of(lambda m, x: x.amax(2, keepdim=True), lambda m, x: x.amax(3, keepdim=True), lambda m, x: x.amax((2, 3), True))


def means(forms: Forms) -> Step:
    return forms.one_of(
        lambda m, x: x.mean(2, keepdim=True), lambda m, x: x.mean(3, keepdim=True), lambda m, x: x.mean(3).mean(2)[:, :, None, None]
    )


# -- larger and smaller maps ---------------------------------------------------------------------------------------------


def nearest(forms: Forms) -> Step:
    factors = (forms.whole(1, 3), forms.whole(1, 3))
    return forms.one_of(
        lambda m, x: F.interpolate(x, scale_factor=[float(f) for f in factors]),
        lambda m, x: x.repeat_interleave(factors[0], 2),
    )


def bilinear(corners: bool, *factors) -> Step:
    """By any of these factors of rows and columns."""

    def form(forms: Forms) -> Step:
        by = forms.one_of(*factors)
        size = [n * f for n, f in zip(forms.sizes[1:], by)]
        return lambda m, x: F.interpolate(x, size=size, mode="bilinear", align_corners=corners)

    return form


def nearly_whole(forms: Forms) -> Step:
    """To a size that is nearly whole times the map's."""
    size = [2 * n - 1 for n in forms.sizes[1:]]
    return lambda m, x: F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def halved(forms: Forms) -> Step | None:
    size = [n // 2 for n in forms.sizes[1:]]
    fits = all(n % 2 == 0 for n in forms.sizes[1:])
    return (lambda m, x: F.interpolate(x, size=size, mode="bilinear")) if fits else None


def unpooled(forms: Forms) -> Step | None:
    """Back to where maxima were, and a layer with weights."""
    if any(n % 2 for n in forms.sizes[1:]):
        return None
    i, j = forms.layer(nn.Conv2d(forms.channels, forms.channels, 1)), forms.layer(nn.Conv2d(forms.channels, forms.whole(1, 20), 1))

    def step(m, x):
        largest, places = F.max_pool2d(x, 2, return_indices=True)
        return m[j](F.max_unpool2d(m[i](largest), places, 2))

    return step


def channels_as_pixels(forms: Forms) -> Step:
    factor = forms.one_of(2, 3)
    i = forms.layer(nn.Conv2d(forms.channels, factor * factor * forms.whole(1, 12), 1))
    return lambda m, x: F.pixel_shuffle(m[i](x), factor)


def pixels_as_channels(forms: Forms) -> Step | None:
    factor = forms.one_of(2, 3)
    return (lambda m, x: F.pixel_unshuffle(x, factor)) if all(n % factor == 0 for n in forms.sizes[1:]) else None


# -- two maps, of which one has few values ------------------------------------------------------------------------------------


def value_a_channel(join) -> Step:
    """Squeeze and excitation, and what looks like it."""

    def form(forms: Forms) -> Step:
        c, few = forms.channels, forms.whole(1, 8)
        i, j, gate = forms.layer(nn.Conv2d(c, few, 1)), forms.layer(nn.Conv2d(few, c, 1)), forms.one_of(torch.sigmoid, F.hardsigmoid)
        return lambda m, x: join(x, gate(m[j](F.relu(m[i](x.mean((2, 3), keepdim=True))))))

    return form


def value_a_pixel(join) -> Step:
    """Spatial attention, and what looks like it."""

    def form(forms: Forms) -> Step:
        i = forms.layer(nn.Conv2d(forms.channels, 1, 3, padding=1))
        return lambda m, x: join(x, torch.sigmoid(m[i](x)))

    return form


def one_value(forms: Forms) -> Step:
    i, join = forms.layer(nn.Conv2d(forms.channels, 1, 1)), forms.one_of(torch.mul, torch.maximum, torch.add)
    return lambda m, x: join(x, m[i](x).mean((2, 3), keepdim=True))


def shares_of_two(forms: Forms) -> Step:
    """Softmax over two branches, as attention over kernels has it."""
    c = forms.channels
    layers = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 1), nn.Conv2d(c, 2 * c, 1)
    i, j, k = (forms.layer(layer) for layer in layers)

    def step(m, x):
        parts = [F.relu(m[i](x)), F.relu(m[j](x))]
        shares = m[k]((parts[0] + parts[1]).mean((2, 3), keepdim=True)).view(-1, 2, c).softmax(1)
        return sum(shares[:, n, :, None, None] * part for n, part in enumerate(parts))

    return step


STEPS = {
    "max pool": max_pool,
    "average pool": avg_pool,
    "adaptive average": adaptive(F.adaptive_avg_pool2d),
    "adaptive maximum": adaptive(F.adaptive_max_pool2d),
    "pool over one axis": pool_of_one_axis,
    "amax": largest,
    "means of an axis": means,
    "nearest upsampling": nearest,
    "bilinear upsampling by 2 and 4": bilinear(False, (2, 2), (4, 4), (2, 1), (1, 4)),
    "bilinear upsampling by other factors": bilinear(False, (3, 3), (3, 2), (1, 5)),
    "bilinear upsampling with corners": bilinear(True, (2, 2), (4, 2), (3, 1), (1, 2)),
    "bilinear upsampling, nearly whole": nearly_whole,
    "bilinear to a half": halved,
    "unpooling": unpooled,
    "pixel shuffle": channels_as_pixels,
    "pixel unshuffle": pixels_as_channels,
    "product by channel": value_a_channel(torch.mul),
    "sum by channel": value_a_channel(torch.add),
    "extremes by channel": lambda forms: value_a_channel(forms.one_of(torch.maximum, torch.minimum))(forms),
    "product by pixel": value_a_pixel(torch.mul),
    "extremes by pixel": lambda forms: value_a_pixel(forms.one_of(torch.maximum, torch.minimum))(forms),
    "one value for all": one_value,
    "softmax over two": shares_of_two,
}
