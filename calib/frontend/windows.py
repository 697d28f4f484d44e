"""Pooling, means and largest values over rows and columns, and zero padding."""

from __future__ import annotations

from math import prod

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Window
from bfp.limits import MAX_FACTOR
from calib.frontend.arithmetic import affine
from calib.frontend.contractions import largest as greatest, weighted
from calib.frontend.dilated import trimmed
from calib.frontend.interpolating import resized
from calib.frontend.rearranging import rearrange
from calib.frontend.translation import Translation, axis, operator_name, pair, shape_of
from calib.frontend.views import View

LARGEST, MEAN = "max_pool", "avg_pool"
LOWEST = -1e30  # what is padded with it never wins a max pooling


def operand(t: Translation, fx: FxNode, value: object) -> tuple[str, int | None]:
    """The tensor of a pool's operand, and its one axis, None where it has both."""
    return t.line(fx, value) if len(shape_of(value)) == 3 and "1d" in operator_name(fx) else (t.map(fx, value), None)


def pool_window(t: Translation, fx: FxNode, a: dict) -> tuple[str, Window, tuple[int, int, int, int]]:
    """Operand, window and the padding that the module states. Ceil mode becomes padding at bottom and right."""
    source, along = operand(t, fx, a["self"])
    kernel, pad = pair(a["kernel_size"], along), pair(a["padding"], along, 0)
    stride = pair(a["stride"], along) if a["stride"] else kernel
    result = pair(shape_of(fx)[2:], along)
    size = t.draft.shapes[source][1:]
    dilation = pair(a.get("dilation", 1), along)
    extent = Window(kernel, dilation=dilation).extent
    extra = [max(0, (result[i] - 1) * stride[i] + extent[i] - size[i] - 2 * pad[i]) for i in (0, 1)]
    window = Window(kernel, stride, (*pad, pad[0] + extra[0], pad[1] + extra[1]), dilation)
    return source, window, (*pad, *pad)


def max_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """The largest value of a window."""
    if a["self"] not in t.bordered:
        source, window, _ = pool_window(t, fx, a)
        emit_largest(t, fx, source, window)
        return
    value, (left, right, top, bottom) = a["self"], t.bordered[a["self"]][1][:4]
    source, along = operand(t, fx, t.bordered[value][0])
    if any(pair(a["padding"], along, 0)):
        t.refuse(fx, "max pooling with padding of its own around one with -inf is not supported; give it in one place")
    # as if the larger map were there: the window without the zeros that ceil mode reads beyond
    kernel = pair(a["kernel_size"], along)
    stride = pair(a["stride"], along) if a["stride"] else kernel
    if along == 0:
        left, right, top, bottom = 0, 0, left, right
    size, result = t.draft.shapes[source][1:], pair(shape_of(fx)[2:], along)
    dilation = pair(a["dilation"], along)
    extent = Window(kernel, dilation=dilation).extent
    extra = [(result[i] - 1) * stride[i] + extent[i] - size[i] - low for i, low in ((0, top), (1, left))]
    emit_largest(t, fx, source, Window(kernel, stride, (top, left, *extra), dilation))


def emit_largest(t: Translation, fx: FxNode, source: str, window: Window) -> None:
    """A max pool; refuses one of which some window sees no pixel of the map."""
    size = t.draft.shapes[source][1:]
    if not all(all(window.rows_seen(size[n], n)) for n in (0, 1)):
        t.refuse(fx, f"a window of {window.kernel} with dilation {window.dilation} sees nothing but padding")
    t.emit(fx, LARGEST, (source,), window=trimmed(window, size)[0])


def avg_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """The mean of a window."""
    source, window, padding = pool_window(t, fx, a)
    if a.get("divisor_override") is not None:
        if window.padding != padding:
            t.refuse(fx, "average pooling with divisor_override and ceil_mode is not supported; leave one of them out")
        mean_ = t.node(fx, MEAN, (source,), window=window, counted_padding=padding)
        t.views[fx] = affine(t, fx, View(mean_), prod(window.kernel) / a["divisor_override"])
        return
    counted = padding if a["count_include_pad"] else (0, 0, 0, 0)
    t.emit(fx, MEAN, (source,), window=window, counted_padding=counted)


def adaptive_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """Windows that divide the map as evenly as they can."""
    source, along = operand(t, fx, a["self"])
    op = MEAN if "avg" in operator_name(fx) else LARGEST
    size, target = t.draft.shapes[source][1:], pair(shape_of(fx)[2:], along)
    cells = [adaptive_cells(n, m) for n, m in zip(size, target)]
    steps = [regular(c) for c in cells]
    if None not in steps:
        (kh, sh), (kw, sw) = steps
        crop = [(m - 1) * s + k - n for n, m, (k, s) in zip(size, target, steps)]
        t.emit(fx, op, (source,), window=Window((kh, kw), (sh, sw), (0, 0, *crop)))
        return
    t.views[fx] = by_cells(t, fx, source, op, cells)


def adaptive_cells(size: int, target: int) -> list[tuple[int, int]]:
    """First and last pixel (exclusive) of each window along one axis, as PyTorch counts them."""
    return [(i * size // target, -(-(i + 1) * size // target)) for i in range(target)]


def regular(cells: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Kernel and stride that cells along one axis have in common, None where they have none."""
    kernels = {stop - start for start, stop in cells}
    strides = {b[0] - a[0] for a, b in zip(cells, cells[1:])} or kernels
    if len(kernels) > 1 or len(strides) > 1 or min(strides) < 1:
        return None
    return min(kernels), min(strides)


def by_cells(t: Translation, fx: FxNode, source: str, op: str, cells: list[list[tuple[int, int]]]) -> View:
    """One pool for each different cell; the value sees them as the pixels of one map."""
    shape = t.draft.shapes[source]
    found: dict[tuple[int, int, int, int], int] = {}
    for top, bottom in cells[0]:
        for left, right in cells[1]:
            found.setdefault((top, left, bottom, right), len(found))
    if len(found) == prod(shape[1:]) and all(b - t_ == r - l == 1 for t_, l, b, r in found):
        # every pixel for itself, perhaps more than once
        numbers = {cell: cell[0] * shape[2] + cell[1] for cell in found}
        return View(source, cell_index(fx, cells, numbers, shape[0], shape[1] * shape[2], 1))
    parts = []
    for top, left, bottom, right in found:
        window = Window((bottom - top, right - left), (1, 1), (-top, -left, bottom - shape[1], right - shape[2]))
        parts.append(t.node(fx, op, (source,), window=window))
    whole = t.node(fx, "concat", tuple(parts), shape[0] * len(parts)) if len(parts) > 1 else parts[0]
    return View(whole, cell_index(fx, cells, found, shape[0], 1, shape[0]))


def cell_index(
    fx: FxNode, cells: list[list[tuple[int, int]]], numbers: dict, channels: int, per_channel: int, per_cell: int
) -> np.ndarray:
    """The index of a value whose pixel (i, j) is the cell of that row and column."""
    at = np.array([[numbers[top, left, bottom, right] for left, right in cells[1]] for top, bottom in cells[0]])
    index = np.arange(channels)[:, None, None] * per_channel + at * per_cell
    return index.reshape(shape_of(fx))


def upsample_linear(t: Translation, fx: FxNode, a: dict) -> None:
    """Weighted means of neighbours, in about whole times as many rows and columns, or a whole part; one pixel stays what it is."""
    value = a["self"] if "self" in a else a["input"]
    source, line = operand(t, fx, value)
    size = t.draft.shapes[source][1:]
    given = a.get("scale_factors") or [a[key] for key in ("scales", "scales_h", "scales_w") if key in a] or [None, None]
    wanted = list(shape_of(fx)[2:])
    if line is not None:
        wanted, given = ([n if axis == line else other for axis in range(2)] for n, other in ((wanted[0], 1), (given[0], None)))
    if size == (1, 1):
        t.views[fx] = View(source, np.broadcast_to(t.index_of(View(source))[None], shape_of(fx)))
        return
    found = resized(t, fx, source, wanted, bool(a["align_corners"]), given)
    if found is None:
        convention = " with align_corners" if a["align_corners"] else ""
        t.refuse(
            fx,
            f"linear interpolation of {size} to {tuple(wanted)}{convention} is not supported before the network's end; whole "
            f"times as many rows and columns are, up to {MAX_FACTOR}, or some few more or less, and a whole part of them",
        )
    t.views[fx] = View(found)
    t.check_result(fx)


def mean(t: Translation, fx: FxNode, a: dict) -> None:
    """The mean over rows, columns or both."""
    t.views[fx] = over_axes(t, fx, a["self"], a.get("dim"), MEAN)[0]


def total(t: Translation, fx: FxNode, a: dict) -> None:
    """The sum over rows, columns or both: their mean times their number."""
    view, count = over_axes(t, fx, a["self"], a.get("dim"), MEAN)
    t.views[fx] = affine(t, fx, view, float(count))


def largest(t: Translation, fx: FxNode, a: dict) -> None:
    """The largest value over rows, columns or both."""
    t.views[fx] = over_axes(t, fx, a["self"], a.get("dim"), LARGEST)[0]


def smallest(t: Translation, fx: FxNode, a: dict) -> None:
    """The smallest value over rows, columns or both: the largest of those times -1."""
    value = a["self"]
    kept, t.views[value] = t.view(fx, value), affine(t, value, t.elements(fx, value), -1.0)
    try:
        t.views[fx] = over_axes(t, fx, value, a.get("dim"), LARGEST)[0]
    finally:
        t.views[value] = kept
    t.views[fx] = affine(t, fx, t.views[fx], -1.0)


def over_axes(t: Translation, fx: FxNode, value: object, axes: object, op: str) -> tuple[View, int]:
    """Pixels along axes of a value brought to one, and their number: all of a channel, of a row or of a column."""
    view, shape = t.view(fx, value), shape_of(value)
    axes = [axes] if isinstance(axes, int) else list(axes or range(len(shape)))
    axes = sorted({axis(d, len(shape)) for d in axes})
    channels, height, width = full = t.draft.shapes[view.tensor]
    moved = np.moveaxis(t.index(value), axes, range(-len(axes), 0))
    sets = np.sort(moved.reshape(-1, prod(shape[d] for d in axes)), axis=1)
    pixels = np.arange(prod(full)).reshape(full)
    for kernel, wanted in (
        ((height, width), pixels.reshape(channels, -1)),
        ((1, width), pixels.reshape(channels * height, -1)),
        ((height, 1), pixels.transpose(0, 2, 1).reshape(channels * width, -1)),
    ):
        places = {int(first): place for place, first in enumerate(wanted[:, 0])}
        at = np.array([places.get(int(first), -1) for first in sets[:, 0]])
        if 0 in axes or sets.shape[1] != wanted.shape[1] or at.min() < 0 or not np.array_equal(wanted[at], sets):
            continue
        name = t.node(fx, op, (view.tensor,), window=Window(kernel, kernel))
        in_order = np.array_equal(at, np.arange(len(wanted)))
        return View(name, None if in_order else at.reshape(shape_of(fx))), sets.shape[1]
    if op == MEAN:
        found = weighted(t, fx, view.tensor, sets, 1 / sets.shape[1])
    elif sets.shape == (1, prod(full)) and height * width > 1:
        found = greatest(t, fx, t.node(fx, op, (view.tensor,), window=Window((height, width))), np.arange(channels)[None])
    else:
        found = greatest(t, fx, view.tensor, sets)
    if found is None and (view.index is not None or (len(shape) == 4 and shape != (1, *full))):
        (t.map if len(shape) == 4 else t.tensor)(fx, value)  # in an order of its own, it is brought into a tensor of its own
        return over_axes(t, fx, value, axes, op)
    if found is None:
        kind = operator_name(fx).split(".")[-1]
        t.refuse(fx, f"{kind} over axes {axes} of shape {shape} is not supported; only over rows, columns and channels")
    return found, sets.shape[1]


def zero_pad(t: Translation, fx: FxNode, a: dict) -> None:
    """Zeros before and behind channels, rows and columns; a negative amount crops. Other modes repeat what is there."""
    mode = a.get("mode", "constant")
    if mode != "constant":
        rearrange(t, fx, a)
        return
    if a["value"] not in (None, 0):
        lowest = a["value"] <= LOWEST and len(a["pad"]) <= 4 and min(a["pad"]) >= 0
        if lowest and all("max_pool" in operator_name(user) for user in fx.users):
            t.bordered[fx] = a["self"], [*a["pad"], 0, 0]
        elif abs(a["value"]) < -LOWEST:
            number_pad(t, fx, a)
        else:
            t.refuse(fx, f"padding with {a['value']} is supported before max pooling alone")
        return
    view = t.view(fx, a["self"])
    amounts = list(a["pad"]) + [0] * (8 - len(a["pad"]))
    if view.index is not None or shape_of(a["self"]) != (1, *t.draft.shapes[view.tensor]) or any(amounts[6:]):
        rearrange(t, fx, a)
        return
    left, right, top, bottom, front, back = amounts[:6]
    channels = t.draft.shapes[view.tensor][0] + front + back
    window = Window(padding=(top, left, bottom, right))
    t.emit(fx, "slice_pad", (view.tensor,), channels, window=window, channel_offset=front)


def number_pad(t: Translation, fx: FxNode, a: dict) -> None:
    """A number before and behind: zeros around what is smaller by it, which gets it back."""
    amount, value = float(a["value"]), a["self"]
    kept, view = t.views[value], t.elements(fx, value)
    t.views[value] = View(shifted(t, fx, view.tensor, -amount), view.index)
    zero_pad(t, fx, {**a, "value": 0})
    t.views[value] = kept
    t.views[fx] = View(shifted(t, fx, t.tensor(fx, fx), amount))


def shifted(t: Translation, fx: FxNode, tensor: str, amount: float) -> str:
    """A tensor with a number added to every element."""
    channels = t.draft.shapes[tensor][0]
    name = t.node(fx, "depthwise", (tensor,), weights=(np.ones((channels, 1, 1, 1)), np.full(channels, amount)))
    t.draft.affine.add(name)
    return name
