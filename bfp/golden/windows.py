"""Padding and sliding windows that several operators share."""

from __future__ import annotations

import numpy as np

from bfp.graph import Window


def pad(x: np.ndarray, window: Window, value: int = 0) -> np.ndarray:
    """[N, C, H, W] padded by the window's padding; a negative padding crops."""
    top, left, bottom, right = window.padding
    h, w = x.shape[2:]
    x = x[:, :, max(-top, 0) : h - max(-bottom, 0), max(-left, 0) : w - max(-right, 0)]
    grow = ((0, 0), (0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)))
    return np.pad(x, grow, constant_values=value) if any(map(any, grow)) else x


def taps(x: np.ndarray, window: Window):
    """For each kernel position of the padded [N, C, H, W], (ky, kx, view [N, C, OH, OW])."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    out_h, out_w = ((x.shape[2 + i] - window.extent[i]) // window.stride[i] + 1 for i in (0, 1))
    for ky in range(kh):
        for kx in range(kw):
            y, z = ky * dh, kx * dw
            yield ky, kx, x[:, :, y : y + (out_h - 1) * sh + 1 : sh, z : z + (out_w - 1) * sw + 1 : sw]
