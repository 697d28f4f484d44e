"""What the host computes along axes: sums, maxima, softmax, top-k, products with matrices, pooling."""

from __future__ import annotations

import math

import numpy as np
from torch.fx import Node as FxNode

from calib.frontend.host_program import Handler, HostProgram, image_axis
from calib.frontend.host_tail import COMPUTED
from calib.frontend.host_values import HostValue, NoHost, combined, constant, reshaped, stepped, with_bits, written
from calib.frontend.translation import pair, shape_of



def axes_of_call(x: HostValue, dim: object) -> list[int]:
    """The axes of a value's shape that a call's ``dim`` names; all of them where it names none and there is no batch."""
    if dim is None or dim == []:
        if x.batched:
            raise NoHost("the batch axis must stay")
        return list(range(len(x.shape)))
    return sorted(image_axis(x, d) for d in ([dim] if isinstance(dim, int) else dim))


def without(x: HostValue, axes: list[int], kept: bool) -> HostValue:
    """A value that has one index along some axes, or none of these axes."""
    return x if kept else reshaped(x, tuple(n for axis, n in enumerate(x.shape) if axis not in axes))


def reduced(x: HostValue, name: str, axes: list[int], kept: bool = True) -> HostValue:
    """A value after a step along each of some axes."""
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    return without(stepped(x, tuple(s for axis in axes for s in written(name, axis + 1)), shape), axes, kept)


def reduction(name: str) -> Handler:
    """One value along some axes."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
        x = h.value(a["self"])
        return reduced(x, name, axes_of_call(x, a.get("dim")), a.get("keepdim", False))

    return made


def norm(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The length of vectors."""
    x, order = h.value(a["self"]), a.get("ord", a.get("p", 2))
    axes = axes_of_call(x, a.get("dim"))
    if order == math.inf:
        return reduced(stepped(x, written("abs")), "highest", axes, a["keepdim"])
    if order == 1:
        return reduced(stepped(x, written("abs")), "sum", axes, a["keepdim"])
    if order not in (2, None):
        raise NoHost(f"a norm of order {order} is not supported")
    return stepped(reduced(stepped(x, written("square")), "sum", axes, a["keepdim"]), written("sqrt"))


def variance(root: bool) -> Handler:
    """The variance along some axes, or its root."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
        x = h.value(a["self"])
        axes = axes_of_call(x, a.get("dim"))
        count = math.prod(x.shape[axis] for axis in axes)
        given = a.get("correction", a.get("unbiased", True))
        left = count - (1 if given is None else float(given))
        if left <= 0:
            raise NoHost("a variance of one value is not supported")
        apart = stepped(combined("subtract", x, reduced(x, "mean", axes)), written("square"))
        found = with_bits(reduced(apart, "sum", axes, a.get("keepdim", False)), "times", 1 / left)
        return stepped(found, written("sqrt")) if root else found

    return made


def length(x: HostValue, axis: int) -> HostValue:
    """The length of vectors along an axis, which keeps one index."""
    return stepped(reduced(stepped(x, written("square")), "sum", [axis]), written("sqrt"))


def cosine(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The cosine between vectors."""
    units = []
    for operand in (a["x1"], a["x2"]):
        x = h.value(operand)
        if len(x.shape) + x.batched != len(shape_of(fx)) + 1:
            raise NoHost("vectors of unlike shapes are not supported")
        units.append(combined("divide", x, with_bits(length(x, image_axis(x, a["dim"])), "at_least", a["eps"])))
    product_ = combined("multiply", *units)
    return reduced(product_, "sum", [image_axis(product_, a["dim"])], False)


def distance(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The distance between vectors along the last axis."""
    apart = with_bits(combined("subtract", h.value(a["x1"]), h.value(a["x2"])), "plus", a["eps"])
    axis = len(apart.shape) - 1
    if a["p"] == 2:
        return without(length(apart, axis), [axis], a["keepdim"])
    if a["p"] != 1:
        raise NoHost(f"a distance of order {a['p']} is not supported")
    return reduced(stepped(apart, written("abs")), "sum", [axis], a["keepdim"])


def normalised(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Batch normalisation: a scale and a shift of every channel."""
    x = h.value(a["input"])
    mean, var, gamma, beta = (h.known.value(a[key]) for key in ("running_mean", "running_var", "weight", "bias"))
    if a.get("training") or mean is None or var is None or not x.batched:
        raise NoHost("batch norm by the statistics of the batch is not supported")
    with np.errstate(all="ignore"):
        scale = (1.0 if gamma is None else gamma) / np.sqrt(var + a["eps"])
    shift = (0.0 if beta is None else beta) - mean * scale
    shape = (-1, *(1,) * (len(x.shape) - 1))
    return combined("add", combined("multiply", x, constant(scale.reshape(shape))), constant(shift.reshape(shape)))


def resized(name: str) -> Handler:
    """A map in another size."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
        x, steps = h.value(fx.args[0]), COMPUTED[name](fx, a)
        if steps is None or len(x.shape) != 3 or not x.batched:
            raise NoHost("a change of size by uneven factors is not supported")
        return stepped(x, steps, shape_of(fx)[1:])

    return made


def log_sum_exp(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The logarithm of a sum of exponentials."""
    x = h.value(a["self"])
    axes = axes_of_call(x, a["dim"])
    highest = reduced(x, "highest", axes)
    below = stepped(combined("subtract", x, highest), written("exp"))
    return without(combined("add", stepped(reduced(below, "sum", axes), written("log")), highest), axes, a["keepdim"])


def softmax(name: str) -> Handler:
    """Softmax, or its logarithm."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
        x = h.value(a["self"])
        return stepped(x, written(name, image_axis(x, a["dim"]) + 1))

    return made


def best(x: HostValue, axis: int, kept: bool, sign: int) -> list[HostValue]:
    """The largest value along an axis and its index, or the smallest where the sign is -1."""
    at = stepped(
        x if sign > 0 else with_bits(x, "times", -1.0),
        written("argmax", axis + 1, 1),
        tuple(1 if n == axis else size for n, size in enumerate(x.shape)),
    )
    return [reduced(x, "highest" if sign > 0 else "lowest", [axis], kept), without(at, [axis], kept)]


def extreme(sign: int) -> Handler:
    """``max`` and ``min``: of two values, along an axis with indices, or of all."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue | list:
        x = h.value(a["self"])
        if "other" in a:
            return combined("maximum" if sign > 0 else "minimum", x, h.value(a["other"]))
        if a.get("dim") is None:
            return reduced(x, "highest" if sign > 0 else "lowest", axes_of_call(x, None), False)
        return best(x, image_axis(x, a["dim"]), a["keepdim"], sign)

    return made


def place(sign: int) -> Handler:
    """``argmax`` and ``argmin``."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
        x = h.value(a["self"])
        if a.get("dim") is None:
            if x.batched:
                raise NoHost("the batch axis must stay")
            return best(reshaped(x, (math.prod(x.shape),)), 0, False, sign)[1]
        return best(x, image_axis(x, a["dim"]), a["keepdim"], sign)[1]

    return made


def ordered(x: HostValue, count: int, axis: int, largest: bool) -> list[HostValue]:
    """So many of the largest values along an axis, or of the smallest, and their indices."""
    shape = tuple(count if n == axis else size for n, size in enumerate(x.shape))
    turned = x if largest else with_bits(x, "times", -1.0)
    values, at = (stepped(turned, written(name, count, axis + 1), shape) for name in ("largest", "largest_at"))
    return [values if largest else with_bits(values, "times", -1.0), at]


def topk(h: HostProgram, fx: FxNode, a: dict) -> list[HostValue]:
    """The largest values along an axis, or the smallest, and their indices."""
    x = h.value(a["self"])
    return ordered(x, a["k"], image_axis(x, a["dim"]), a["largest"])


def sort(h: HostProgram, fx: FxNode, a: dict) -> list[HostValue]:
    """All values along an axis in order, and their indices; equal ones stay in theirs."""
    x = h.value(a["self"])
    axis = image_axis(x, a["dim"])
    return ordered(x, x.shape[axis], axis, a["descending"])


def argsort(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The indices of all values along an axis in order."""
    return sort(h, fx, a)[1]


def cumulative_sum(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Sums up to each index of an axis."""
    x = h.value(a["self"])
    return stepped(x, written("cumulative_sum", image_axis(x, a["dim"]) + 1))


def pooling(name: str) -> Handler:
    """The largest value, or the mean, of windows of a map."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue | list:
        x = h.value(a["self"])
        kernel, padding = pair(a["kernel_size"]), pair(a["padding"])
        stride = pair(a["stride"] or a["kernel_size"])
        whole_windows = not a["ceil_mode"] and pair(a.get("dilation", 1)) == (1, 1) and a.get("divisor_override") is None
        if len(x.shape) not in (2, 3) or not whole_windows or (any(padding) and not a.get("count_include_pad", True)):
            raise NoHost("pooling of this form is not supported on the host")
        shape = shape_of(fx)[x.batched :]
        maps = x if len(x.shape) == 3 else reshaped(x, (1, *x.shape))  # torch takes three axes for channels, rows and columns
        pooled = stepped(maps, written(name, *kernel, *stride, *padding), (*maps.shape[:1], *shape[-2:]))
        found = pooled if maps is x else reshaped(pooled, shape)
        return [found] if isinstance(fx.meta["val"], (tuple, list)) else found

    return made


ALONG: dict[str, Handler] = {
    "sum": reduction("sum"),
    "mean": reduction("mean"),
    "prod": reduction("product"),
    "amax": reduction("highest"),
    "amin": reduction("lowest"),
    "all": reduction("lowest"),
    "any": reduction("highest"),
    **dict.fromkeys(("linalg_vector_norm", "norm"), norm),
    "logsumexp": log_sum_exp,
    **dict.fromkeys(("softmax", "_softmax"), softmax("softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax"), softmax("log_softmax")),
    "max": extreme(1),
    "min": extreme(-1),
    "argmax": place(1),
    "argmin": place(-1),
    "topk": topk,
    "sort": sort,
    "argsort": argsort,
    "cumsum": cumulative_sum,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), pooling("max_pool")),
    "avg_pool2d": pooling("average_pool"),
    "std": variance(True),
    "var": variance(False),
    "cosine_similarity": cosine,
    "pairwise_distance": distance,
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), normalised),
    **{name: resized(name) for name in ("upsample_nearest2d", "upsample_bilinear2d")},
}
