"""Forms of what a network returns: a map, classes, or heads of several sizes that the host puts together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support.forms import Forms, Step
from torch import nn


def linear(of, steps) -> Step:
    """A fully connected layer. of(forms): what it reads, a step; steps: what lies behind it."""

    def form(forms: Forms) -> Step:
        read, behind = of(forms), forms.one_of(*steps)
        with torch.no_grad():
            count = read(forms.layers, torch.zeros(1, *forms.sizes)).shape[1]
        i = forms.layer(nn.Linear(count, forms.whole(2, 8)))
        return lambda m, x: behind(m[i](read(m, x)))

    return form


def means(forms: Forms) -> Step:
    return forms.one_of(lambda m, x: x.mean((2, 3)), lambda m, x: x.mean(3).mean(2), lambda m, x: F.adaptive_avg_pool2d(x, 1).flatten(1))


def cells(forms: Forms) -> Step:
    target = (forms.whole(1, 4), forms.whole(1, 4))
    return lambda m, x: F.adaptive_avg_pool2d(x, target).flatten(1)


def elements(forms: Forms) -> Step:
    return forms.one_of(lambda m, x: x.flatten(1), lambda m, x: x.permute(0, 2, 3, 1).flatten(1), lambda m, x: x.transpose(1, 3).flatten(1))


def heads(forms: Forms) -> Step:
    """Maps of two sizes, from heads of the same numbers."""
    numbers = forms.one_of(2, 3, 4, 6)
    i, j = (forms.layer(nn.Conv2d(forms.channels, numbers, k, padding=k // 2)) for k in (forms.one_of(1, 3), 1))
    smaller = forms.one_of(lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: x.amax(3, keepdim=True))
    return lambda m, x: (m[i](x), m[j](smaller(x)))


def rows(y: torch.Tensor) -> torch.Tensor:
    """Numbers of a pixel side by side, pixels one below the other."""
    return y.permute(0, 2, 3, 1).reshape(len(y), -1, y.shape[1])


def joined(put, axis: int, *behind) -> Step:
    """Heads of several sizes, each ``put`` in another shape, side by side along an axis; then one of these steps."""

    def form(forms: Forms) -> Step:
        of, then = heads(forms), forms.one_of(*behind)
        return lambda m, x: then(torch.cat([put(y) for y in of(m, x)], axis))

    return form


def decoded(forms: Forms) -> Step:
    """Boxes decoded in parts, as a detector does it, then joined."""
    of = heads(forms)

    def decode(y: torch.Tensor) -> torch.Tensor:
        y = rows(y)
        return torch.cat([y[..., :1].sigmoid() * 2 - 0.5, y[..., 1:].exp()], -1)

    return lambda m, x: torch.cat([decode(y) for y in of(m, x)], 1)


def same(x):
    return x


VECTOR = (same, lambda x: x.softmax(-1), lambda x: F.log_softmax(x, -1), torch.sigmoid, lambda x: F.normalize(x, dim=1))
ENDS = {
    "map": lambda forms: forms.one_of(lambda m, x: x, lambda m, x: torch.sigmoid(x), lambda m, x: x.softmax(1), lambda m, x: x.permute(0, 2, 3, 1)),
    "linear of means": linear(means, VECTOR),
    "linear of cells": linear(cells, VECTOR),
    "linear of elements": linear(elements, VECTOR),
    "linear of the largest": linear(lambda forms: lambda m, x: x.amax((2, 3)), VECTOR),
    "joined rows": joined(rows, 1, same, lambda x: x.sigmoid(), lambda x: x.softmax(-1)),
    "joined pixels": joined(lambda y: y.flatten(2), 2, same, lambda x: x.transpose(1, 2)),
    "joined elements": joined(lambda y: y.permute(0, 2, 3, 1).flatten(1), 1, same, torch.sigmoid),
    "slices of joined rows": joined(rows, 1, lambda x: x[..., :1], lambda x: x[:, 1:], lambda x: x[:, 0], lambda x: x[..., 1:].sigmoid()),
    "parts of joined pixels": joined(lambda y: y.flatten(2), 2, lambda x: x[:, 1:].sigmoid(), lambda x: x.chunk(2, 1)[0], lambda x: x[:, :, 0]),
    "joined, decoded in parts": decoded,
}
