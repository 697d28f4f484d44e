"""Functions of one value with Python's own mathematics, and the entries of their tables."""

from __future__ import annotations

import math
from fractions import Fraction

from bfp.functions import FUNCTIONS, FunctionCall
from bfp.tables import Table

TIE = 1e-9  # of an output's step: nearer to a half, mathematical libraries may round to either side


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def hard(x: float) -> float:
    return min(max(x + 3, 0.0), 6.0) / 6


def gelu_tanh(x: float) -> float:
    return x / 2 * (1 + math.tanh((x + 0.044715 * x * x * x) * math.sqrt(2 / math.pi)))


def elu(x: float, alpha: float, scale: float, input_scale: float) -> float:
    return scale * x if x > 0 else scale * alpha * math.expm1(x * input_scale)


def limited_power(x: float, exponent: float, least: float) -> float:
    base = max(x, least, 0.0)
    return base**exponent if base or exponent >= 0 else math.inf


FUNCTION = Table(
    "plain integers",
    "function",
    list(FUNCTIONS),
    {
        "sigmoid": sigmoid,
        "hardsigmoid": hard,
        "tanh": math.tanh,
        "silu": lambda x: x * sigmoid(x),
        "hardswish": lambda x: x * hard(x),
        "gelu": lambda x: x / 2 * math.erfc(-x / math.sqrt(2)),
        "gelu_tanh": gelu_tanh,
        "mish": lambda x: x * math.tanh(softplus(x)),
        "softplus": lambda x, beta: softplus(beta * x) / beta,
        "softsign": lambda x: x / (1 + abs(x)),
        "log_sigmoid": lambda x: -softplus(-x),
        "leaky_relu": lambda x, slope: x if x > 0 else slope * x,
        "elu": elu,
        "abs": abs,
        "swish": lambda x, beta: x * sigmoid(beta * x),
        "erf": math.erf,
        "square": lambda x: x * x,
        "cube": lambda x: x * x * x,
        "limited_power": limited_power,
        "whole_power": lambda x, exponent: Fraction(x) ** int(exponent),
        **{name: getattr(math, name) for name in ("sin", "cos", "atan", "floor", "ceil", "trunc")},
        "sinh": lambda x: math.sinh(x) if abs(x) < 700 else math.copysign(math.inf, x),
        "cosh": lambda x: math.cosh(x) if abs(x) < 700 else math.inf,
        "expm1": lambda x: math.expm1(x) if x < 700 else math.inf,
        "sign": lambda x: (x > 0) - (x < 0),
        "round": round,
        "softshrink": lambda x, limit: x - limit if x > limit else x + limit if x < -limit else 0,
        "hardshrink": lambda x, limit: x if abs(x) > limit else 0,
        "threshold": lambda x, limit, value: x if x > limit else value,
        "exp": lambda x: math.exp(x) if x < 700 else math.inf,
        "limited_log": lambda x, least: math.log(max(x, least)) if max(x, least) > 0 else -math.inf,
        "reciprocal": lambda x: 1 / x if x else math.inf,
        "not_below_zero": lambda x: float(x >= 0),
    },
)


def entry(call: FunctionCall, q: int, source: int, target: int, limits: tuple[int, int], stored: int) -> int:
    """The result's mantissa for an operand's: rounded half up, saturated.

    source, target: exponents. stored: what the artifact's table has, which decides where the value is all but a half.
    """
    result, (low, high) = FUNCTION[call.name](float(q * Fraction(2) ** source), *call.arguments), limits
    if math.isinf(result):
        return high if result > 0 else low
    value = Fraction(result) / Fraction(2) ** target
    nearest = math.floor(value + Fraction(1, 2))
    beside = [math.floor(value + Fraction(1, 2) + side * Fraction(TIE)) for side in (-1, 1)]
    allowed = {min(max(found, low), high) for found in (nearest, *beside)}
    return stored if stored in allowed else min(max(nearest, low), high)
