"""Convolutions, linear layers and batch normalisations: what has weights."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch.fx import Node as FxNode

from bfp.graph import Window
from calib.frontend import frames
from calib.frontend.arithmetic import affine
from calib.frontend.contractions import product, product_by_patterns
from calib.frontend.dilated import trimmed
from calib.frontend.translation import Translation, pair, shape_of
from calib.frontend.transposed import transposed_convolution, transposed_convolution_1d
from calib.frontend.rearranging import view_of
from calib.frontend.refusals import Refusal
from calib.frontend.views import View, numbers
from calib.network.float_network import TrainedSums


def convolution(t: Translation, fx: FxNode, a: dict) -> None:
    """Over rows and columns, in any number of groups."""
    try:
        source = t.map(fx, a["input"])
    except Refusal:
        if covers(t, fx, a):
            return
        turned = turned_map(t, fx, a["input"])
        if turned is None:
            raise
        convolve(t, fx, a, turned, None, turned=True)
        made = t.views[fx].tensor
        t.views[fx] = view_of(t, made, torch.from_numpy(turned_index(t, made)))
        return
    convolve(t, fx, a, source, None)


def covers(t: Translation, fx: FxNode, a: dict) -> bool:
    """Whether a convolution's kernel covers its map, so that it is a fully connected layer: then that is made, in whatever order."""
    weight, shape = t.constant(fx, a["weight"], "weight"), shape_of(a["input"])
    inside = a["padding"] == "valid" or not isinstance(a["padding"], str) and not any(a["padding"])
    whole = inside and a["groups"] == 1 and weight.shape[1:] == shape[1:]
    if whole:
        bias = t.constant(fx, a["bias"], "bias")
        matrix_product(t, fx, a["input"], weight.reshape(len(weight), -1), np.zeros(len(weight)) if bias is None else bias)
    return whole


def turned_index(t: Translation, tensor: str) -> np.ndarray:
    """Which elements of a tensor a map is whose rows are its columns, int64 [1, C, width, height]."""
    return numbers(t.draft.shapes[tensor]).transpose(0, 2, 1)[None]


def turned_map(t: Translation, fx: FxNode, value: object) -> str | None:
    """A tensor whose columns are the rows of a value, brought into that order where it has another one; None where it cannot be."""
    view, shape = t.view(fx, value), shape_of(value)
    if np.array_equal(t.index(value), turned_index(t, view.tensor)):
        return view.tensor
    if len(shape) != 4 or shape[0] != 1:
        return None
    try:
        return t.ordered(value, View(view.tensor, t.index(value).swapaxes(2, 3)), (*shape[:2], shape[3], shape[2]))
    except Refusal:
        return None


def convolution_1d(t: Translation, fx: FxNode, a: dict) -> None:
    """Along one axis: a convolution whose kernel has one row, or one column."""
    convolve(t, fx, a, *t.line(fx, a["input"]))


def convolution_of_any_rank(t: Translation, fx: FxNode, a: dict) -> None:
    """``aten.convolution``, as TorchScript has it."""
    if a["transposed"]:
        (transposed_convolution_1d if len(shape_of(a["input"])) == 3 else transposed_convolution)(t, fx, a)
        return
    rank = len(shape_of(a["input"]))
    (convolution_1d if rank == 3 else frames.convolution if rank == 5 else convolution)(t, fx, a)


def convolve(t: Translation, fx: FxNode, a: dict, source: str, along: int | None, turned: bool = False) -> None:
    """A convolution of a tensor; ``along`` is the one axis, None for both. turned: whether the tensor's columns are the value's rows."""

    def by_axis(value: object, other: int = 1) -> tuple[int, int]:
        return pair(value, along, other)[:: -1 if turned else 1]

    weight = t.constant(fx, a["weight"], "weight")
    weight = weight.swapaxes(2, 3) if turned else weight
    filters, per_group = weight.shape[:2]
    kh, kw = pair(weight.shape[2:], along)
    groups, in_channels = a["groups"], t.draft.shapes[source][0]
    dilation = by_axis(a["dilation"])
    if isinstance(a["padding"], str):
        total = tuple((k - 1) * d for k, d in zip((kh, kw), dilation)) if a["padding"] == "same" else (0, 0)
        low, high = (total[0] // 2, total[1] // 2), (total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        low = high = by_axis(a["padding"], 0)
    bias = t.constant(fx, a["bias"], "bias")
    window = Window((kh, kw), by_axis(a["stride"]), (*low, *high), dilation)
    window, (rows, columns) = trimmed(window, t.draft.shapes[source][1:])
    weight = weight.reshape(filters, per_group, kh, kw)[:, :, rows, columns]
    weights = weight, np.zeros(filters) if bias is None else bias
    if groups == in_channels == filters and groups > 1:
        t.emit(fx, "depthwise", (source,), filters, weights, window=window)
        return
    name = t.emit(fx, "conv", (source,), filters, weights, window=window)
    if groups > 1:
        t.draft.groups[name] = groups


def linear(t: Translation, fx: FxNode, a: dict) -> None:
    """Over all elements of a value, in whatever order; or over those of every pixel, row or column."""
    weight = t.constant(fx, a["weight"], "weight")
    bias = t.constant(fx, a["bias"], "bias")
    matrix_product(t, fx, a["input"], weight, np.zeros(len(weight)) if bias is None else bias)


def matrix_product(
    t: Translation, fx: FxNode, value: object, weight: np.ndarray, bias: np.ndarray, last: int = -1
) -> None:
    """Weights [F, K] times the elements along axis ``last`` of a value, plus a bias [F]; the result has F along it."""
    view = t.view(fx, value)
    shape = t.draft.shapes[view.tensor]
    if prod(shape_of(value)) == weight.shape[1]:
        t.emit(fx, "conv", (view.tensor,), len(weight), (taken(weight, view, shape), bias), window=Window(shape[1:]))
        return
    moved = np.moveaxis(t.index(value), last, -1)
    found = product(t, fx, view.tensor, moved.reshape(-1, moved.shape[-1]), weight, bias)
    for other in (product_of_pixels, product_by_patterns):
        if found is None:
            found = other(t, fx, view.tensor, moved.reshape(-1, moved.shape[-1]), weight, bias)
    if found is None:
        t.refuse(fx, f"a fully connected layer on an operand of shape {shape_of(value)} needs a flatten before it")
    index = np.moveaxis(found.index.reshape(*moved.shape[:-1], len(weight)), -1, last)
    t.views[fx] = View(found.tensor, index.reshape(shape_of(fx)))


def product_of_pixels(
    t: Translation, fx: FxNode, tensor: str, sets: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> View | None:
    """Weights [F, n] times each of the sets, int64 [R, n], where these are all pixels of a channel in one order; else None.

    Every channel has the same F filters, each as large as the map. The view's index is [R, F].
    """
    channels, *size = t.draft.shapes[tensor]
    of, pixels = sets[:, :1] // prod(size), sets % prod(size)
    alike = (sets >= 0).all() and (sets // prod(size) == of).all() and (pixels == pixels[:1]).all()
    if not alike or not np.array_equal(np.sort(pixels[0]), np.arange(prod(size))):
        return None
    filters = np.empty_like(weight)
    filters[:, pixels[0]] = weight
    weights = np.tile(filters.reshape(len(weight), 1, *size), (channels, 1, 1, 1)), np.tile(bias, channels)
    name = t.node(fx, "conv", (tensor,), channels * len(weight), weights, window=Window(tuple(size)))
    if channels > 1:
        t.draft.groups[name] = channels
    return View(name, of * len(weight) + np.arange(len(weight)))


def matmul(t: Translation, fx: FxNode, a: dict) -> None:
    """The product of a value and a constant matrix, on either side."""
    first, second = a["self"], a.get("other", a.get("mat2"))
    for value, matrix, last in ((first, second, -1), (second, first, -2)):
        if matrix in t.constants and value not in t.constants:
            constant = t.constant(fx, matrix, "matrix")
            weight = constant.reshape(constant.shape[-2:]) if constant.ndim > 1 else constant[None]
            good = prod(constant.shape[:-2]) == 1 and (last == -1 or len(shape_of(value)) > 1 and constant.ndim > 1)
            if not good:
                t.refuse(fx, f"the product with a constant of shape {constant.shape} is not supported; give a matrix")
            weight = weight.T if last == -1 and constant.ndim > 1 else weight
            matrix_product(t, fx, value, weight, np.zeros(len(weight)), last)
            return
    t.refuse(fx, "the matrix product of two values that are computed from the image is not supported")


def addmm(t: Translation, fx: FxNode, a: dict) -> None:
    """A fully connected layer by hand: a constant bias and a constant matrix."""
    matrix = t.constant(fx, a["mat2"], "matrix")
    bias = np.broadcast_to(t.constant(fx, a["self"], "bias"), (1, matrix.shape[1]))[0]
    matrix_product(t, fx, a["mat1"], matrix.T * a.get("alpha", 1), bias * a.get("beta", 1))


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
    view = t.view(fx, a["input"])
    if view.index is not None or t.draft.shapes[view.tensor][0] != shape_of(fx)[1]:
        shape = (1, -1, *(1,) * (len(shape_of(fx)) - 2))
        t.views[fx] = affine(t, fx, t.elements(fx, a["input"]), *(v.reshape(shape) for v in (scale, shift)))
        return
    source = t.channel_first(fx, a["input"])
    name = t.emit(fx, "depthwise", (source,), weights=(scale.reshape(-1, 1, 1, 1), shift))
    t.draft.affine.add(name)
    if mean.any() or (var != 1).any():  # not what they are made with, before anything was measured
        t.draft.trained[name] = TrainedSums(mean, np.sqrt(var)).scaled(scale, shift)
