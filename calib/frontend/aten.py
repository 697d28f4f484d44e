"""ATen operators, one by one, as nodes of a draft network.

Nothing is fused here: a batch normalisation is a depthwise 1x1 convolution,
an activation an ``identity`` node, a slice or a padding a ``slice_pad`` node.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Window
from calib.frontend.translation import Translation, axis, bind, operator_name, pair, shape_of

SUPPORTED = (
    "conv2d (groups 1 or depthwise, dilation 1), linear, batch norm, ReLU, ReLU6, add and maximum of two tensors, max and average "
    "pooling, mean over rows and columns, concatenation of channels, zero padding, slices, flatten, dropout, identity"
)


def convolution(t: Translation, fx: FxNode, a: dict) -> None:
    source = t.map(fx, a["input"])
    weight = t.constant(fx, a["weight"], "weight")
    filters, per_group, kh, kw = weight.shape
    groups, in_channels = a["groups"], t.draft.shapes[source][0]
    if pair(a["dilation"]) != (1, 1):
        t.refuse(fx, f"dilation {pair(a['dilation'])} is not supported; only 1 is")
    depthwise = groups == in_channels == filters and groups > 1
    if groups != 1 and not depthwise:
        t.refuse(
            fx,
            f"{groups} groups for {in_channels} input and {filters} output channels are not supported; "
            "only one group, or depthwise with one filter per channel",
        )
    if isinstance(a["padding"], str):
        total = (kh - 1, kw - 1) if a["padding"] == "same" else (0, 0)
        low, high = (total[0] // 2, total[1] // 2), (total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        low = high = pair(a["padding"])
    bias = t.constant(fx, a["bias"], "bias")
    bias = np.zeros(filters) if bias is None else bias
    window = Window((kh, kw), pair(a["stride"]), (*low, *high))
    t.emit(fx, "depthwise" if depthwise else "conv", (source,), filters, (weight, bias), window=window)


def linear(t: Translation, fx: FxNode, a: dict) -> None:
    source = t.tensor(fx, a["input"])
    shape = t.draft.shapes[source]
    if shape_of(a["input"]) != (1, prod(shape)):
        t.refuse(fx, f"a fully connected layer on an operand of shape {shape_of(a['input'])} needs a flatten before it")
    weight = t.constant(fx, a["weight"], "weight")
    bias = t.constant(fx, a["bias"], "bias")
    bias = np.zeros(len(weight)) if bias is None else bias
    weights = weight.reshape(len(weight), *shape), bias
    t.emit(fx, "conv", (source,), len(weight), weights, window=Window(shape[1:]))


def batch_norm(t: Translation, fx: FxNode, a: dict) -> None:
    if a.get("training"):
        t.refuse(fx, "batch norm by the statistics of the batch is not supported; it needs track_running_stats")
    source = t.channel_first(fx, a["input"])
    kinds = {"running_mean": "running mean", "running_var": "running variance", "weight": "weight", "bias": "bias"}
    found = {k: t.constant(fx, a[k], what) for k, what in kinds.items()}
    mean, var, gamma, beta = (None if v is None else v.astype(np.float64) for v in found.values())
    with np.errstate(all="ignore"):
        scale = (1.0 if gamma is None else gamma) / np.sqrt(var + a["eps"])
        shift = (0.0 if beta is None else beta) - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        t.refuse(fx, "its scale or shift is NaN or infinite; check its running variance and the weights file")
    node = t.emit(fx, "depthwise", (source,), weights=(scale.reshape(-1, 1, 1, 1), shift))
    t.draft.batch_norms.add(node.name)


def relu(t: Translation, fx: FxNode, a: dict) -> None:
    t.emit(fx, "identity", (t.tensor(fx, a["self"]),), activation="relu")


def relu6(t: Translation, fx: FxNode, a: dict) -> None:
    t.emit(fx, "identity", (t.tensor(fx, a["self"]),), activation="relu6")


def clamp(t: Translation, fx: FxNode, a: dict) -> None:
    low, high = (a["min_val"], a["max_val"]) if "min_val" in a else (a["min"], a.get("max"))
    known = {(0, None): "relu", (0, 6): "relu6"}
    if isinstance(low, FxNode) or isinstance(high, FxNode) or (low, high) not in known:
        t.refuse(fx, f"clamping to {low}..{high} is not supported; only 0..6 (ReLU6) and 0.. (ReLU) are")
    t.emit(fx, "identity", (t.tensor(fx, a["self"]),), activation=known[low, high])


def add(t: Translation, fx: FxNode, a: dict) -> None:
    if a["alpha"] != 1:
        t.refuse(fx, f"add with alpha {a['alpha']} is not supported; only 1 is")
    two_maps(t, fx, a, "add")


def maximum(t: Translation, fx: FxNode, a: dict) -> None:
    two_maps(t, fx, a, "maximum")


def largest(t: Translation, fx: FxNode, a: dict) -> None:
    if "other" not in a:
        t.refuse(fx, "the largest value along an axis is not supported; only the larger one of two maps is")
    two_maps(t, fx, a, "maximum")


def two_maps(t: Translation, fx: FxNode, a: dict, op: str) -> None:
    """An operator of two tensors of one shape, element by element."""
    first, second = t.tensor(fx, a["self"]), t.tensor(fx, a["other"])
    if shape_of(a["self"]) != shape_of(a["other"]) or t.draft.shapes[first] != t.draft.shapes[second]:
        shapes = f"{shape_of(a['self'])} and {shape_of(a['other'])}"
        t.refuse(fx, f"{op} of shapes {shapes} is not supported; both operands must have the same")
    t.emit(fx, op, (first, second))


def pool_window(t: Translation, fx: FxNode, a: dict) -> tuple[str, Window, tuple[int, int, int, int]]:
    """Operand, window and the padding that the module states. Ceil mode becomes padding at bottom and right."""
    source = t.map(fx, a["self"])
    kernel, pad = pair(a["kernel_size"]), pair(a["padding"])
    stride = pair(a["stride"]) if a["stride"] else kernel
    value = fx.meta["val"]
    result = (value[0] if isinstance(value, (tuple, list)) else value).shape[2:]
    size = t.draft.shapes[source][1:]
    extra = [max(0, (result[i] - 1) * stride[i] + kernel[i] - size[i] - 2 * pad[i]) for i in (0, 1)]
    window = Window(kernel, stride, (*pad, pad[0] + extra[0], pad[1] + extra[1]))
    return source, window, (*pad, *pad)


def max_pool(t: Translation, fx: FxNode, a: dict) -> None:
    if pair(a["dilation"]) != (1, 1):
        t.refuse(fx, f"max pooling with dilation {pair(a['dilation'])} is not supported; only 1 is")
    source, window, _ = pool_window(t, fx, a)
    t.emit(fx, "max_pool", (source,), window=window)


def avg_pool(t: Translation, fx: FxNode, a: dict) -> None:
    if a["divisor_override"] is not None:
        t.refuse(fx, "average pooling with divisor_override is not supported; leave it out")
    source, window, padding = pool_window(t, fx, a)
    counted = padding if a["count_include_pad"] else (0, 0, 0, 0)
    t.emit(fx, "avg_pool", (source,), window=window, counted_padding=counted)


def adaptive_pool(t: Translation, fx: FxNode, a: dict) -> None:
    source = t.map(fx, a["self"])
    size, target = t.draft.shapes[source][1:], pair(a["output_size"])
    if size[0] % target[0] or size[1] % target[1]:
        t.refuse(fx, f"adaptive pooling of {size} to {target} is not supported; the output must divide the input")
    kernel = (size[0] // target[0], size[1] // target[1])
    op = "avg_pool" if "avg" in operator_name(fx) else "max_pool"
    t.emit(fx, op, (source,), window=Window(kernel, kernel))


def mean(t: Translation, fx: FxNode, a: dict) -> None:
    source = t.tensor(fx, a["self"])
    shape, full = shape_of(a["self"]), t.draft.shapes[source]
    axes = {axis(d, len(shape)) for d in a.get("dim") or range(len(shape))}
    if not (shape == (1, *full) and axes == {2, 3} or shape == (1, full[0], full[1] * full[2]) and axes == {2}):
        t.refuse(fx, f"mean over axes {sorted(axes)} of shape {shape} is not supported; only over rows and columns")
    t.emit(fx, "avg_pool", (source,), window=Window(full[1:], full[1:]))


def concat(t: Translation, fx: FxNode, a: dict) -> None:
    if axis(a["dim"], len(shape_of(fx))) != 1:
        t.refuse(fx, f"concatenation along axis {a['dim']} is not supported; only along the channels, axis 1")
    parts = tuple(t.channel_first(fx, v) for v in a["tensors"])
    if len({t.draft.shapes[p][1:] for p in parts}) != 1:
        t.refuse(fx, f"concatenation of shapes {[shape_of(v) for v in a['tensors']]} is not supported")
    t.emit(fx, "concat", parts, sum(t.draft.shapes[p][0] for p in parts))


def zero_pad(t: Translation, fx: FxNode, a: dict) -> None:
    mode = a.get("mode", "constant")
    if mode != "constant" or a["value"] not in (None, 0):
        t.refuse(fx, f"padding with mode {mode} and value {a['value']} is not supported; only zeros")
    source = t.map(fx, a["self"])
    amounts = list(a["pad"]) + [0] * (8 - len(a["pad"]))
    left, right, top, bottom, front, back = amounts[:6]
    channels = t.draft.shapes[source][0] + front + back
    window = Window(padding=(top, left, bottom, right))
    t.emit(fx, "slice_pad", (source,), channels, window=window, channel_offset=front)


def take_slice(t: Translation, fx: FxNode, a: dict) -> None:
    source = t.map(fx, a["self"])
    shape = (1, *t.draft.shapes[source])
    dimension = axis(a["dim"], 4)
    start, stop, step = slice(a["start"], a["end"], a["step"]).indices(shape[dimension])
    if stop <= start or dimension == 1 and step != 1:
        t.refuse(fx, f"slice {start}:{stop}:{step} of axis {dimension} is not supported; channels cannot be strided")
    if dimension == 0:
        t.tensors[fx] = source
    elif dimension == 1:
        t.emit(fx, "slice_pad", (source,), stop - start, channel_offset=-start)
    else:
        row = dimension == 2
        count = (stop - start + step - 1) // step
        # crop to the last pixel that is taken, so that the window's floor gives exactly count
        end = (count - 1) * step + 1 + start - shape[dimension]
        stride, padding = ((step, 1), (-start, 0, end, 0)) if row else ((1, step), (0, -start, 0, end))
        t.emit(fx, "slice_pad", (source,), window=Window((1, 1), stride, padding))


def reshape(t: Translation, fx: FxNode, a: dict) -> None:
    source = t.tensor(fx, a["self"])
    c, h, w = t.draft.shapes[source]
    if shape_of(fx) not in ((1, c, h, w), (1, c * h * w), (1, c, h * w)):
        t.refuse(
            fx,
            f"reshaping a map of {(c, h, w)} to {shape_of(fx)} is not supported; "
            "only flattening that keeps the batch axis and the channels whole",
        )
    t.tensors[fx] = source


def unchanged(t: Translation, fx: FxNode, a: dict) -> None:
    t.tensors[fx] = t.tensor(fx, a.get("self", a.get("input")))


def dropout(t: Translation, fx: FxNode, a: dict) -> None:
    if a["train"] and a["p"] > 0:
        t.refuse(fx, "dropout that stays active in eval mode is not supported; pass training=self.training")
    unchanged(t, fx, a)


def convert(t: Translation, fx: FxNode, a: dict) -> None:
    value = a["self"].meta["val"]
    if fx.meta["val"].dtype != value.dtype:
        t.refuse(fx, f"conversion from {value.dtype} to {fx.meta['val'].dtype} is not supported")
    unchanged(t, fx, a)


def ignore(t: Translation, fx: FxNode, a: dict) -> None:
    """Assertions of the tracer about its own values: nothing to compute."""


Handler = Callable[[Translation, FxNode, dict], None]
HANDLERS: dict[str, Handler] = {
    "aten.conv2d": convolution,
    "aten.linear": linear,
    "aten.batch_norm": batch_norm,
    "aten._native_batch_norm_legit_no_training": batch_norm,
    "aten.relu": relu,
    "aten.relu6": relu6,
    "aten.hardtanh": clamp,
    "aten.clamp": clamp,
    "aten.clamp_min": clamp,
    "aten.add": add,
    "aten.maximum": maximum,
    "aten.max": largest,
    "aten.max_pool2d": max_pool,
    "aten.max_pool2d_with_indices": max_pool,
    "aten.avg_pool2d": avg_pool,
    "aten.adaptive_avg_pool2d": adaptive_pool,
    "aten.adaptive_max_pool2d": adaptive_pool,
    "aten.mean": mean,
    "aten.cat": concat,
    "aten.pad": zero_pad,
    "aten.constant_pad_nd": zero_pad,
    "aten.slice": take_slice,
    "aten._to_copy": convert,
    "aten.to": convert,
    "aten.dropout": dropout,
    "aten.feature_dropout": dropout,
    "aten._assert_tensor_metadata": ignore,
    **dict.fromkeys(("aten.view", "aten.reshape", "aten._unsafe_view", "aten.flatten"), reshape),
    **dict.fromkeys(("aten.squeeze", "aten.unsqueeze", "aten.unflatten"), reshape),
    **dict.fromkeys(("aten.clone", "aten.alias", "aten.detach", "aten.contiguous"), unchanged),
}
# results of these are newly computed: never a view of an operand, nor the operand itself
FRESH = frozenset(
    f"aten.{name}"
    for name in "conv2d linear batch_norm relu relu6 hardtanh clamp add maximum cat max_pool2d avg_pool2d".split()
)


def translate(t: Translation, fx: FxNode) -> None:
    """Add one call to the draft. Raises BfpError naming the layer where it is not supported."""
    name = operator_name(fx).rstrip("_")  # in-place forms reach this place only where they are equivalent
    if name == "getitem":
        source, index = fx.args
        if index == 0 and source in t.tensors:
            t.tensors[fx] = t.tensors[source]
        elif fx.users:
            t.refuse(fx, f"result {index} of {source.target} is not supported")
    elif name not in HANDLERS:
        t.refuse(fx, f"{name} is not supported; supported are {SUPPORTED}")
    else:
        HANDLERS[name](t, fx, bind(fx))
