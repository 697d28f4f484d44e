"""Building blocks of one-off networks for tests."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Fn(nn.Module):
    """A module whose forward is ``function(layers, x)``; the layers are numbered l0, l1, ..."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        for i, layer in enumerate(layers):
            self.add_module(f"l{i}", layer)

    def forward(self, x):
        return self.function(list(self.children()), x)


def conv(cin=3, cout=4, k=3, **kw):
    """A convolution, 3 to 4 channels and 3x3 unless told otherwise."""
    return nn.Conv2d(cin, cout, k, **kw)


def random_module(seed):
    """A module of random layers, branches, sums, concatenations, slices and in-place activations."""
    rng = np.random.default_rng(seed)
    layers, steps = [], []

    def layer(m):
        layers.append(m)
        return len(layers) - 1

    def step(kind, channels):
        """Append one step; returns the channels after it. Map sizes never shrink below half."""
        if kind == "conv":
            groups, out = (channels, channels) if rng.random() < 0.3 else (1, int(rng.integers(2, 7)))
            i = layer(nn.Conv2d(channels, out, 3, padding=1, groups=groups, bias=bool(rng.random() < 0.5)))
            steps.append(lambda m, x, seen: m[i](x))
            return out
        if kind == "bn":
            i = layer(nn.BatchNorm2d(channels))
            steps.append(lambda m, x, seen: m[i](x))
        elif kind == "relu":
            inplace = bool(rng.random() < 0.5)
            f = (F.relu, F.relu6)[int(rng.integers(2))]
            steps.append(lambda m, x, seen: f(x, inplace=inplace))
        elif kind == "residual":
            back = int(rng.integers(1, 5))
            steps.append(lambda m, x, seen: x + next((s for s in seen[-back:] if s.shape == x.shape), x))
        elif kind == "concat":
            steps.append(lambda m, x, seen: torch.cat([x, next(s for s in reversed(seen) if s.shape == x.shape)], 1))
            return 2 * channels
        elif kind == "pool":
            average = bool(rng.random() < 0.5)
            count = bool(rng.random() < 0.5)
            pool = nn.AvgPool2d(3, 1, 1, count_include_pad=count) if average else nn.MaxPool2d(3, 1, 1)
            i = layer(pool)
            steps.append(lambda m, x, seen: m[i](x))
        elif kind == "cut":
            steps.append(lambda m, x, seen: F.pad(x[:, 1:, 1:, :-1], (1, 0, 0, 1, 0, 1)))
        return channels

    channels = 4
    kinds = ["conv", "conv", "conv", "bn", "bn", "relu", "relu", "residual", "concat", "pool", "cut"]
    for kind in rng.choice(kinds, 14):
        channels = step(kind, channels) if not (kind == "concat" and channels > 16) else channels

    def forward(m, x):
        seen = [x]
        for f in steps:
            x = f(m, x, seen)
            seen.append(x)
        return x

    return Fn(forward, *layers) if layers else nn.Identity()
