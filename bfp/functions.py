"""Functions of one value that the engine reads from static tables, one record each.

What a table holds is computed once, in float64, when exponents are known, and stored in the artifact: mathematical
libraries differ in the last bit of an exponential, and a network's integers must not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.fields import NAME, checked, number, tuple_of
from bfp.format import BlockFormat, round_half_up

MAX_ARGUMENTS = 4

_erf = np.vectorize(math.erf, otypes=[float])


@dataclass(frozen=True)
class Function:
    """One function.

    evaluate(x, *arguments): float64, same shape as x. arguments: what they are called. least(*arguments): a lower bound
    of all results, None where there is none. pole(*arguments): whether results grow without bound, or nearly so, towards
    zero, which none of a network's values comes near to.
    """

    name: str
    evaluate: Callable[..., np.ndarray]
    arguments: tuple[str, ...] = ()
    least: Callable[..., float | None] = lambda *arguments: None
    pole: Callable[..., bool] = lambda *arguments: False


@dataclass(frozen=True)
class FunctionCall:
    """A function as a node names it. name: of FUNCTIONS; arguments: its constants."""

    name: str = checked(NAME)
    arguments: tuple[float, ...] = checked(tuple_of(number(), 0, MAX_ARGUMENTS), default=())

    def record(self, where: str) -> Function:
        """The function's record. Raises BfpError, which begins with ``where``, for an unknown one or wrong arguments."""
        if self.name not in FUNCTIONS:
            raise BfpError(f"{where}: function {self.name!r} is not supported; known are {', '.join(FUNCTIONS)}")
        found = FUNCTIONS[self.name]
        if len(self.arguments) != len(found.arguments) or not np.isfinite(self.arguments).all():
            wanted = " and ".join(found.arguments) or "none"
            raise BfpError(f"{where}: {self.name} has the arguments {self.arguments}; it takes {wanted}, finite numbers")
        return found

    def can_be_negative(self, where: str) -> bool:
        """Whether a result may be below zero. Raises BfpError as ``record`` does."""
        least = self.record(where).least(*self.arguments)
        return least is None or least < 0

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{a:g}' for a in self.arguments)})" if self.arguments else self.name


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without an overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def softplus(x: np.ndarray, beta: float) -> np.ndarray:
    """log(1 + exp(beta x)) / beta."""
    return np.logaddexp(0.0, beta * x) / beta


def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """x, below zero times the slope."""
    return np.where(x >= 0, x, slope * x)


def elu(x: np.ndarray, alpha: float, scale: float, input_scale: float) -> np.ndarray:
    """scale * x, below zero scale * alpha * (exp(input_scale * x) - 1): ELU, SELU and CELU."""
    return scale * np.where(x >= 0, x, alpha * np.expm1(input_scale * np.minimum(x, 0.0)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The approximation of GELU by a hyperbolic tangent (Hendrycks and Gimpel)."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def limited_power(x: np.ndarray, exponent: float, least: float) -> np.ndarray:
    """What is at least ``least``, which is not below zero, to a constant power."""
    with np.errstate(all="ignore"):
        return np.maximum(x, max(least, 0.0)) ** exponent


def exponential(x: np.ndarray) -> np.ndarray:
    """exp(x); what overflows is infinite."""
    with np.errstate(all="ignore"):
        return np.exp(x)


def logarithm(x: np.ndarray, least: float) -> np.ndarray:
    """The natural logarithm of what is at least ``least``, which is not below zero."""
    with np.errstate(all="ignore"):
        return np.log(np.maximum(x, max(least, 0.0)))


def soft_shrink(x: np.ndarray, limit: float) -> np.ndarray:
    """x, moved towards zero by the limit, and zero within it."""
    return np.sign(x) * np.maximum(np.abs(x) - limit, 0.0)


def hyperbolic(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The function; what overflows is infinite."""

    def evaluate(x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return function(x)

    return evaluate


def reciprocal(x: np.ndarray) -> np.ndarray:
    """1 / x; that of zero is infinite."""
    with np.errstate(all="ignore"):
        return 1.0 / np.asarray(x, np.float64)


FUNCTIONS: dict[str, Function] = {
    f.name: f
    for f in (
        Function("sigmoid", sigmoid, least=lambda: 0.0),
        Function("hardsigmoid", lambda x: np.clip(x / 6 + 0.5, 0.0, 1.0), least=lambda: 0.0),
        Function("tanh", np.tanh, least=lambda: -1.0),
        Function("silu", lambda x: x * sigmoid(x), least=lambda: -0.2785),
        Function("hardswish", lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0), least=lambda: -0.375),
        Function("gelu", lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2))), least=lambda: -0.17),
        Function("gelu_tanh", gelu_tanh, least=lambda: -0.1701),
        Function("mish", lambda x: x * np.tanh(softplus(x, 1.0)), least=lambda: -0.3089),
        Function("softplus", softplus, ("beta",), least=lambda beta: 0.0),
        Function("softsign", lambda x: x / (1.0 + np.abs(x)), least=lambda: -1.0),
        Function("log_sigmoid", lambda x: -softplus(-x, 1.0)),
        Function("leaky_relu", leaky_relu, ("slope",)),
        Function("elu", elu, ("alpha", "scale", "input_scale")),
        Function("abs", np.abs, least=lambda: 0.0),
        Function("swish", lambda x, beta: x * sigmoid(beta * x), ("beta",)),
        Function("erf", _erf, least=lambda: -1.0),
        Function("square", lambda x: x * x, least=lambda: 0.0),
        Function("cube", lambda x: x**3),
        Function(
            "limited_power",
            limited_power,
            ("exponent", "least"),
            least=lambda exponent, least: 0.0,
            pole=lambda exponent, least: exponent < 0,
        ),
        Function("not_below_zero", lambda x: (x >= 0).astype(np.float64), least=lambda: 0.0),
        Function("whole_power", lambda x, exponent: x**exponent, ("exponent",), least=lambda n: None if n % 2 else 0.0),
        Function("sin", np.sin, least=lambda: -1.0),
        Function("cos", np.cos, least=lambda: -1.0),
        Function("atan", np.arctan, least=lambda: -math.pi / 2),
        Function("sign", np.sign, least=lambda: -1.0),
        Function("floor", np.floor),
        Function("ceil", np.ceil),
        Function("round", np.rint),
        Function("trunc", np.trunc),
        Function("sinh", hyperbolic(np.sinh)),
        Function("cosh", hyperbolic(np.cosh), least=lambda: 1.0),
        Function("expm1", hyperbolic(np.expm1), least=lambda: -1.0),
        Function("softshrink", soft_shrink, ("limit",)),
        Function("hardshrink", lambda x, limit: np.where(np.abs(x) > limit, x, 0.0), ("limit",)),
        Function("threshold", lambda x, limit, value: np.where(x > limit, x, value), ("limit", "value"), least=lambda t, v: min(t, v)),
        Function("exp", exponential, least=lambda: 0.0),
        Function("limited_log", logarithm, ("least",), pole=lambda least: True),
        Function("reciprocal", reciprocal, pole=lambda: True),
    )
}


def table_of(call: FunctionCall, source: BlockFormat, target: BlockFormat, where: str) -> np.ndarray:
    """The mantissas of the results for every mantissa of the operand, int16 [2**bits].

    The mantissa's two's complement is the index. All blocks of source and target must have one exponent each. Half up,
    saturated; the code that no signed mantissa has gets the entry of the one beside it. Raises BfpError.
    """
    record = call.record(where)
    for what, fmt in (("operand", source), ("result", target)):
        if len(set(fmt.exponents)) != 1:
            raise BfpError(f"{where}: the {what} of a table has one exponent, not {len(set(fmt.exponents))}")
    codes = np.arange(2**source.bits)
    mantissas = np.where(codes >= 2 ** (source.bits - 1), codes - 2**source.bits, codes) if source.signed else codes
    values = np.ldexp(np.clip(mantissas, source.low, source.high).astype(np.float64), source.exponents[0])
    results = np.ldexp(record.evaluate(values, *call.arguments), -target.exponents[0])
    return np.clip(round_half_up(results), target.low, target.high).astype(np.int16)
