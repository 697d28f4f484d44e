"""Histograms of given values, and the error of a format on them."""

from __future__ import annotations

import numpy as np
import torch

from bfp.format import mantissa_range, round_half_up
from calib.observers.statistics import Histogram


def histogram(values, splits=None):
    """Histogram of [N, C] values given in two batches, the second one larger."""
    values = torch.as_tensor(values, dtype=torch.float32)[:, :, None, None]
    result = Histogram(splits or (0, values.shape[1]))
    for part in values.abs().sort(dim=0).values.split(max(1, len(values) // 2)):
        result.add(part, part.amax(dim=(0, 2, 3)).double().numpy())
    return result


def squared_error(values, e, bits, signed):
    low, high = mantissa_range(bits, signed)
    return ((np.clip(round_half_up(values * 2.0**-e), low, high) * 2.0**e - values) ** 2).mean()
