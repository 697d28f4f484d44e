"""What a layer's weights are fitted to: its inputs and sums at some output positions, as least-squares problems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from bfp.graph import Node, Window
from bfp.tables import operator_table
from calib.network.float_ops import pad
from calib.observers.second_moments import gram

SAMPLES = 16_384  # output positions of a layer; a wider layer gets SAMPLES_PER_INPUT for each input
SAMPLES_PER_INPUT = 4
DEPTHWISE_SAMPLES = 4096
CHUNK = 4096  # samples that are added up in float32
GROUP_VALUES = 1 << 20  # inputs of problems that are looked at together
ALIGNED = 16  # problems, wherever they begin, have the same sums: where memory begins decides how these are vectorised


class Moments(NamedTuple):
    """Of B problems of K inputs and F outputs: sums over samples of x x^T, float64 [B, K, K], and of target x^T, [B, F, K]."""

    hessian: torch.Tensor
    cross: torch.Tensor


def moments(
    node: Node, target: torch.Tensor, x: torch.Tensor, count: int, seed: int, folds: list[np.ndarray]
) -> list[Moments]:
    """Moments about the means, which are the bias's business, of samples at seeded positions, the same in every image.

    target: wanted sums [N, F, OH, OW]; x: what the layer reads, [N, C, H, W]; count: weights of a filter. folds: numbers
    of some of the images each, of which one entry of the result is.
    """
    images, channels, (height, width) = len(target), x.shape[1], target.shape[2:]
    per_channel = node.operator.weights.per_channel
    asked = DEPTHWISE_SAMPLES if per_channel else max(SAMPLES, SAMPLES_PER_INPUT * count)
    each = min(height * width, -(-asked // images))
    at = np.sort(np.random.default_rng(seed).permutation(height * width)[:each])
    step = max(1, GROUP_VALUES // (ALIGNED * count * images * each)) * ALIGNED if per_channel else channels
    found = []
    for start in range(0, channels, step):
        own = slice(start, start + step)
        inputs = _windows(node.window, x[:, own], at, width)
        outputs = _sums(target[:, own] if per_channel else target, at)
        samples = PROBLEMS[node.op](inputs, outputs)
        means = [v.flatten(2).mean(dim=2)[:, :, None, None] for v in samples]
        found.append([_of_fold(samples, means, fold) for fold in folds])
    return [Moments(*(torch.cat(parts) for parts in zip(*of_fold))) for of_fold in zip(*found)]


def _windows(window: Window, x: torch.Tensor, at: np.ndarray, width: int) -> torch.Tensor:
    """What kernels see at output positions, [C, kernel positions, images, positions]; width: of the output."""
    images, channels, row = len(x), x.shape[1], pad(x[:1, :1], window).shape[3]
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    corner = (at // width) * sh * row + (at % width) * sw
    offsets = (np.arange(kh)[:, None] * dh * row + np.arange(kw) * dw).reshape(-1)
    index = torch.from_numpy((offsets[:, None] + corner).reshape(-1))
    found = _room(x, channels, kh * kw, images, len(at))
    for n in range(images):  # one at a time, which the cache holds
        one = pad(x[n : n + 1], window)[0].flatten(1)
        found[:, :, n] = one.index_select(1, index).view(channels, kh * kw, len(at))
    return found


def _sums(target: torch.Tensor, at: np.ndarray) -> torch.Tensor:
    """Values at output positions, [F, 1, images, positions]."""
    images, filters = target.shape[:2]
    found, index = _room(target, filters, 1, images, len(at)), torch.from_numpy(at)
    for n in range(images):
        found[:, 0, n] = target[n].flatten(1).index_select(1, index)
    return found


def _of_fold(samples: Iterable[torch.Tensor], means: Iterable[torch.Tensor], images: np.ndarray) -> Moments:
    """Moments over some of the images; samples: inputs and outputs as of PROBLEMS, means: theirs, over all images."""
    chosen = torch.from_numpy(images)
    x, target = (v.index_select(2, chosen).sub_(mean).flatten(2) for v, mean in zip(samples, means))
    hessian, cross = 0.0, 0.0
    for a, b in zip(x.split(CHUNK, dim=2), target.split(CHUNK, dim=2)):
        hessian = hessian + gram(a).double()
        cross = cross + (b @ a.mT).double()
    return Moments(hessian, cross)


def _room(like: torch.Tensor, channels: int, count: int, images: int, each: int) -> torch.Tensor:
    """An empty tensor [channels, count, images, each]; of single pixels it lies image by image, as they come."""
    if each == 1:
        return like.new_empty((images, channels, count, each)).permute(1, 2, 0, 3)
    return like.new_empty((channels, count, images, each))


def _together(inputs: torch.Tensor, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One problem: every filter sees the windows of all channels."""
    return inputs.flatten(0, 1)[None], outputs.flatten(0, 1)[None]


def _one_by_one(inputs: torch.Tensor, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A problem for each filter, which sees the windows of its own channel."""
    return inputs, outputs


# windows [C, kernel positions, images, samples] and sums [F, 1, images, samples] as the least-squares problems of a layer's
# weights: inputs [B, K, images, samples], outputs [B, F / B, images, samples]
PROBLEMS = operator_table(
    "layer-wise reconstruction",
    {"conv": _together, "depthwise": _one_by_one},
    lambda operator: operator.weights is not None,
)
