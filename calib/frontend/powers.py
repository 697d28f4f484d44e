"""Powers, roots, exponentials and quotients of values, and what of a program's values cannot be negative, as the program itself shows."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import Node as FxNode

from bfp.functions import FunctionCall
from calib.frontend.arithmetic import affine, looked_up, met, operand, written_out
from calib.frontend.translation import Translation, bind, operator_name
from calib.frontend.views import View

# whose results are among the values of the first operand, or means or sums of them
KEEPING = frozenset(
    "view reshape _unsafe_view flatten squeeze unsqueeze permute transpose contiguous clone detach slice select expand expand_as "
    "dropout avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d "
    "max_pool1d max_pool2d mean amax".split()
)
NONE_BELOW_ZERO = frozenset("relu relu6 sigmoid hardsigmoid abs softplus square softmax exp var std linalg_vector_norm".split())
LIMITING = frozenset("clamp clamp_min clip hardtanh".split())


def power(t: Translation, fx: FxNode, a: dict) -> None:
    """Any whole power above zero of every element, or any of what cannot be negative."""
    number = t.number(fx, a["exponent"])
    if number is None or len(number.unique()) != 1:
        t.refuse(fx, f"the power {a['exponent']} is not supported; only one number for all elements is")
    raised(t, fx, a["self"], float(number.reshape(-1)[0]))


def root(t: Translation, fx: FxNode, a: dict) -> None:
    """The square root of what cannot be negative."""
    raised(t, fx, a["self"], 0.5)


def inverse_root(t: Translation, fx: FxNode, a: dict) -> None:
    """One by the square root of what cannot be negative."""
    raised(t, fx, a["self"], -0.5)


def inverse(t: Translation, fx: FxNode, a: dict) -> None:
    """One by every element."""
    raised(t, fx, a["self"], -1.0)


def logarithm_of_more(t: Translation, fx: FxNode, a: dict) -> None:
    """The natural logarithm of one and what cannot be negative."""
    t.need_tables(fx)
    least = least_of(t, a["self"])
    if least is None:
        t.refuse(fx, "the logarithm of what may be negative is not supported; of what has gone through ReLU or clamp it is")
    view = affine(t, fx, operand(t, fx, a["self"]), 1.0, 1.0)
    call = FunctionCall("limited_log", (1.0 + least,))
    t.views[fx] = View(t.node(fx, "lookup", (view.tensor,), function=call), view.index)


def exponential(t: Translation, fx: FxNode, a: dict) -> None:
    """The exponential function of every element."""
    t.need_tables(fx)
    looked_up(t, fx, a["self"], "exp")


def logarithm(t: Translation, fx: FxNode, a: dict) -> None:
    """The natural logarithm of what cannot be negative."""
    t.need_tables(fx)
    source, least = limited_below(t, a["self"])
    if least is None:
        t.refuse(fx, "the logarithm of what may be negative is not supported; of what has gone through ReLU or clamp it is")
    looked_up(t, fx, source, "limited_log", least)


def divide(t: Translation, fx: FxNode, a: dict) -> None:
    """A quotient by a constant; or by what is computed, which is a product with one by it."""
    value, divisor = a["self"], a["other"]
    if a.get("rounding_mode") is not None:
        t.refuse(fx, f"division with rounding_mode {a['rounding_mode']} is not supported; leave it out")
    dividend, constant = t.number(fx, value), t.number(fx, divisor)
    if constant is not None:
        t.views[fx] = affine(t, fx, operand(t, fx, value), 1 / constant)
        return
    if written_out(t, fx, value, divisor, np.divide):
        return
    t.need_tables(fx)
    if value is divisor:
        t.refuse(fx, "division of a value by itself is not supported; write the number 1")
    view = one_by(t, fx, divisor)
    kept, t.views[divisor] = t.views[divisor], view
    try:
        if dividend is None:
            t.views[fx] = met(t, fx, "multiply", [value, divisor])
        else:
            t.views[fx] = affine(t, fx, operand(t, fx, divisor), dividend)
    finally:
        t.views[divisor] = kept


def one_by(t: Translation, fx: FxNode, divisor: FxNode) -> View:
    """One by every element of a value, in its own shape; of a power the power of opposite sign, from one table."""
    exponent, source = -1.0, divisor
    if _name(divisor) in ("pow", "sqrt"):
        number = t.number(fx, bind(divisor)["exponent"]) if _name(divisor) == "pow" else torch.tensor(0.5)
        if number is not None and number.numel() == 1 and least_of(t, divisor.args[0]) is not None:
            exponent, source = -float(number), divisor.args[0]
    source, least = limited_below(t, source)
    call = FunctionCall("reciprocal") if least is None else FunctionCall("limited_power", (exponent, least))
    found = t.elements(fx, source)
    return View(t.node(fx, "lookup", (found.tensor,), function=call), found.index)


def raised(t: Translation, fx: FxNode, value: FxNode, exponent: float) -> None:
    """A value to a constant power: what limits it from below goes into the table, too."""
    known = {1: None, 2: "square", 3: "cube"}
    if exponent in known:
        if known[exponent] is None:
            t.views[fx] = operand(t, fx, value)
        else:
            looked_up(t, fx, value, known[exponent])
        return
    if exponent > 3 and exponent == int(exponent):
        looked_up(t, fx, value, "whole_power", exponent)
        return
    if exponent < 0:
        t.need_tables(fx)
    source, least = limited_below(t, value)
    if least is None and exponent == -1:
        looked_up(t, fx, value, "reciprocal")
        return
    if exponent == 0 or least is None:
        found = f"{exponent:g}"
        t.refuse(fx, f"the power {found} is not supported; -1 and whole ones above 0 are, and others of what has gone through ReLU or clamp")
    looked_up(t, fx, source, "limited_power", exponent, least)


def limited_below(t: Translation, value: FxNode) -> tuple[FxNode, float | None]:
    """A value, without a lower limit that is the last thing done to it alone, and the least that it can be, None where it may be negative."""
    least = least_of(t, value)
    if least is None or _name(value) not in LIMITING:
        return value, least
    a = bind(value)
    limit = t.number(value, a.get("min", a.get("min_val")))
    alone = limit is not None and len(limit.unique()) == 1 and a.get("max", a.get("max_val")) is None
    return (a["self"], least) if alone else (value, least)


def least_of(t: Translation, value: FxNode) -> float | None:
    """The least that a value's elements can be, where that is known and not negative."""
    name = _name(value)
    if name in NONE_BELOW_ZERO:
        return 0.0
    if name in KEEPING:
        padded = name.startswith("avg_pool") and any(bind(value)["padding"])
        least = least_of(t, value.args[0])
        return 0.0 if padded and least is not None else least
    if name in LIMITING:
        a = bind(value)
        limit = a.get("min", a.get("min_val"))
        number = None if limit is None else t.number(value, limit)
        least = None if number is None else float(number.min())
        if least is None or least < 0:
            return least_of(t, a["self"])
        return least
    if name == "pow":
        exponent, least = t.number(value, bind(value)["exponent"]), least_of(t, value.args[0])
        if exponent is None or exponent.numel() != 1:
            return None
        power = float(exponent)
        return least**power if least is not None and power > 0 else 0.0 if power % 2 == 0 else None
    if name == "add":
        a = bind(value)
        shift = t.number(value, a["other"])
        least = None if shift is None or a.get("alpha", 1) != 1 else least_of(t, a["self"])
        return least + float(shift.min()) if least is not None and shift.min() >= 0 else None
    if name == "getitem":
        return 0.0 if _name(value.args[0]) in ("var_mean", "std_mean") and value.args[1] == 0 else None
    if name in ("pad", "constant_pad_nd"):
        a = bind(value)
        least = least_of(t, a["self"]) if a.get("mode", "constant") == "constant" else None
        return None if least is None or (a["value"] or 0) < 0 else 0.0
    if name in ("mul", "div"):
        a = bind(value)
        if name == "mul" and a["self"] is a["other"]:
            return 0.0
        factor = t.number(value, a["other"])
        least = None if factor is None or (factor <= 0).any() else least_of(t, a["self"])
        return least if least == 0 else None
    if name in ("sum", "sqrt"):
        least = least_of(t, value.args[0])
        return None if least is None else 0.0
    return None


def _name(value: FxNode) -> str:
    return operator_name(value).removeprefix("aten.").rstrip("_") if value.op == "call_function" else ""
