"""A network's last steps that compute with constants, of all of a value or of parts of an axis that are put together again.

    y = x.sigmoid()
    centre, size = (y[..., :2] * 2 - 0.5 + grid) * stride, (y[..., 2:4] * 2) ** 2 * anchors
    return torch.cat([centre, size, y[..., 4:]], -1)

Such is what detectors do to decode their boxes. Each part becomes steps of bfp.host_columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch.fx import Node as FxNode

from bfp.host_columns import MOST_TABLE, bits_of
from calib.frontend.constants import LIKE, evaluate, is_constant
from calib.frontend.translation import Translation, axis, bind, operator_name, shape_of

MOST_PARTS = 8  # indices of an axis that get constants of their own
CLOSE = 1e-6  # relative; between a grid's places and a constant's values
UNARY = {"sigmoid": "sigmoid_of", "tanh": "tanh_of", "exp": "exp_of", "square": "square_of"}
Steps = tuple[str, ...]


class Constants:
    """Values of a program that do not depend on the image, computed when they are asked for."""

    def __init__(self, t: Translation, nodes: Iterable[FxNode]) -> None:
        self._t = t
        self._order = {node: n for n, node in enumerate(nodes)}
        self._of_image: set[FxNode] = set()
        for node in self._order:
            stored = node.op == "placeholder" and node in t.constants
            reads = any(v in self._of_image for v in node.all_input_nodes) and operator_name(node) not in LIKE
            if node.op == "placeholder" and not stored or reads:
                self._of_image.add(node)

    def depends(self, node: FxNode) -> bool:
        """Whether a value of the program depends on the image."""
        return node in self._of_image

    def value(self, operand: object) -> np.ndarray | None:
        """A number or a stored value, float64; None for what depends on the image, or cannot be known."""
        if isinstance(operand, (int, float)):
            return np.array(operand, np.float64)
        if not isinstance(operand, FxNode) or operand in self._of_image:
            return None
        needed, waiting = set(), [operand]
        while waiting:
            node = waiting.pop()
            if node not in needed and node not in self._t.constants:
                needed.add(node)
                waiting += [] if operator_name(node) in LIKE else node.all_input_nodes
        for node in sorted(needed, key=self._order.__getitem__):
            if node.op != "call_function" or not is_constant(self._t, node):
                return None
            evaluate(self._t, node)
        found = self._t.constants[operand]
        return found.detach().double().numpy() if isinstance(found, torch.Tensor) else None


@dataclass(frozen=True)
class Span:
    """Indices from start to stop of one axis of a value whose shape is ``shape``."""

    shape: tuple[int, ...]
    axis: int
    start: int
    stop: int

    def written(self, name: str, *numbers: int) -> Steps:
        """One step of these indices."""
        return (".".join(str(n) for n in (name, self.axis, self.start, self.stop, *numbers)),)

    @property
    def part(self) -> tuple[int, ...]:
        """The shape of the values at these indices."""
        return (*self.shape[: self.axis], self.stop - self.start, *self.shape[self.axis + 1 :])


def with_constant(fx: FxNode, known: Constants) -> tuple[FxNode, Steps] | None:
    """What a call reads and the steps for it, where it computes with a value of the same shape and a constant."""
    value = _operand(fx, known)
    if value is None or len(shape_of(fx)) < 2 or shape_of(value) != shape_of(fx):
        return None
    shape = shape_of(fx)
    steps = _steps(fx, Span(shape, len(shape) - 1, 0, shape[-1]), known)
    return None if steps is None else (value, steps)


def joined(fx: FxNode, known: Constants) -> tuple[FxNode, Steps] | None:
    """What a concatenation reads and the steps for it, where it puts all parts of one axis of a value together again."""
    a = bind(fx)
    where = axis(a["dim"], len(shape_of(fx)))
    if where == 0:
        return None
    found = _put_together(a["tensors"], where, 0, known)
    return found[:2] if found is not None and found[2] == shape_of(found[0])[where] else None


def _put_together(branches: list[FxNode], where: int, start: int, known: Constants) -> tuple[FxNode, Steps, int] | None:
    """Values side by side along an axis as parts of one value, from index ``start``: that one, the steps, where they end.

    A part may be put together itself, as where some of it was written in place.
    """
    source, steps = None, ()
    for branch in branches:
        chain, value = [], branch
        while (before := _operand(value, known)) is not None:
            chain.insert(0, value)
            value = before
        found = _parts(value, where, start, known)
        if found is None or source not in (None, found[0]):
            return None
        source, inner, stop = found
        steps += inner
        for call in chain:
            more = _steps(call, Span(shape_of(source), where, start, stop), known)
            if more is None or shape_of(call) != shape_of(value):
                return None
            steps += more
        start = stop
    return None if source is None else (source, steps, start)


def _parts(value: FxNode, where: int, start: int, known: Constants) -> tuple[FxNode, Steps, int] | None:
    """What a value takes of another one along an axis from index ``start``: that one, steps in it, where it ends."""
    if operator_name(value) == "aten.cat":
        a = bind(value)
        along = axis(a["dim"], len(shape_of(value)))
        return _put_together(a["tensors"], where, start, known) if along == where else None
    found = part_of_axis(value)
    return (found[0], (), found[3]) if found is not None and found[1:3] == (where, start) else None


def part_of_axis(fx: FxNode) -> tuple[FxNode, int, int, int] | None:
    """The value that a call takes some indices of an axis of, the axis, the first index and the one behind the last."""
    name = operator_name(fx).removeprefix("aten.")
    if name == "slice":
        a = bind(fx)
        where = axis(a["dim"], len(shape_of(a["self"])))
        size = shape_of(a["self"])[where]
        start, stop, _ = slice(a["start"], a["end"]).indices(size)
        return (a["self"], where, start, stop) if a["step"] == 1 and start < stop else None
    if name == "getitem" and operator_name(fx.args[0]) in ("aten.split_with_sizes", "aten.split", "aten.chunk"):
        a = bind(fx.args[0])
        where = axis(a["dim"], len(shape_of(a["self"])))
        sizes = [part.shape[where] for part in fx.args[0].meta["val"]]
        start = sum(sizes[: fx.args[1]])
        return a["self"], where, start, start + sizes[fx.args[1]]
    return None


def _operand(fx: FxNode, known: Constants) -> FxNode | None:
    """What a call computes with that depends on the image, where the rest of it is constant, and steps are known for it."""
    if fx.op != "call_function":
        return None
    name = operator_name(fx).removeprefix("aten.").rstrip("_")
    if name in UNARY or name == "pow":
        return fx.args[0] if isinstance(fx.args[0], FxNode) and known.value(fx.args[0]) is None else None
    if name not in BINARY:
        return None
    a = bind(fx)
    operands = [a["self"], a["other"]]
    images = [v for v in operands if isinstance(v, FxNode) and known.value(v) is None]
    good = len(images) == 1 and a.get("alpha", 1) == 1 and a.get("rounding_mode") is None
    return images[0] if good and (images[0] is operands[0] or name in ("add", "mul")) else None


def _steps(fx: FxNode, span: Span, known: Constants) -> Steps | None:
    """The steps of one call of ``_operand``, of these indices; None where its constants do not fit into steps."""
    name = operator_name(fx).removeprefix("aten.").rstrip("_")
    if name in UNARY:
        return span.written(UNARY[name])
    a = bind(fx)
    if name == "pow":
        return span.written("square_of") if known.value(a["exponent"]) is not None and a["exponent"] == 2 else None
    value = known.value(a["other"])
    step, change = BINARY[name]
    with np.errstate(all="ignore"):
        constant = change(known.value(a["self"]) if value is None else value)
    if not np.isfinite(constant).all() or len(np.broadcast_shapes(constant.shape, span.part)) != len(span.part):
        return None
    return _constant_steps(np.broadcast_to(constant, span.part), span, step)


BINARY: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "add": ("add_to", lambda c: c),
    "sub": ("add_to", lambda c: -c),
    "mul": ("multiply_by", lambda c: c),
    "div": ("multiply_by", lambda c: 1 / c),
}


def _constant_steps(constant: np.ndarray, span: Span, step: str) -> Steps | None:
    """The steps that add a constant of the span's shape, or multiply by it; None where that has no such form."""
    differs = [n for n in range(1, constant.ndim) if (constant != np.take(constant, [0], n)).any()]
    if len(differs) <= 1:
        along = differs[0] if differs else span.axis
        line = np.moveaxis(constant, along, -1).reshape(-1, constant.shape[along])[0]
        return _along(line, along, span, step)
    count = span.stop - span.start
    if not 1 < count <= MOST_PARTS:
        return None
    found: Steps = ()
    for n in range(count):
        one = Span(span.shape, span.axis, span.start + n, span.start + n + 1)
        steps = _constant_steps(np.take(constant, [n], span.axis), one, step)
        if steps is None:
            return None
        found += steps
    return found


def _along(line: np.ndarray, along: int, span: Span, step: str) -> Steps | None:
    """One step for constants that differ along one axis: as a table that comes round, or as a grid."""
    changes = np.flatnonzero(np.diff(line))
    run = int(changes[0]) + 1 if len(changes) else len(line)
    places = line[::run]
    at = np.arange(len(line)) // run
    for count in range(1, min(MOST_TABLE, len(places)) + 1):
        if np.array_equal(places[at % count], line):
            return span.written(step, along, run, *(bits_of(v) for v in places[:count]))
    back = np.flatnonzero(places[1:] == places[0])
    count = int(back[0]) + 1 if len(back) else len(places)
    first, width = places[0], places[1] - places[0]
    close = np.abs(first + width * (at % count) - line).max() <= CLOSE * np.abs(line).max()
    return span.written("add_grid", along, run, count, bits_of(first), bits_of(width)) if close and step == "add_to" else None
