"""Weighted sums and largest values over sets of elements, as convolutions and maxima whose windows tile the map."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Shape, Window
from calib.frontend.arithmetic import joined
from calib.frontend.pieces import MOST_WEIGHTS
from calib.frontend.translation import Translation, shape_of
from calib.frontend.views import View

MOST_HALVINGS = 12


@dataclass(frozen=True)
class Windows:
    """Sets of elements of a map, each within one of the windows that tile it.

    kernel: rows and columns of a window. place: of each set, which window, int64 [R]. within: of each of its elements,
    its number among channels x rows x columns of the window, int64 [R, n], -1 for a zero.
    """

    kernel: tuple[int, int]
    place: np.ndarray
    within: np.ndarray


def windows(sets: np.ndarray, shape: Shape) -> list[Windows]:
    """Sets, int64 [R, n] of a map's elements, in each tiling that keeps them whole: pixels, columns, rows, the map."""
    _, height, width = shape
    channel, pixel = np.maximum(sets, 0) // (height * width), np.maximum(sets, 0) % (height * width)
    row, column = pixel // width, pixel % width
    found = []
    for kh, kw in dict.fromkeys(((1, 1), (height, 1), (1, width), (height, width))):
        place = np.where(sets < 0, -1, row // kh * (width // kw) + column // kw)
        first = place.max(axis=1)
        if (first < 0).any() or ((place != first[:, None]) & (place >= 0)).any():
            continue
        within = np.where(sets < 0, -1, (channel * kh + row % kh) * kw + column % kw)
        found.append(Windows((kh, kw), first, within))
    return found


def product(
    t: Translation, fx: FxNode, tensor: str, sets: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> View | None:
    """A matrix product: weights [F, n] times each of the sets, int64 [R, n] of a tensor's elements; None where no
    convolution computes it. The view's index is [R, F]."""
    shape = t.draft.shapes[tensor]
    for w in windows(sets, shape):
        count = prod(shape[1:]) // prod(w.kernel)
        if (w.within != w.within[:1]).any() or len(np.unique(w.place)) < len(w.place):
            continue
        dense = np.zeros((len(weight), shape[0] * prod(w.kernel)), weight.dtype)
        used = w.within[0] >= 0
        np.add.at(dense, (slice(None), w.within[0][used]), weight[:, used])
        dense = dense.reshape(len(weight), shape[0], *w.kernel)
        name = t.node(fx, "conv", (tensor,), len(weight), (dense, bias), window=Window(w.kernel, w.kernel))
        return View(name, np.arange(len(weight)) * count + w.place[:, None])
    return None


def product_by_patterns(
    t: Translation, fx: FxNode, tensor: str, sets: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> View | None:
    """As ``product``, where sets lie at several places of their windows: each such place has filters of its own."""
    shape = t.draft.shapes[tensor]
    for w in windows(sets, shape):
        patterns, filters = np.unique(w.within, axis=0, return_inverse=True)
        size, count = shape[0] * prod(w.kernel), prod(shape[1:]) // prod(w.kernel)
        if len(patterns) * len(weight) * size > MOST_WEIGHTS or (w.within < 0).any():
            continue
        dense = np.zeros((len(patterns), len(weight), size), weight.dtype)
        for own, pattern in zip(dense, patterns):
            np.add.at(own, (slice(None), pattern), weight)
        weights = dense.reshape(-1, shape[0], *w.kernel), np.tile(bias, len(patterns))
        name = t.node(fx, "conv", (tensor,), len(weights[1]), weights, window=Window(w.kernel, w.kernel))
        first = filters.reshape(-1, 1) * len(weight) + np.arange(len(weight))
        return View(name, first * count + w.place[:, None])
    return None


def weighted(t: Translation, fx: FxNode, tensor: str, sets: np.ndarray, factor: float) -> View | None:
    """The sum of each set, int64 [R, n] of a tensor's elements, times a factor; None where no convolution does it."""
    shape = t.draft.shapes[tensor]
    for w in windows(sets, shape):
        patterns, filters = np.unique(np.sort(w.within, axis=1), axis=0, return_inverse=True)
        size, count = shape[0] * prod(w.kernel), prod(shape[1:]) // prod(w.kernel)
        if len(patterns) * size > MOST_WEIGHTS:
            continue
        weight = np.zeros((len(patterns), size))
        for filter_weights, pattern in zip(weight, patterns):
            np.add.at(filter_weights, pattern[pattern >= 0], factor)
        weights = weight.reshape(-1, shape[0], *w.kernel), np.zeros(len(patterns))
        name = t.node(fx, "conv", (tensor,), len(patterns), weights, window=Window(w.kernel, w.kernel))
        return View(name, (filters.reshape(-1) * count + w.place).reshape(shape_of(fx)))
    return None


def largest(t: Translation, fx: FxNode, tensor: str, sets: np.ndarray) -> View | None:
    """The largest value of each set, int64 [R, n] of the channels of a pixel; None where sets are no channels of one.

    One half of the channels meets the other one, until one is left of each set.
    """
    shape = t.draft.shapes[tensor]
    w = next((w for w in windows(sets, shape) if w.kernel == (1, 1)), None)
    if w is None or sets.shape[1] > 2**MOST_HALVINGS or (sets < 0).any():
        return None
    patterns, filters = np.unique(np.sort(w.within, axis=1), axis=0, return_inverse=True)
    pixels, view = np.arange(prod(shape[1:])), View(tensor)
    channels = patterns  # [F, n], of the tensor of ``view``
    while channels.shape[1] > 1:
        half, left = channels.shape[1] // 2, channels.shape[1] % 2
        halves = [channels[:, : half + left], channels[:, half:]]  # they share the one in the middle
        maps = []
        for part in halves:
            index = (part.reshape(-1)[:, None] * len(pixels) + pixels).reshape(1, -1, *shape[1:])
            maps.append(View(t.ordered(fx, View(view.tensor, index), index.shape)))
        view = joined(t, fx, "maximum", maps)
        channels = np.arange(channels.shape[0] * (half + left)).reshape(len(channels), -1)
    return View(view.tensor, (filters.reshape(-1) * len(pixels) + w.place).reshape(shape_of(fx)))
