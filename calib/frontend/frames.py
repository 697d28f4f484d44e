"""Convolution and pooling over frames, as layers over channels.

A value [1, C, T, H, W] is a view of a tensor whose channels are those of all frames, frame after frame. What an output
frame is made of is then a range of channels: a slice, which is read where it lies where frames fill memory words. Each
output frame is a layer of its own, and their concatenation moves no data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Window
from calib.frontend.translation import Translation, operator_name, shape_of
from calib.frontend.views import View, numbers
from calib.frontend.windows import LARGEST, MEAN, adaptive_cells, mean as mean_of_pixels, regular


@dataclass(frozen=True)
class Frames:
    """A tensor whose channels are those of ``count`` frames, ``channels`` of each."""

    tensor: str
    channels: int
    count: int


def frames_view(tensor: str, channels: int, count: int, size: tuple[int, int]) -> View:
    """The value [1, channels, count, height, width] that a tensor holds frame after frame."""
    index = numbers((count, channels, *size)).transpose(1, 0, 2, 3)
    return View(tensor, index[None].copy())


def frames(t: Translation, fx: FxNode, value: object) -> Frames:
    """The operand, brought into that order where it has another one."""
    view, shape = t.view(fx, value), shape_of(value)
    if len(shape) != 5 or shape[0] != 1:
        t.refuse(fx, f"operand of shape {shape} is not (1, channels, frames, height, width)")
    _, channels, count, height, width = shape
    index = t.index(value).transpose(0, 2, 1, 3, 4).reshape(1, channels * count, height, width)
    whole = t.draft.shapes[view.tensor] == index.shape[1:]
    if whole and np.array_equal(index, numbers(index.shape)):
        return Frames(view.tensor, channels, count)
    return Frames(t.ordered(fx, View(view.tensor, index), index.shape), channels, count)


def part(t: Translation, fx: FxNode, of: Frames, first: int, stop: int) -> str:
    """The channels of frames ``first`` to before ``stop``."""
    if (first, stop) == (0, of.count):
        return of.tensor
    return t.node(fx, "slice_pad", (of.tensor,), (stop - first) * of.channels, channel_offset=-first * of.channels)


def by_frame(t: Translation, fx: FxNode, channels: int, make: Callable[[int], str], count: int) -> None:
    """Each output frame's tensor, side by side; the value of ``fx`` sees them as frames."""
    parts = tuple(make(frame) for frame in range(count))
    whole = parts[0] if count == 1 else t.node(fx, "concat", parts, channels * count)
    t.views[fx] = frames_view(whole, channels, count, t.draft.shapes[parts[0]][1:])
    t.check_result(fx)


def triple(value: object) -> tuple[int, int, int]:
    """An ATen int list of three axes, of which one number stands for all."""
    values = [value] * 3 if isinstance(value, int) else list(value)
    return tuple(values * 3 if len(values) == 1 else values)


def read(frame: int, stride: int, padding: int, kernel: int, dilation: int, count: int) -> list[tuple[int, int]]:
    """Which frames an output frame is made of, and by which places of the kernel; those in the padding left out."""
    at = [(frame * stride - padding + i * dilation, i) for i in range(kernel)]
    return [(f, i) for f, i in at if 0 <= f < count]


def convolution(t: Translation, fx: FxNode, a: dict) -> None:
    """Conv3d: every output frame is a convolution of the frames under the kernel, whose channels lie side by side."""
    if a.get("transposed"):
        t.refuse(fx, "transposed convolution over frames is not supported")
    source, weight = frames(t, fx, a["input"]), t.constant(fx, a["weight"], "weight")
    bias = t.constant(fx, a["bias"], "bias")
    weight = dense(weight, source.channels, a["groups"])
    filters, kernel = len(weight), weight.shape[2:]
    bias = np.zeros(filters) if bias is None else bias
    stride, dilation = triple(a["stride"]), triple(a["dilation"])
    if isinstance(a["padding"], str):
        total = [(k - 1) * d if a["padding"] == "same" else 0 for k, d in zip(kernel, dilation)]
        low, high = [n // 2 for n in total], [n - n // 2 for n in total]
    else:
        low = high = list(triple(a["padding"]))
    window = Window(kernel[1:], stride[1:], (*low[1:], *high[1:]), dilation[1:])

    def make(frame: int) -> str:
        used = read(frame, stride[0], low[0], kernel[0], dilation[0], source.count)
        if not used:
            t.refuse(fx, f"its frame {frame} sees nothing but padding")
        first, stop = used[0][0], used[-1][0] + 1
        taken = np.zeros((filters, stop - first, source.channels, *kernel[1:]), weight.dtype)
        for f, place in used:
            taken[:, f - first] = weight[:, :, place]
        taken = taken.reshape(filters, -1, *kernel[1:])
        return t.node(fx, "conv", (part(t, fx, source, first, stop),), filters, (taken, bias), window=window)

    by_frame(t, fx, filters, make, shape_of(fx)[2])


def dense(weight: np.ndarray, channels: int, groups: int) -> np.ndarray:
    """Weights [F, C / groups, ...] of a convolution in groups as those over all channels, zeros elsewhere."""
    if groups == 1:
        return weight
    found = np.zeros((len(weight), channels, *weight.shape[2:]), weight.dtype)
    share, width = len(weight) // groups, channels // groups
    for g in range(groups):
        found[g * share : (g + 1) * share, g * width : (g + 1) * width] = weight[g * share : (g + 1) * share]
    return found


def max_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """The largest value of a window of frames; of a map, that of channels, rows and columns."""
    if len(shape_of(a["self"])) == 4:
        over_channels(t, fx, a)
        return
    stride = triple(a["stride"]) if a["stride"] else triple(a["kernel_size"])
    pooled(t, fx, a, stride, triple(a["dilation"]), LARGEST)


def over_channels(t: Translation, fx: FxNode, a: dict) -> None:
    """A max pool of rows and columns, then the maximum of adjacent channels, at a stride."""
    kernel, padding = triple(a["kernel_size"]), triple(a["padding"])
    stride = triple(a["stride"]) if a["stride"] else kernel
    if any(padding) or a["ceil_mode"] or triple(a["dilation"]) != (1, 1, 1):
        t.refuse(fx, "max pooling over channels with padding, dilation or ceil_mode is not supported; leave them out")
    tensor = t.node(fx, LARGEST, (t.map(fx, a["self"]),), window=Window(kernel[1:], stride[1:]))
    index, count = numbers(t.draft.shapes[tensor]), shape_of(fx)[1]
    parts = [index[i : i + (count - 1) * stride[0] + 1 : stride[0]][None] for i in range(kernel[0])]
    if len(parts) == 1:
        t.views[fx] = View(tensor, parts[0])
        return
    tensors = [t.ordered(fx, View(tensor, one), shape_of(fx)) for one in parts]
    while len(tensors) > 1:
        tensors.append(t.node(fx, "maximum", (tensors.pop(0), tensors.pop(0))))
    t.views[fx] = View(tensors[0])


def avg_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """The mean of a window of frames."""
    if a.get("divisor_override") is not None:
        t.refuse(fx, "average pooling with divisor_override is not supported; leave it out")
    pooled(t, fx, a, triple(a["stride"]) if a["stride"] else triple(a["kernel_size"]), (1, 1, 1), MEAN)


def pooled(t: Translation, fx: FxNode, a: dict, stride: tuple, dilation: tuple, op: str) -> None:
    """First every frame's rows and columns, in one layer, then frames."""
    source, kernel, padding = frames(t, fx, a["self"]), triple(a["kernel_size"]), triple(a["padding"])
    result, size = shape_of(fx)[2:], t.draft.shapes[source.tensor][1:]
    extent = Window(kernel[1:], dilation=dilation[1:]).extent
    extra = [max(0, (n - 1) * s + e - m - 2 * p) for n, s, e, m, p in zip(result[1:], stride[1:], extent, size, padding[1:])]
    pad = padding[1:]
    window = Window(kernel[1:], stride[1:], (*pad, pad[0] + extra[0], pad[1] + extra[1]), dilation[1:])
    include = op == MEAN and a["count_include_pad"]
    counted = {"counted_padding": (*pad, *pad)} if include else {}
    cells = []
    for frame in range(result[0]):
        used = [f for f, _ in read(frame, stride[0], padding[0], kernel[0], dilation[0], source.count)]
        start = frame * stride[0] - padding[0]
        divisor = min(start + kernel[0], source.count + padding[0]) - start if include else len(used)
        cells.append((used, divisor))
    over_frames(t, fx, source, window, counted, cells, op)


def adaptive_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """Windows of frames, rows and columns that divide the value as evenly as they can."""
    source, result = frames(t, fx, a["self"]), shape_of(fx)[2:]
    op = MEAN if "avg" in operator_name(fx) else LARGEST
    size = t.draft.shapes[source.tensor][1:]
    steps = [regular(adaptive_cells(n, m)) for n, m in zip(size, result[1:])]
    if None in steps:
        t.refuse(fx, f"an adaptive pool from {size} to {tuple(result[1:])} pixels is not supported; the result must divide the map")
    (kh, sh), (kw, sw) = steps
    crop = [(m - 1) * s + k - n for n, m, (k, s) in zip(size, result[1:], steps)]
    cells = [(list(range(first, stop)), stop - first) for first, stop in adaptive_cells(source.count, result[0])]
    over_frames(t, fx, source, Window((kh, kw), (sh, sw), (0, 0, *crop)), {}, cells, op)


def mean(t: Translation, fx: FxNode, a: dict) -> None:
    """The mean over frames, rows and columns, or, as windows.mean, over other axes."""
    axes, rank = a.get("dim"), len(shape_of(a["self"])) if isinstance(a["self"], FxNode) else 0
    if rank != 5 or sorted(d % 5 for d in ([axes] if isinstance(axes, int) else axes or range(5))) != [2, 3, 4]:
        mean_of_pixels(t, fx, a)
        return
    source = frames(t, fx, a["self"])
    window = Window(t.draft.shapes[source.tensor][1:])
    pool = Frames(t.node(fx, MEAN, (source.tensor,), window=window), source.channels, source.count)
    t.views[fx] = View(joined_frames(t, fx, pool, list(range(source.count)), source.count, MEAN))
    t.check_result(fx)


def over_frames(
    t: Translation, fx: FxNode, source: Frames, window: Window, counted: dict, cells: list[tuple[list[int], int]], op: str
) -> None:
    """Rows and columns pooled, then for each cell its frames. cells: frames, and the number that a mean divides by."""
    tensor = source.tensor
    if window != Window():
        tensor = t.node(fx, op, (tensor,), window=window, **counted)
    pool = Frames(tensor, source.channels, source.count)
    if [used for used, _ in cells] == [[f] for f in range(source.count)] and all(n == 1 for _, n in cells):
        t.views[fx] = frames_view(tensor, source.channels, source.count, t.draft.shapes[tensor][1:])
        t.check_result(fx)
        return
    by_frame(t, fx, source.channels, lambda i: joined_frames(t, fx, pool, *cells[i], op), len(cells))


def joined_frames(t: Translation, fx: FxNode, pool: Frames, used: list[int], divisor: int, op: str) -> str:
    """The largest, or the mean, of some frames that follow each other at one distance."""
    if not used:
        t.refuse(fx, "a window that sees nothing but padding is not supported")
    channels = pool.channels
    if op == LARGEST:
        parts = [part(t, fx, pool, f, f + 1) for f in used]
        while len(parts) > 1:
            parts.append(t.node(fx, "maximum", (parts.pop(0), parts.pop(0))))
        return parts[0]
    first, stop = used[0], used[-1] + 1
    weight = np.zeros((channels, stop - first, channels))
    for f in used:
        weight[np.arange(channels), f - first, np.arange(channels)] = 1 / divisor
    weights = weight.reshape(channels, -1, 1, 1), np.zeros(channels)
    return t.node(fx, "conv", (part(t, fx, pool, first, stop),), channels, weights)
