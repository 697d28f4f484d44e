"""Powers of values, and what of a program's values cannot be negative, as the program itself shows."""

from __future__ import annotations

from torch.fx import Node as FxNode

from calib.frontend.arithmetic import looked_up, operand
from calib.frontend.translation import Translation, bind, operator_name

# whose results are among the values of the first operand, or means or sums of them
KEEPING = frozenset(
    "view reshape _unsafe_view flatten squeeze unsqueeze permute transpose contiguous clone detach slice select expand dropout "
    "avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d max_pool2d mean amax".split()
)
NONE_BELOW_ZERO = frozenset("relu relu6 sigmoid hardsigmoid abs softplus square softmax".split())
LIMITING = frozenset("clamp clamp_min clip hardtanh".split())


def power(t: Translation, fx: FxNode, a: dict) -> None:
    """The second or third power of every element, or any positive one of what cannot be negative."""
    number = t.number(fx, a["exponent"])
    if number is None or len(number.unique()) != 1:
        t.refuse(fx, f"the power {a['exponent']} is not supported; only one number for all elements is")
    raised(t, fx, a["self"], float(number.reshape(-1)[0]))


def root(t: Translation, fx: FxNode, a: dict) -> None:
    """The square root of what cannot be negative."""
    raised(t, fx, a["self"], 0.5)


def raised(t: Translation, fx: FxNode, value: FxNode, exponent: float) -> None:
    """A value to a constant power: what limits it from below goes into the table, too."""
    known = {1: None, 2: "square", 3: "cube"}
    if exponent in known:
        if known[exponent] is None:
            t.views[fx] = operand(t, fx, value)
        else:
            looked_up(t, fx, value, known[exponent])
        return
    source, least = limited_below(t, value)
    if exponent <= 0 or least is None:
        found = f"{exponent:g}"
        t.refuse(fx, f"the power {found} is not supported; 1, 2 and 3 are, and other positive ones of what has gone through ReLU or clamp")
    looked_up(t, fx, source, "limited_power", exponent, least)


def limited_below(t: Translation, value: FxNode) -> tuple[FxNode, float | None]:
    """A value, without a lower limit that is the last thing done to it alone, and the least that it can be, None where it may be negative."""
    least = least_of(t, value)
    if least is None or _name(value) not in LIMITING:
        return value, least
    a = bind(value)
    return (value, least) if a.get("max", a.get("max_val")) is not None else (a["self"], least)


def least_of(t: Translation, value: FxNode) -> float | None:
    """The least that a value's elements can be, where that is known and not negative."""
    name = _name(value)
    if name in NONE_BELOW_ZERO:
        return 0.0
    if name in KEEPING:
        padded = name in ("avg_pool2d",) and any(bind(value)["padding"])
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
    if name == "sum":
        least = least_of(t, value.args[0])
        return None if least is None else 0.0
    return None


def _name(value: FxNode) -> str:
    return operator_name(value).removeprefix("aten.").rstrip("_") if value.op == "call_function" else ""
