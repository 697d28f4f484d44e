"""What the host computes of each element of one value or of several: ATen operators as steps and combinations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.fx import Node as FxNode

from calib.frontend.host_program import Handler, HostProgram
from calib.frontend.host_values import HostValue, NoHost, combined, constant, stepped, with_bits, written
from calib.frontend.translation import shape_of


def elementwise(*names: str) -> Handler:
    """Steps of every value for itself."""
    steps = tuple(step for name in names for step in written(name))
    return lambda h, fx, a: stepped(h.value(fx.args[0]), steps)


def with_arguments(function: Callable[[HostValue, dict], HostValue]) -> Handler:
    """``function`` of the first operand and the call's arguments."""
    return lambda h, fx, a: function(h.value(fx.args[0]), a)


def scaled(factor: float, *before: str) -> Handler:
    """Every value, after some steps, times a constant."""
    return with_arguments(lambda x, a: with_bits(stepped(x, sum((written(n) for n in before), ())), "times", factor))


def to_power(exponent: float) -> Handler:
    """A constant power of every value."""
    return with_arguments(lambda x, a: with_bits(x, "power", exponent))


def power(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Powers, of values or of constants."""
    exponent = h.number(a["exponent"])
    if exponent is None:
        return combined("power", h.value(a["self"]), h.value(a["exponent"]))
    return stepped(h.value(a["self"]), written("square")) if exponent == 2 else with_bits(h.value(a["self"]), "power", exponent)


def added(sign: int, swapped: bool = False) -> Handler:
    """A sum, or a difference, whose second operand has a factor."""

    def made(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
        first, second = (a["other"], a["self"]) if swapped else (a["self"], a["other"])
        factor = sign * a.get("alpha", 1)
        number = h.number(second)
        if number is not None and shape_of(fx) == (shape_of(first) if isinstance(first, FxNode) else None):
            return with_bits(h.value(first), "plus", factor * number)
        y = h.value(second)
        if abs(factor) != 1:
            y = with_bits(y, "times", abs(factor))
        return combined("add" if factor > 0 else "subtract", h.value(first), y)

    return made


def multiply(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """A product."""
    for one, other in ((a["self"], a["other"]), (a["other"], a["self"])):
        number = h.number(other)
        if number is not None and isinstance(one, FxNode) and shape_of(one) == shape_of(fx):
            return with_bits(h.value(one), "times", number)
    return combined("multiply", h.value(a["self"]), h.value(a["other"]))


def divide(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """A quotient, or the whole number below it or towards zero."""
    x, rounding = h.value(a["self"]), a.get("rounding_mode")
    number = h.number(a["other"])
    if number is not None and shape_of(fx) == shape_of(a["self"]) and number != 0 and np.isfinite(1 / number):
        found = combined("divide", x, constant(np.array(number))) if rounding else with_bits(x, "times", 1 / number)
    else:
        found = combined("divide", x, h.value(a["other"]))
    return found if rounding is None else stepped(found, written(rounding))


def floor_divide(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The largest whole number that is no larger than the quotient."""
    return stepped(combined("divide", h.value(a["self"]), h.value(a["other"])), written("floor"))


def remainder(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """What a division to whole numbers leaves."""
    y = h.value(a["other"])
    return combined("subtract", h.value(a["self"]), combined("multiply", y, floor_divide(h, fx, a)))


def pair(how: str) -> Handler:
    """A function of the elements of two values."""
    return lambda h, fx, a: combined(how, h.value(fx.args[0]), h.value(fx.args[1]))


def clamp(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Limits, which are constants or values."""
    x = h.value(a["self"])
    for key, step, how in (("min", "at_least", "maximum"), ("max", "at_most", "minimum")):
        limit = a.get(key, a.get(f"{key}_val"))
        if limit is None:
            continue
        number = h.number(limit)
        x = with_bits(x, step, number) if number is not None else combined(how, x, h.value(limit))
    return x


def where(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """One value where a condition holds, another one where it does not."""
    return combined("where", h.value(a["condition"]), h.value(a["self"]), h.value(a["other"]))


def masked_fill(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """A number where a condition holds."""
    return combined("where", h.value(a["mask"]), h.value(a["value"]), h.value(a["self"]))


def convert(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Another type: whole numbers lose what is behind the point, truth values are zero or one."""
    kind, x = fx.meta["val"].dtype, h.value(fx.args[0])
    if kind.is_floating_point or not fx.args[0].meta["val"].dtype.is_floating_point and kind != torch.bool:
        return x
    return stepped(x, written("truth" if kind == torch.bool else "trunc"))


def same(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The value as it is."""
    return h.value(fx.args[0])


def dropout(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Nothing, unless it stays active."""
    if a["train"] and a["p"] > 0:
        raise NoHost("dropout that stays active in eval mode is not supported")
    return h.value(fx.args[0])


def log_of_shifted(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """log(1 + x)."""
    return stepped(with_bits(h.value(fx.args[0]), "plus", 1.0), written("log"))


def gelu(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """GELU, or its approximation."""
    return stepped(h.value(a["self"]), written("gelu_tanh" if a["approximate"] == "tanh" else "gelu"))


def logical_not(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """One where a value is zero."""
    return combined("equal", h.value(fx.args[0]), constant(np.zeros(())))


def exclusive_or(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The exclusive or of truth values."""
    return combined("not_equal", *(stepped(h.value(v), written("truth")) for v in fx.args[:2]))


ELEMENTS: dict[str, Handler] = {
    **{name: elementwise(name) for name in "exp log sqrt sin cos sign floor round trunc sigmoid tanh silu hardswish".split()},
    **{name: elementwise(name) for name in "hardsigmoid mish log_sigmoid abs erf square".split()},
    "atan": elementwise("arctan"),
    "gelu": gelu,
    "relu": with_arguments(lambda x, a: with_bits(x, "at_least", 0.0)),
    "relu6": with_arguments(lambda x, a: with_bits(with_bits(x, "at_least", 0.0), "at_most", 6.0)),
    "leaky_relu": with_arguments(lambda x, a: with_bits(x, "leaky_relu", a["negative_slope"])),
    "elu": with_arguments(lambda x, a: with_bits(x, "elu", a["alpha"], a["scale"], a["input_scale"])),
    "softplus": with_arguments(lambda x, a: with_bits(x, "softplus", a["beta"])),
    "neg": scaled(-1.0),
    "negative": scaled(-1.0),
    "ceil": with_arguments(lambda x, a: with_bits(stepped(with_bits(x, "times", -1.0), written("floor")), "times", -1.0)),
    "log2": scaled(1 / math.log(2), "log"),
    "log10": scaled(1 / math.log(10), "log"),
    "log1p": log_of_shifted,
    "expm1": with_arguments(lambda x, a: with_bits(stepped(x, written("exp")), "plus", -1.0)),
    "reciprocal": to_power(-1.0),
    "rsqrt": to_power(-0.5),
    "pow": power,
    **dict.fromkeys(("add",), added(1)),
    **dict.fromkeys(("sub", "subtract"), added(-1)),
    "rsub": added(-1, swapped=True),
    **dict.fromkeys(("mul", "multiply"), multiply),
    **dict.fromkeys(("div", "divide", "true_divide"), divide),
    "floor_divide": floor_divide,
    "remainder": remainder,
    **{name: pair(name) for name in ("maximum", "minimum")},
    **dict.fromkeys(("atan2", "arctan2"), pair("arctan2")),
    "eq": pair("equal"),
    "ne": pair("not_equal"),
    "gt": pair("greater"),
    "ge": pair("greater_equal"),
    "lt": pair("less"),
    "le": pair("less_equal"),
    **dict.fromkeys(("logical_and", "__and__", "bitwise_and"), pair("both")),
    **dict.fromkeys(("logical_or", "__or__", "bitwise_or"), pair("either")),
    **dict.fromkeys(("logical_xor", "__xor__", "bitwise_xor"), exclusive_or),
    **dict.fromkeys(("logical_not", "bitwise_not"), logical_not),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max", "hardtanh"), clamp),
    "where": where,
    "masked_fill": masked_fill,
    **dict.fromkeys(("_to_copy", "to", "type_as"), convert),
    **dict.fromkeys("clone alias detach contiguous lift_fresh_copy positive".split(), same),
    **dict.fromkeys(("dropout", "feature_dropout"), dropout),
}
