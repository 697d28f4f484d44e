"""What lies behind the last operator that the engine has: steps that the host computes (bfp.host_operators)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from math import prod

import numpy as np
import torch
from torch.fx import Node as FxNode

from bfp.host_operators import MOST_AXES, TINY
from calib.frontend.decoding import Constants, joined, part_of_axis, with_constant
from calib.frontend.refusals import Refusal
from calib.frontend.translation import Translation, axis, bind, operator_name, shape_of
from calib.frontend.views import is_order


@dataclass(frozen=True)
class Step:
    """A call at the end of a network. operand: what it reads; steps: of bfp.host_operators, what the host does for it.

    moves: it only moves elements, which the engine's layers may do as well.
    """

    fx: FxNode
    operand: FxNode
    steps: tuple[str, ...]
    moves: bool


@dataclass(frozen=True)
class Tail:
    """The end of one result. steps: in order, of which those from ``first`` on are only the host's to compute.

    source: the value that the engine's part ends with.
    """

    result: FxNode
    steps: tuple[Step, ...]
    first: int

    @property
    def source(self) -> FxNode:
        return self.steps[self.first].operand if self.first < len(self.steps) else self.result


def written(name: str, *numbers: int) -> tuple[str, ...]:
    """One step with its numbers."""
    return (".".join([name, *(str(n) for n in numbers)]),)


def along(name: str, key: str = "dim") -> Callable[[FxNode, dict], tuple[str, ...] | None]:
    """A step along one axis other than the batch."""

    def steps(fx: FxNode, a: dict) -> tuple[str, ...] | None:
        where = axis(a[key], len(shape_of(a["self"]))) + (not has_batch(a["self"]))
        return written(name, where) if where > 0 else None

    return steps


def elementwise(name: str) -> Callable[[FxNode, dict], tuple[str, ...] | None]:
    """A step of every value for itself."""
    return lambda fx, a: written(name)


def argmax(fx: FxNode, a: dict) -> tuple[str, ...] | None:
    """The index of the largest value along an axis other than the batch."""
    if a.get("dim") is None:
        return None
    where = axis(a["dim"], len(shape_of(a["self"]))) + (not has_batch(a["self"]))
    # of one answer for an image its axis stays, so that an image has values
    kept = a["keepdim"] or len(shape_of(a["self"])) + (not has_batch(a["self"])) == 2
    return written("argmax", where, int(kept)) if where > 0 else None


def permute(fx: FxNode, a: dict) -> tuple[str, ...] | None:
    """Axes in another order, whichever operator says so: that of a value whose sizes are the axes' numbers shows it."""
    rank = len(shape_of(a["self"]))
    order = fx.target(torch.empty(tuple(range(1, rank + 1)), device="meta"), *fx.args[1:], **fx.kwargs).shape
    axes = [size - 1 for size in order] if has_batch(a["self"]) else [0, *order]
    return written("permute", *axes) if axes[0] == 0 else None


def reshape(fx: FxNode, a: dict) -> tuple[str, ...] | None:
    """The same values in another shape."""
    sizes = image_shape(fx)
    return None if sizes is None else written("reshape", *(sizes or (1,)))


def pixel_shuffle(fx: FxNode, a: dict) -> tuple[str, ...] | None:
    """Squares of channels as squares of pixels."""
    shape, r = shape_of(a["self"]), a["upscale_factor"]
    if len(shape) != 4 or shape[0] != 1:
        return None
    _, channels, height, width = shape
    apart = written("reshape", channels // (r * r), r, r, height, width)
    return apart + written("permute", 0, 1, 4, 2, 5, 3) + written("reshape", *shape_of(fx)[1:])


def resize(name: str, *keys: str) -> Callable[[FxNode, dict], tuple[str, ...] | None]:
    """A map in another size: ``size`` gives it, or factors that the sizes follow exactly."""

    def steps(fx: FxNode, a: dict) -> tuple[str, ...] | None:
        old, new = shape_of(a["input" if "input" in a else "self"])[2:], shape_of(fx)[2:]
        factors = a.get("scale_factors") or [b / n for n, b in zip(old, new)]
        exact = all(n * f == b for n, f, b in zip(old, factors, new)) and a.get("scales_h") is None
        return written(name, *new, *(int(a[key]) for key in keys)) if exact else None

    return steps


def has_batch(fx: FxNode) -> bool:
    """Whether axis 0 of a value is the batch: ``squeeze`` takes that of a single image away, and all others keep what there is."""
    if fx.op != "call_function":
        return True
    name = operator_name(fx).removeprefix("aten.").rstrip("_")
    if name in KEEPING:
        return all(has_batch(v) for v in fx.args[:1] if isinstance(v, FxNode))
    if name != "squeeze" or not has_batch(fx.args[0]):
        return name != "squeeze"
    shape, dims = shape_of(fx.args[0]), bind(fx).get("dim")
    dims = range(len(shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    return shape[0] != 1 or not any(axis(d, len(shape)) == 0 for d in dims)


def image_shape(fx: FxNode) -> tuple[int, ...] | None:
    """The shape of a value without its batch axis, None where that has gone otherwise than by a squeeze."""
    shape = shape_of(fx)
    if not has_batch(fx):
        return shape
    return shape[1:] if shape[:1] == (1,) else None


def nothing(fx: FxNode, a: dict) -> tuple[str, ...] | None:
    """The value as it is."""
    return ()


# whose result has a batch axis where the first operand has one
KEEPING = frozenset(
    "sigmoid tanh contiguous clone detach alias linear softmax _softmax log_softmax _log_softmax dropout relu relu6 hardtanh "
    "clamp leaky_relu elu gelu silu hardswish add sub mul div neg permute transpose swapaxes movedim "
    "slice select getitem split split_with_sizes chunk".split()
)
COMPUTED = {
    "softmax": along("softmax"),
    "_softmax": along("softmax"),
    "log_softmax": along("log_softmax"),
    "_log_softmax": along("log_softmax"),
    "sigmoid": elementwise("sigmoid"),
    "tanh": elementwise("tanh"),
    "argmax": argmax,
    "upsample_nearest2d": resize("nearest"),
    "upsample_bilinear2d": resize("bilinear", "align_corners"),
}
MOVED = {
    **dict.fromkeys("permute transpose swapaxes swapdims movedim moveaxis t numpy_T mT".split(), permute),
    **dict.fromkeys("view reshape _unsafe_view flatten squeeze unsqueeze unflatten".split(), reshape),
    **dict.fromkeys("contiguous clone detach alias _to_copy to".split(), nothing),
    "pixel_shuffle": pixel_shuffle,
}


def tail(result: FxNode, known: Constants) -> Tail:
    """The calls at the end of one result that the host could compute.

    What is read by something else as well is computed for each reader: moves are nothing, and the engine has none of
    the others.
    """
    steps: list[Step] = []
    value = result
    while (step := _step(value, known)) is not None:
        steps.insert(0, step)
        value = step.operand
    first = next((n for n, step in enumerate(steps) if not step.moves), len(steps))
    return Tail(result, tuple(steps), first)


def finish(t: Translation, end: Tail) -> tuple[str, tuple[str, ...]]:
    """The tensor of the draft that the engine ends with, and the host's steps behind it. Raises Refusal."""
    result, steps, start = end.result, end.steps, end.first
    if start == len(steps):
        t.enlarges = False
        try:
            return t.tensor(result, result), ()
        except Refusal:
            if not steps and ordering(t, result) is None:
                t.enlarges = True
                return t.tensor(result, result), ()
        finally:
            t.enlarges = True
    last = result
    for first in range(start, -1, -1):
        last = steps[first].operand if first < len(steps) else result
        if t.view(last, last).index is None or first == 0:
            break
    behind = tuple(s for step in steps[first:] for s in step.steps)
    view = t.view(last, last)
    try:
        tensor, before = t.tensor(last, last), written("reshape", *(image_shape(last) or (1,)))
    except Refusal:
        before = ordering(t, last)
        if before is None:
            raise
        return view.tensor, before + behind
    return tensor, before + behind if behind else ()


def ordering(t: Translation, fx: FxNode, sizes: tuple[int, ...] | None = None) -> tuple[str, ...] | None:
    """The host's steps from a value's tensor to the value, None where axes in another order do not make it.

    sizes: the value's shape, of one image, where it is not ``image_shape``.
    """
    view, sizes = t.view(fx, fx), image_shape(fx) if sizes is None else sizes
    count = prod(t.draft.shapes[view.tensor])
    if view.index is None or sizes is None or not is_order(view.index, count):
        return None
    steps = moved_axes(view.index.reshape(sizes))
    return None if steps is None else steps + written("reshape", *sizes)


def moved_axes(index: np.ndarray) -> tuple[str, ...] | None:
    """The steps that bring elements that lie in order into the order of an index; None where no axes apart from each other,
    in another order, do that."""
    lines = [np.moveaxis(index, n, -1).reshape(-1, size)[0] for n, size in enumerate(index.shape)]
    split = [strides(line - line[0]) for line in lines]
    if any(s is None for s in split):
        return None
    parts = [part for axis_parts in split for part in axis_parts]
    by_stride = sorted(range(len(parts)), key=lambda n: -parts[n][1])
    apart = [parts[n][0] for n in by_stride]
    order = np.argsort(by_stride)
    if not parts or prod(apart) != index.size or len(apart) >= MOST_AXES:
        return None
    if not np.array_equal(np.arange(index.size).reshape(apart).transpose(order).reshape(-1), index.reshape(-1)):
        return None
    return written("reshape", *apart) + written("permute", 0, *(int(n) + 1 for n in order))


def strides(line: np.ndarray) -> list[tuple[int, int]] | None:
    """The axes, each a size and a stride, that the numbers along one axis are made of; None where they are of none.

    A pixel shuffle makes one axis of two.
    """
    if len(line) == 1:
        return []
    step = int(line[1] - line[0])
    other = np.flatnonzero(np.diff(line) != step)
    size = int(other[0]) + 1 if len(other) else len(line)
    if len(line) % size or not np.array_equal((line[::size, None] + step * np.arange(size)).reshape(-1), line):
        return None
    outer = strides(line[::size])
    return None if outer is None else [*outer, (size, step)]


def _step(fx: FxNode, known: Constants) -> Step | None:
    """The call as one that the host could compute, None where it cannot."""
    if fx.op != "call_function":
        return None
    name = operator_name(fx).removeprefix("aten.").rstrip("_")
    found = joined(fx, known) if name == "cat" else with_constant(fx, known) if name not in COMPUTED else None
    if found is not None and has_batch(found[0]):
        # constants of channels are the engine's, too, as long as nothing before them is the host's alone
        return Step(fx, *found, moves=not any(step.split(".")[0] not in ("add_to", "multiply_by") for step in found[1]))
    if name in ("slice", "select", "getitem"):
        return _one_of_two(fx) or _part(fx) if name == "getitem" else _part(fx)
    if name == "div":
        return _normalised(fx, known)
    steps_of = COMPUTED | MOVED
    if name not in steps_of or not isinstance(fx.args[0], FxNode):
        return None
    steps = steps_of[name](fx, bind(fx))
    return None if steps is None else Step(fx, fx.args[0], steps, name in MOVED)


def _part(fx: FxNode) -> Step | None:
    """Some indices of an axis, or one of them without the axis."""
    gone: tuple[str, ...] = ()
    if operator_name(fx) == "aten.select":
        a = bind(fx)
        where, value = axis(a["dim"], len(shape_of(a["self"]))), a["self"]
        start = a["index"] % shape_of(value)[where]
        stop, gone = start + 1, written("reshape", *(image_shape(fx) or (1,)))
    elif (found := part_of_axis(fx)) is not None:
        value, where, start, stop = found
    else:
        return None
    where += not has_batch(value)
    if where == 0 or image_shape(fx) is None:
        return None
    return Step(fx, value, written("part", where, start, stop) + gone, moves=True)


def _one_of_two(fx: FxNode) -> Step | None:
    """Values or indices of the largest elements along an axis."""
    source, index = fx.args
    name = operator_name(source)
    if name not in ("aten.topk", "aten.max"):
        return None
    a = bind(source)
    if "dim" not in a or not a.get("largest", True):
        return None
    where = axis(a["dim"], len(shape_of(a["self"]))) + (not has_batch(a["self"]))
    if where == 0:
        return None
    kind = ("largest", "largest_at")[index]
    steps = written(kind, a.get("k", 1), where)
    if name == "aten.max" and not a["keepdim"]:
        steps += written("reshape", *(shape_of(fx)[has_batch(a["self"]) :] or (1,)))
    return Step(fx, a["self"], steps, moves=False)


def _normalised(fx: FxNode, known: Constants) -> Step | None:
    """Vectors divided by their length, as functional.normalize and ``x / x.norm()`` write it."""
    value, divisor = fx.args[:2]
    if not isinstance(value, FxNode) or not isinstance(divisor, FxNode):
        return None
    inner = divisor
    while operator_name(inner) in ("aten.expand_as", "aten.expand", "aten.clamp_min", "aten.clamp"):
        if operator_name(inner) in ("aten.clamp_min", "aten.clamp") and not _at_least_a_little(bind(inner), known):
            return None
        inner = inner.args[0]
    if operator_name(inner) != "aten.linalg_vector_norm":
        return None
    a = bind(inner)
    axes = a["dim"] or []
    if a["self"] is not value or a["ord"] != 2 or len(axes) != 1 or not a["keepdim"]:
        return None
    where = axis(axes[0], len(shape_of(value))) + (not has_batch(value))
    return Step(fx, value, written("normalise", where), moves=False) if where > 0 else None


def _at_least_a_little(a: dict, known: Constants) -> bool:
    """Whether a clamp's only limit is a positive number that no length comes near to."""
    low = known.value(a["min"])
    return low is not None and a.get("max") is None and low.size == 1 and 0 < low.min() <= TINY
