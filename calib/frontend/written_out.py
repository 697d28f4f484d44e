"""Functions of one value that a network writes out, such as ``x * sigmoid(x)``: known by what they compute.

Two values that are met element by element may both be computed from one value alone. The draft's own nodes say how; so
their product or quotient is drawn as a curve over that value, and compared with the curves of the functions that the
engine has tables of. No spelling has to be listed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bfp.functions import FUNCTIONS, FunctionCall
from bfp.graph import Node
from calib.frontend.builder import Draft
from calib.frontend.views import View

GRID = np.concatenate([-np.geomspace(12, 0.01, 120), np.geomspace(0.01, 12, 120)])
CLOSE = 1e-5  # what constants that are written with six digits change
MOST_NODES = 16  # of a function that is written out
WRITTEN_OUT = ("silu", "hardswish", "gelu", "gelu_tanh", "mish", "softsign")
DIGITS = 10  # of a constant that is found from a curve

Curve = np.ndarray  # float64 [points of GRID]


def function_of_both(
    draft: Draft, views: tuple[View, View], join: Callable[[Curve, Curve], Curve]
) -> tuple[View, FunctionCall, float] | None:
    """The known function that ``join`` of two views is: of which view, its call, and what the result is times.

    None where the two have no value in common, or are no function of it that there is a table of. Of several values that
    both are computed from it is the last one.
    """
    orders = [v.index for v in views]
    alike = all(o is None for o in orders) or all(o is not None for o in orders) and np.array_equal(*orders)
    if not alike:
        return None
    first, second = ([v.tensor, *_ancestors(draft, v.tensor)] for v in views)
    common = set(first) & set(second)
    for base in (t for t in dict.fromkeys([*draft.inputs, *(n.output for n in draft.nodes)][::-1]) if t in common):
        curves = [_curve(draft, v.tensor, base) for v in views]
        if curves[0] is None or curves[1] is None:
            continue
        with np.errstate(all="ignore"):
            found = _known(join(*curves))
        if found is not None:
            return View(base, orders[0]), *found
    return None


def _ancestors(draft: Draft, tensor: str) -> list[str]:
    """The tensors that a tensor is computed from element by element, as far as that goes."""
    found, todo = [], [tensor]
    while todo and len(found) < MOST_NODES:
        node = draft.producer(todo.pop())
        if node is not None and _step(draft, node) is not None:
            new = [t for t in node.inputs if t not in found]
            found, todo = found + new, todo + new
    return found


def _curve(draft: Draft, tensor: str, base: str) -> Curve | None:
    """What a tensor is where another one is GRID; None where it also depends on something else."""
    if tensor == base:
        return GRID
    node = draft.producer(tensor)
    step = None if node is None else _step(draft, node)
    if step is None:
        return None
    operands = [_curve(draft, t, base) for t in node.inputs]
    if any(o is None for o in operands):
        return None
    result = step(*operands)
    low, high = node.act.low, node.act.high
    return result if low is None and high is None else np.clip(result, low, high)


def _step(draft: Draft, node: Node) -> Callable[..., Curve] | None:
    """What a node does to each element, before its activation; None where that is not the same for all elements."""
    if node.op in ONE_BY_ONE:
        return ONE_BY_ONE[node.op]
    if node.function is not None:
        return lambda x: FUNCTIONS[node.function.name].evaluate(x, *node.function.arguments)
    if node.name not in draft.affine:
        return None
    scale, shift = (a.reshape(-1) for a in draft.weights[node.name])
    if (scale != scale[0]).any() or (shift != shift[0]).any():
        return None
    return lambda x: x * float(scale[0]) + float(shift[0])


ONE_BY_ONE: dict[str, Callable[..., Curve]] = {
    "identity": lambda x: x,
    "add": np.add,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def _known(curve: Curve) -> tuple[FunctionCall, float] | None:
    """A known function of GRID, and a factor, whose product is this curve."""
    if not np.isfinite(curve).all() or not curve.any():
        return None
    for call in (*map(FunctionCall, WRITTEN_OUT), *_gated(curve)):
        values = FUNCTIONS[call.name].evaluate(GRID, *call.arguments)
        at = int(np.abs(values).argmax())
        factor = _short(curve[at] / values[at])
        if factor and np.allclose(curve, factor * values, rtol=CLOSE, atol=CLOSE * abs(factor)):
            return call, factor
    return None


def _gated(curve: Curve) -> list[FunctionCall]:
    """The product of a value and the sigmoid of a multiple of it that a curve f may be: c x = f(x) - f(-x) for all x."""
    at = int(np.abs(GRID - 1).argmin())
    whole = curve[at] - curve[len(GRID) - 1 - at]
    gate = curve[at] / whole if whole else 0.0
    return [FunctionCall("swish", (_short(np.log(gate / (1 - gate)) / GRID[at]),))] if 0 < gate < 1 else []


def _short(value: float) -> float:
    """A number without the digits that computing it has put there."""
    return float(f"{value:.{DIGITS}g}")
