"""Convolutions, linear layers and batch normalisations: what has weights."""

from __future__ import annotations

from math import prod

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Window
from calib.frontend.arithmetic import affine
from calib.frontend.translation import Translation, pair, shape_of
from calib.frontend.views import View, channel_order, ordered_index
from calib.network.float_network import TrainedSums


def convolution(t: Translation, fx: FxNode, a: dict) -> None:
    """Over rows and columns, in any number of groups."""
    convolve(t, fx, a, t.map(fx, a["input"]), None)


def convolution_1d(t: Translation, fx: FxNode, a: dict) -> None:
    """Along one axis: a convolution whose kernel has one row, or one column."""
    convolve(t, fx, a, *t.line(fx, a["input"]))


def convolution_of_any_rank(t: Translation, fx: FxNode, a: dict) -> None:
    """``aten.convolution``, as TorchScript has it."""
    if a["transposed"]:
        t.refuse(fx, "transposed convolution is not supported")
    (convolution_1d if len(shape_of(a["input"])) == 3 else convolution)(t, fx, a)


def convolve(t: Translation, fx: FxNode, a: dict, source: str, along: int | None) -> None:
    """A convolution of a tensor; ``along`` is the one axis, None for both."""
    weight = t.constant(fx, a["weight"], "weight")
    filters, per_group = weight.shape[:2]
    kh, kw = pair(weight.shape[2:], along)
    groups, in_channels = a["groups"], t.draft.shapes[source][0]
    if pair(a["dilation"], along) != (1, 1):
        t.refuse(fx, f"dilation {pair(a['dilation'])} is not supported; only 1 is")
    if isinstance(a["padding"], str):
        total = (kh - 1, kw - 1) if a["padding"] == "same" else (0, 0)
        low, high = (total[0] // 2, total[1] // 2), (total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        low = high = pair(a["padding"], along, 0)
    bias = t.constant(fx, a["bias"], "bias")
    weights = weight.reshape(filters, per_group, kh, kw), np.zeros(filters) if bias is None else bias
    window = Window((kh, kw), pair(a["stride"], along), (*low, *high))
    if groups == in_channels == filters and groups > 1:
        t.emit(fx, "depthwise", (source,), filters, weights, window=window)
        return
    name = t.emit(fx, "conv", (source,), filters, weights, window=window)
    if groups > 1:
        t.draft.groups[name] = groups


def linear(t: Translation, fx: FxNode, a: dict) -> None:
    """Over all elements of a value, in whatever order; or over the channels of every pixel, where they are last."""
    view = t.view(fx, a["input"])
    shape, value = t.draft.shapes[view.tensor], shape_of(a["input"])
    weight = t.constant(fx, a["weight"], "weight")
    bias = t.constant(fx, a["bias"], "bias")
    bias = np.zeros(len(weight)) if bias is None else bias
    if value[0] == 1 and prod(value[:-1]) == 1:
        t.emit(fx, "conv", (view.tensor,), len(weight), (taken(weight, view, shape), bias), window=Window(shape[1:]))
        return
    index = t.index(a["input"]).reshape(-1, value[-1])
    order = channel_order(index.T[None], shape)
    if order is None:
        t.refuse(fx, f"a fully connected layer on an operand of shape {value} needs a flatten before it")
    dense = np.zeros((len(weight), shape[0], 1, 1), weight.dtype)
    dense[:, order[order >= 0], 0, 0] = weight[:, order >= 0]
    name = t.node(fx, "conv", (view.tensor,), len(weight), (dense, bias))
    last = ordered_index(np.arange(len(weight)), t.draft.shapes[name])[0].reshape(len(weight), -1).T
    t.views[fx] = View(name, last.reshape(shape_of(fx)))


def taken(weight: np.ndarray, view: View, shape: tuple[int, int, int]) -> np.ndarray:
    """Weights [F, elements of the view] as those of the view's tensor, [F, C, height, width]."""
    if view.index is None:
        return weight.reshape(len(weight), *shape)
    index = view.index.reshape(-1)
    found = np.zeros((len(weight), prod(shape)), weight.dtype)
    np.add.at(found, (slice(None), index[index >= 0]), weight[:, index >= 0])
    return found.reshape(len(weight), *shape)


def batch_norm(t: Translation, fx: FxNode, a: dict) -> None:
    """A scale and a shift of every channel."""
    if a.get("training"):
        t.refuse(fx, "batch norm by the statistics of the batch is not supported; it needs track_running_stats")
    kinds = {"running_mean": "running mean", "running_var": "running variance", "weight": "weight", "bias": "bias"}
    found = {k: t.constant(fx, a[k], what) for k, what in kinds.items()}
    mean, var, gamma, beta = (None if v is None else v.astype(np.float64) for v in found.values())
    with np.errstate(all="ignore"):
        scale = (1.0 if gamma is None else gamma) / np.sqrt(var + a["eps"])
        shift = (0.0 if beta is None else beta) - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        t.refuse(fx, "its scale or shift is NaN or infinite; check its running variance and the weights file")
    if t.view(fx, a["input"]).index is not None:
        shape = (1, -1, *(1,) * (len(shape_of(fx)) - 2))
        t.views[fx] = affine(t, fx, t.elements(fx, a["input"]), *(v.reshape(shape) for v in (scale, shift)))
        return
    source = t.channel_first(fx, a["input"])
    name = t.emit(fx, "depthwise", (source,), weights=(scale.reshape(-1, 1, 1, 1), shift))
    t.draft.affine.add(name)
    if mean.any() or (var != 1).any():  # not what they are made with, before anything was measured
        t.draft.trained[name] = TrainedSums(mean, np.sqrt(var)).scaled(scale, shift)
