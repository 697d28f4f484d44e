"""The published rule, value by value."""

from __future__ import annotations

import numpy as np
import torch


def direct_published_step(x, bits):
    """The published search, value by value, in torch as published."""
    highest = np.floor(np.log2(np.abs(x).max()))
    t = torch.from_numpy(x).float()
    low, high = int(np.floor(x.min())), int(np.ceil(x.max()))
    bins = 1 + int((high - low) / ((x.max() - x.min()) / 128))

    def smooth(h):
        zero = (h == 0).float()
        h = h + 1e-4 * zero - (1e-4 * zero.sum() / (1 - zero).sum()) * (1 - zero)
        return h / h.sum()

    target, divergences = smooth(torch.histc(t, bins, low, high)), []
    for step in range(3):
        lsb = 2.0 ** (highest - step - bits + 2)
        q = torch.clamp(torch.round(t / lsb), -(2 ** (bits - 1) - 2), 2 ** (bits - 1) - 2) * lsb
        found = smooth(torch.histc(q, bins, low, high))
        divergences.append(float((target * (target.log() - found.log())).mean()))
    return divergences
