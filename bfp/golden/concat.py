"""Concatenation along channels: an addressing matter, no arithmetic."""

from __future__ import annotations

import numpy as np


def concatenate(parts: list[np.ndarray]) -> np.ndarray:
    """[N, Ci, H, W] each, to [N, sum Ci, H, W]."""
    return np.concatenate(parts, axis=1)
