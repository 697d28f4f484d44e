"""Sums, differences, products with constants, activations: what is computed element by element.

A constant becomes one 1x1 filter for each channel, which the layers beside it take in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from math import prod

import numpy as np
import torch
from torch.fx import Node as FxNode

from bfp.functions import FunctionCall
from calib.frontend.constant_maps import in_channels, pixelwise
from calib.frontend.translation import Translation, shape_of
from calib.frontend.views import View, gather, numbers
from calib.frontend.written_out import function_of_both


Handler = Callable[[Translation, FxNode, dict], None]


def affine(t: Translation, fx: FxNode, view: View, scale: object = 1.0, shift: object = 0.0) -> View:
    """The value of ``fx``'s shape times ``scale`` plus ``shift``, constants that are broadcast to that shape."""
    factors, shifts = (spread_out(t, fx, view, torch.as_tensor(v, dtype=torch.float64)) for v in (scale, shift))
    if (factors == 1).all() and (shifts == 0).all():
        return view
    if any((values != values[:, :1, :1]).any() for values in (factors, shifts)):
        if (tensor := in_channels(t, fx, view, scale, shift)) is not None:
            return affine(t, fx, View(tensor), scale, shift)
        return View(pixelwise(t, fx, view.tensor, factors, shifts), view.index)
    factors, shifts = factors[:, 0, 0].copy(), shifts[:, 0, 0].copy()
    name = t.node(fx, "depthwise", (view.tensor,), weights=(factors.reshape(-1, 1, 1, 1), shifts))
    t.draft.affine.add(name)
    return View(name, view.index)


def spread_out(t: Translation, fx: FxNode, view: View, constant: torch.Tensor) -> np.ndarray:
    """A constant that is broadcast to the value, as one number for each element of its tensor: float64 [C, H, W]."""
    shape = shape_of(fx)
    if torch.broadcast_shapes(shape, constant.shape) != torch.Size(shape):
        t.refuse(fx, f"a constant of shape {tuple(constant.shape)} cannot be broadcast to {shape}")
    if not torch.isfinite(constant).all():
        t.refuse(fx, "its scale or shift is NaN or infinite; check the weights file")
    index = numbers(shape) if view.index is None else view.index
    flat = np.empty(prod(shape))
    flat[index.reshape(-1)] = constant.expand(shape).reshape(-1).numpy()
    return flat.reshape(t.draft.shapes[view.tensor])


def operand(t: Translation, fx: FxNode, value: object) -> View:
    """An operand whose elements are computed one by one, in the result's shape."""
    if shape_of(value) == shape_of(fx):
        return t.elements(fx, value)
    view = t.view(fx, value)
    index = np.broadcast_to(t.index(value), shape_of(fx))
    return View(t.ordered(fx, View(view.tensor, index), shape_of(fx)))


def activated(t: Translation, fx: FxNode, view: View, activation: str) -> View:
    """An activation of every element."""
    return View(t.node(fx, "identity", (view.tensor,), activation=activation), view.index)


def relu(t: Translation, fx: FxNode, a: dict) -> None:
    """Nothing below zero."""
    t.views[fx] = activated(t, fx, operand(t, fx, a["self"]), "relu")


def relu6(t: Translation, fx: FxNode, a: dict) -> None:
    """Nothing below zero, nothing above six."""
    t.views[fx] = activated(t, fx, operand(t, fx, a["self"]), "relu6")


def hardsigmoid(t: Translation, fx: FxNode, a: dict) -> None:
    """A sixth of the ReLU6 of the value and three."""
    view = activated(t, fx, affine(t, fx, operand(t, fx, a["self"]), shift=3.0), "relu6")
    t.views[fx] = affine(t, fx, view, 1 / 6)


def looked_up(t: Translation, fx: FxNode, value: object, name: str, *arguments: float) -> None:
    """A function of every element, which the engine reads from a table."""
    view = operand(t, fx, value)
    call = FunctionCall(name, tuple(float(x) for x in arguments))
    t.views[fx] = View(t.node(fx, "lookup", (view.tensor,), function=call), view.index)


def plain(name: str) -> Handler:
    """The handler of a function without arguments."""

    def handler(t: Translation, fx: FxNode, a: dict) -> None:
        """The same function, read from a table."""
        looked_up(t, fx, a["self"], name)

    return handler


def inside(name: str) -> Handler:
    """The handler of a function without arguments, where a layer with weights reads what becomes of it."""

    def handler(t: Translation, fx: FxNode, a: dict) -> None:
        """The same function, read from a table."""
        t.need_tables(fx)
        looked_up(t, fx, a["self"], name)

    return handler


def shrink(name: str) -> Handler:
    """The handler of a function which is zero within a limit."""

    def handler(t: Translation, fx: FxNode, a: dict) -> None:
        """The same function, read from a table."""
        looked_up(t, fx, a["self"], name, a["lambd"])

    return handler


def gelu(t: Translation, fx: FxNode, a: dict) -> None:
    """GELU, or its approximation."""
    known = {"none": "gelu", "tanh": "gelu_tanh"}
    if a["approximate"] not in known:
        t.refuse(fx, f"gelu with approximate={a['approximate']!r} is not supported")
    looked_up(t, fx, a["self"], known[a["approximate"]])


def elu(t: Translation, fx: FxNode, a: dict) -> None:
    """ELU and its relatives."""
    looked_up(t, fx, a["self"], "elu", a.get("alpha", 1), a.get("scale", 1), a.get("input_scale", 1))


def selu(t: Translation, fx: FxNode, a: dict) -> None:
    """ELU of fixed constants (Klambauer et al.)."""
    looked_up(t, fx, a["self"], "elu", 1.6732632423543772, 1.0507009873554805, 1)


def celu(t: Translation, fx: FxNode, a: dict) -> None:
    """ELU whose exponential is divided by alpha."""
    looked_up(t, fx, a["self"], "elu", a["alpha"], 1, 1 / a["alpha"])


def softplus(t: Translation, fx: FxNode, a: dict) -> None:
    """log(1 + exp(beta x)) / beta; beyond the threshold torch returns x, which differs from it by less than float32 shows."""
    if a["threshold"] < 15:
        t.refuse(fx, f"softplus with threshold={a['threshold']} is not supported; leave it at 20")
    looked_up(t, fx, a["self"], "softplus", a["beta"])


def leaky_relu(t: Translation, fx: FxNode, a: dict) -> None:
    """Below zero, times a slope."""
    looked_up(t, fx, a["self"], "leaky_relu", a["negative_slope"])


def prelu(t: Translation, fx: FxNode, a: dict) -> None:
    """Below zero, times a slope that was learned: from a table where all channels have the same.

    Slopes of channels' own are weights: ``x + (1 - slope) * relu(-x)``, of which the second term is zero where x is not
    below zero, so that what is above stays as it is.
    """
    slopes = t.number(fx, a["weight"])
    if slopes is None:
        t.refuse(fx, f"the slope {a['weight']} of prelu is computed from the image; only constants are supported")
    first, slopes = float(slopes.reshape(-1)[0]), slopes.reshape(-1)
    if (slopes == first).all():
        looked_up(t, fx, a["self"], "leaky_relu", first)
        return
    shape = shape_of(fx)
    below = activated(t, fx, affine(t, fx, operand(t, fx, a["self"]), -1.0), "relu")
    share = affine(t, fx, below, (1 - slopes).reshape(1, -1, *(1,) * (len(shape) - 2)))
    t.views[fx] = joined(t, fx, "add", [share, operand(t, fx, a["self"])])


def rrelu(t: Translation, fx: FxNode, a: dict) -> None:
    """Outside of training the mean of its slopes, as LeakyReLU has it."""
    looked_up(t, fx, a["self"], "leaky_relu", (a["lower"] + a["upper"]) / 2)


def threshold(t: Translation, fx: FxNode, a: dict) -> None:
    """What is at most the threshold becomes the value: a limit, where both are equal."""
    if a["threshold"] != a["value"]:
        looked_up(t, fx, a["self"], "threshold", a["threshold"], a["value"])
        return
    t.views[fx] = limited(t, fx, a["self"], a["threshold"], None)


def clamp(t: Translation, fx: FxNode, a: dict) -> None:
    """Limits that are constants, whatever they are."""
    low, high = (a["min_val"], a["max_val"]) if "min_val" in a else (a.get("min"), a.get("max"))
    t.views[fx] = limited(t, fx, a["self"], low, high)


def limited(t: Translation, fx: FxNode, value: object, low: object, high: object) -> View:
    """The value within constant limits: a ReLU or a ReLU6 between two changes of scale. None is no limit."""
    view = operand(t, fx, value)
    least, most = (None if v is None else t.number(fx, v) for v in (low, high))
    for given, found in ((low, least), (high, most)):
        if given is not None and found is None:
            t.refuse(fx, f"clamping to {given}, which is computed from the image, is not supported; only constants are")
    if least is None and most is None:
        return view
    if least is None and not t.draft.negative(view.tensor):
        least = torch.zeros((), dtype=torch.float64)
    if least is None:
        return affine(t, fx, activated(t, fx, affine(t, fx, view, -1.0, most), "relu"), -1.0, most)
    if most is None:
        return affine(t, fx, activated(t, fx, affine(t, fx, view, 1.0, -least), "relu"), 1.0, least)
    if not (least < most).all():
        t.refuse(fx, f"clamping to {low}..{high} is not supported; the lower limit must be below the upper one")
    factor = 6 / (most - least)
    return affine(t, fx, activated(t, fx, affine(t, fx, view, factor, -least * factor), "relu6"), 1 / factor, least)


def add(t: Translation, fx: FxNode, a: dict) -> None:
    """``self + alpha * other``."""
    weighted_sum(t, fx, a["self"], 1.0, a["other"], float(a.get("alpha", 1)))


def subtract(t: Translation, fx: FxNode, a: dict) -> None:
    """``self - alpha * other``."""
    weighted_sum(t, fx, a["self"], 1.0, a["other"], -float(a.get("alpha", 1)))


def subtract_from(t: Translation, fx: FxNode, a: dict) -> None:
    """``other - alpha * self``."""
    weighted_sum(t, fx, a["other"], 1.0, a["self"], -float(a.get("alpha", 1)))


def weighted_sum(t: Translation, fx: FxNode, first: object, factor: float, second: object, other: float) -> None:
    """``first * factor + second * other``, of which one may be a constant."""
    constants = t.number(fx, first), t.number(fx, second)
    if constants[1] is not None:
        t.views[fx] = affine(t, fx, operand(t, fx, first), factor, other * constants[1])
    elif constants[0] is not None:
        t.views[fx] = affine(t, fx, operand(t, fx, second), other, factor * constants[0])
    else:
        t.views[fx] = met(t, fx, "add", [first, second], [factor, other])


def negate(t: Translation, fx: FxNode, a: dict) -> None:
    """The value times -1."""
    t.views[fx] = affine(t, fx, operand(t, fx, a["self"]), -1.0)


def multiply(t: Translation, fx: FxNode, a: dict) -> None:
    """A product of two maps, or of a map and a constant."""
    for value, constant in ((a["self"], t.number(fx, a["other"])), (a["other"], t.number(fx, a["self"]))):
        if constant is not None:
            t.views[fx] = affine(t, fx, operand(t, fx, value), constant)
            return
    if not written_out(t, fx, a["self"], a["other"], np.multiply):
        t.views[fx] = met(t, fx, "multiply", [a["self"], a["other"]])


def written_out(t: Translation, fx: FxNode, first: object, second: object, join: Callable) -> bool:
    """Whether two maps that are joined are a function of one value, as in ``x * sigmoid(x)``, which is looked up then."""
    if not all(isinstance(v, FxNode) and v in t.views and shape_of(v) == shape_of(fx) for v in (first, second)):
        return False
    if t.repeats(fx, first) or t.repeats(fx, second):
        return False
    for value in (first, second):
        t.views[value] = t.elements(fx, value)
    found = function_of_both(t.draft, (t.views[first], t.views[second]), join)
    if found is None:
        return False
    view, call, factor = found
    looked = View(t.node(fx, "lookup", (view.tensor,), function=call), view.index)
    t.views[fx] = affine(t, fx, looked, factor)
    return True


def maximum(t: Translation, fx: FxNode, a: dict) -> None:
    """The larger one of two maps, or of a map and a constant."""
    for value, constant in ((a["self"], a["other"]), (a["other"], a["self"])):
        if t.number(fx, constant) is not None:
            t.views[fx] = limited(t, fx, value, constant, None)
            return
    t.views[fx] = met(t, fx, "maximum", [a["self"], a["other"]])


def minimum(t: Translation, fx: FxNode, a: dict) -> None:
    """The smaller one of two maps, or of a map and a constant."""
    for value, constant in ((a["self"], a["other"]), (a["other"], a["self"])):
        if t.number(fx, constant) is not None:
            t.views[fx] = limited(t, fx, value, None, constant)
            return
    t.views[fx] = met(t, fx, "minimum", [a["self"], a["other"]])


def met(t: Translation, fx: FxNode, op: str, values: list[object], factors: Sequence[float] = (1.0, 1.0)) -> View:
    """Two values, times a factor each, met element by element; one of them may be broadcast over channels or pixels."""
    for (main, factor), (other, by) in permutations(zip(values, factors)):
        whole = shape_of(other) == shape_of(fx) and not t.repeats(fx, other)
        if shape_of(main) != shape_of(fx) or t.repeats(fx, main) or whole:
            continue
        view, shape = t.elements(fx, main), shape_of(fx)
        tensor = broadcast(t, fx, view, np.broadcast_to(t.index(other), shape), t.view(fx, other).tensor)
        if tensor is not None:
            pair = [affine(t, fx, view, factor).tensor, scaled(t, fx, tensor, by)]
            return View(t.node(fx, op, tuple(pair)), view.index)
    return joined(t, fx, op, [affine(t, fx, operand(t, fx, v), f) for v, f in zip(values, factors)])


def scaled(t: Translation, fx: FxNode, tensor: str, factor: float) -> str:
    """A tensor of the draft, times a number."""
    if factor == 1:
        return tensor
    channels = t.draft.shapes[tensor][0]
    name = t.node(fx, "depthwise", (tensor,), weights=(np.full((channels, 1, 1, 1), factor), np.zeros(channels)))
    t.draft.affine.add(name)
    return name


def broadcast(t: Translation, fx: FxNode, main: View, index: np.ndarray, tensor: str) -> str | None:
    """A tensor of one pixel, one channel or one value that is broadcast to a value; None where that is none of these.

    main: the view of what it meets, in the value's shape; index: the element of ``tensor`` that meets each of its elements.
    """
    channels, *size = t.draft.shapes[main.tensor]
    meets = np.empty(index.size, np.int64)  # by the elements of the main tensor
    meets[t.index_of(main).reshape(-1)] = index.reshape(-1)
    meets = meets.reshape(channels, *size)
    pixels, depths = meets[:, :1, :1], meets[:1]
    if (meets == meets[0, 0, 0]).all():
        wanted = meets[:1, :1, :1]
    elif (meets == pixels).all():
        wanted = pixels
    elif (meets == depths).all():
        wanted = depths
    elif meets.size > prod(t.draft.shapes[tensor]) and gather(meets, t.draft.shapes[tensor]) is not None:
        wanted = meets  # channels that are repeated in the order of what they meet
    else:
        return None
    if wanted.shape == t.draft.shapes[tensor] and np.array_equal(wanted.reshape(-1), np.arange(wanted.size)):
        return tensor
    return t.ordered(fx, View(tensor, wanted[None]), (1, *wanted.shape))


def joined(t: Translation, fx: FxNode, op: str, views: list[View]) -> View:
    """Two operands met element by element: in a common order, or each brought into its own first."""
    orders = [v.index for v in views]
    alike = all(o is None for o in orders) or all(o is not None for o in orders) and np.array_equal(*orders)
    if not alike or t.draft.shapes[views[0].tensor] != t.draft.shapes[views[1].tensor]:
        views = [View(t.ordered(fx, v, shape_of(fx))) for v in views]
    shapes = [t.draft.shapes[v.tensor] for v in views]
    if shapes[0] != shapes[1]:
        t.refuse(fx, f"{op} of maps of {shapes[0]} and {shapes[1]} is not supported; both operands must have one shape")
    return View(t.node(fx, op, tuple(v.tensor for v in views)), views[0].index)
