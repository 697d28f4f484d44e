"""What only moves elements: views, permutations, slices, concatenations."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch.fx import Node as FxNode
from torch.fx.node import map_arg

from bfp.graph import Window
from calib.frontend.constant_maps import constant_map
from calib.frontend.pieces import MOST_WEIGHTS
from calib.frontend.translation import Translation, axis, operator_name, shape_of
from calib.frontend.views import View

# what takes elements at the places that another operand says; of other operators that one's shape alone counts
AT_PLACES = ("aten.index", "aten.index_select")


def unchanged(t: Translation, fx: FxNode, a: dict) -> None:
    """The same elements in the same shape."""
    t.views[fx] = t.view(fx, a.get("self", a.get("input")))


def reshape(t: Translation, fx: FxNode, a: dict) -> None:
    """The same elements, in the same order, in another shape."""
    view = t.view(fx, a["self"])
    t.views[fx] = view if view.index is None else View(view.tensor, view.index.reshape(shape_of(fx)))


def rearrange(t: Translation, fx: FxNode, a: dict) -> None:
    """Any operator of one value that moves elements: it is run on their numbers, -1 where it writes a zero."""
    value = a["self"]
    t.view(fx, value)
    if operator_name(fx) in AT_PLACES and not all(v in t.constants for v in fx.all_input_nodes if v is not value):
        t.refuse(fx, "elements at places that are computed from the image cannot be taken; only constant places can")
    moved = run_on_numbers(t, fx, {value: t.index(value)})
    tensor = t.views[value].tensor
    if isinstance(moved, (list, tuple)):
        t.several[fx] = [view_of(t, tensor, part) for part in moved]
    else:
        t.views[fx] = view_of(t, tensor, moved)


def upsample_nearest(t: Translation, fx: FxNode, a: dict) -> None:
    """Every pixel of the larger map is one of the smaller one: which, torch's own operator says of their numbers."""
    value = a["self"] if "self" in a else a["input"]
    t.view(fx, value)
    # numbers of elements are exact in double precision
    named = {**a, "self" if "self" in a else "input": torch.from_numpy(t.index(value)).double()}
    t.views[fx] = view_of(t, t.views[value].tensor, fx.target(**named).long())


def choose(t: Translation, fx: FxNode, a: dict) -> None:
    """One or several of what lies along an axis, but not an image of the batch."""
    shape = shape_of(a["self"])
    if axis(a["dim"], len(shape)) == 0 and shape[0] == 1:
        t.refuse(fx, "taking one image of the batch is not supported; the batch axis must stay")
    rearrange(t, fx, a)


def take_slice(t: Translation, fx: FxNode, a: dict) -> None:
    """Part of one axis; of a map, rows, columns and adjacent channels are copied at once."""
    view, shape = t.view(fx, a["self"]), shape_of(a["self"])
    dimension = axis(a["dim"], len(shape))
    start, stop, step = slice(a["start"], a["end"], a["step"]).indices(shape[dimension])
    if stop <= start:
        t.refuse(fx, f"slice {start}:{stop}:{step} of axis {dimension} is empty")
    if dimension == 0 and shape[0] == 1:
        t.views[fx] = view
    elif view.index is not None or shape != (1, *t.draft.shapes[view.tensor]) or dimension == 1 and step != 1:
        rearrange(t, fx, a)
    elif dimension == 1:
        t.emit(fx, "slice_pad", (view.tensor,), stop - start, channel_offset=-start)
    else:
        row = dimension == 2
        count = (stop - start + step - 1) // step
        # crop to the last pixel that is taken, so that the window's floor gives exactly count
        end = (count - 1) * step + 1 + start - shape[dimension]
        stride, padding = ((step, 1), (-start, 0, end, 0)) if row else ((1, step), (0, -start, 0, end))
        t.emit(fx, "slice_pad", (view.tensor,), window=Window((1, 1), stride, padding))


def narrow(t: Translation, fx: FxNode, a: dict) -> None:
    """A slice by its start and length."""
    start = a["start"] + shape_of(a["self"])[a["dim"]] if a["start"] < 0 else a["start"]
    take_slice(t, fx, {**a, "start": start, "end": start + a["length"], "step": 1})


def concat(t: Translation, fx: FxNode, a: dict) -> None:
    """Along the channels, along rows or columns, or along whatever becomes channels where a linear layer reads it."""
    along = axis(a["dim"], len(shape_of(fx)))
    if along < 2 or len(shape_of(fx)) != 4:
        join(t, fx, a["tensors"])
        return
    mapped = [v for v in a["tensors"] if v not in t.constants]
    tensors = {t.view(fx, v).tensor for v in mapped}
    if len(tensors) > 1:
        end_to_end(t, fx, a["tensors"], along)
    else:
        numbers = {v: [t.index(v)] * mapped.count(v) for v in mapped}
        t.views[fx] = joined_view(t, fx, a["tensors"], tensors.pop(), numbers)


def end_to_end(t: Translation, fx: FxNode, values: list[FxNode], along: int) -> None:
    """Maps one below the other (axis 2) or side by side (axis 3): each with zeros where the others are, added up."""
    parts, start, full = [], 0, shape_of(fx)[along]
    for value in values:
        if value in t.constants and t.number(fx, value).any():
            t.refuse(fx, "concatenation with a constant that is not zero is not supported")
        size = shape_of(value)[along]
        around = (start, full - start - size)
        start += size
        if value in t.constants:
            continue
        window = Window(padding=(around[0], 0, around[1], 0) if along == 2 else (0, around[0], 0, around[1]))
        parts.append(t.node(fx, "slice_pad", (t.map(fx, value),), window=window))
    while len(parts) > 1:
        parts.append(t.node(fx, "add", (parts.pop(0), parts.pop(0))))
    t.views[fx] = View(parts[0])


def stack(t: Translation, fx: FxNode, a: dict) -> None:
    """Along a new axis: a concatenation of channels, seen in another order."""
    join(t, fx, a["tensors"])


def hold(t: Translation, fx: FxNode, value: FxNode) -> None:
    """Make a tensor of a constant map that is not all zeros, where it can be one."""
    if value in t.views or value not in t.constants or len(shape_of(value)) != 4 or len(shape_of(fx)) != 4:
        return
    values = t.number(fx, value).numpy()[0]
    tensor = constant_map(t, fx, values) if values.any() else None
    if tensor is not None:
        t.views[value] = View(tensor)


def join(t: Translation, fx: FxNode, values: list[FxNode]) -> None:
    """Values of maps of one size, side by side as channels; their elements are found by their numbers.

    Parts of one tensor stay where they are and are seen in another order. A constant that is all zeros takes no tensor.
    """
    for value in values:
        hold(t, fx, value)
    mapped = [v for v in values if v in t.views]
    tensors = {t.view(fx, v).tensor for v in mapped}
    if len(tensors) == 1:
        found = joined_view(t, fx, values, tensors.pop(), {v: t.index(v) for v in mapped})
        used = t.index_of(found)[t.index_of(found) >= 0]
        if len(np.unique(used)) == used.size:
            t.views[fx] = found
            return
    for value in mapped:
        t.views[value] = t.elements(fx, value)
    operands = [t.views[v].tensor for v in mapped]
    if len({t.draft.shapes[tensor][1:] for tensor in operands}) != 1:
        if all(has_pixel(t.draft.shapes[tensor]) for tensor in operands):
            operands = [single_pixel(t, fx, value) for value in mapped]
        elif len(shape_of(fx)) == 4:  # some lie in an order of their own, as behind a pixel shuffle
            operands = [t.map(fx, value) for value in mapped]
    shapes = [t.draft.shapes[tensor] for tensor in operands]
    if len({s[1:] for s in shapes}) != 1:
        own = f"{[shape_of(v) for v in values]}, of maps of {shapes}"
        t.refuse(fx, f"concatenation of shapes {own}, is not supported; they must have the same rows and columns")
    starts = np.cumsum([0, *(prod(s) for s in shapes)])
    numbers = {}
    for value, start in zip(mapped, starts):
        numbers.setdefault(value, []).append(t.index(value) + start)
    name = t.node(fx, "concat", tuple(operands), sum(s[0] for s in shapes)) if len(operands) > 1 else operands[0]
    t.views[fx] = joined_view(t, fx, values, name, numbers)


def has_pixel(shape: tuple[int, int, int]) -> bool:
    """Whether ``single_pixel`` makes channels of one pixel of a tensor."""
    return shape[1:] == (1, 1) or prod(shape) ** 2 <= MOST_WEIGHTS


def single_pixel(t: Translation, fx: FxNode, value: FxNode) -> str:
    """The tensor of a value, all its elements channels of one pixel where they are few: filters with one weight."""
    tensor = t.views[value].tensor
    shape = t.draft.shapes[tensor]
    if shape[1:] == (1, 1) or not has_pixel(shape):
        return tensor
    count = prod(shape)
    weight = np.eye(count, dtype=np.float32).reshape(count, *shape)
    name = t.node(fx, "conv", (tensor,), count, (weight, np.zeros(count, np.float32)), window=Window(shape[1:]))
    t.draft.gathers.add(name)
    t.views[value] = View(name, t.views[value].index)
    return name


def joined_view(t: Translation, fx: FxNode, values: list[FxNode], tensor: str, numbers: dict) -> View:
    """The call's own operator on numbers of the elements of a tensor; a value that occurs again has a list of them."""
    found = []
    for value in values:
        if value not in t.views:
            if t.number(fx, value).any():
                t.refuse(fx, "concatenation with a constant that is not zero is not supported")
            found.append(torch.full(shape_of(value), -1))
        else:
            held = numbers[value]
            found.append(torch.from_numpy(held.pop(0) if isinstance(held, list) else held))
    return view_of(t, tensor, fx.target(found, *fx.args[1:], **fx.kwargs))


def run_on_numbers(t: Translation, fx: FxNode, numbers: dict[FxNode, np.ndarray]) -> object:
    """The call's own operator on the numbers of its operands' elements; constants are what they are."""

    def operand(node: FxNode) -> object:
        if node in numbers:
            return torch.from_numpy(numbers[node])
        return t.constants[node] if node in t.constants else torch.zeros(shape_of(node))  # its shape alone counts

    kept = map_arg(fx.args, operand), dict(map_arg(fx.kwargs, operand))
    if "pad" in fx.target._schema.name:
        schema = [argument.name for argument in fx.target._schema.arguments]
        named = {**dict(zip(schema, kept[0])), **kept[1]}
        if "value" not in named and "value" not in schema or named.get("mode", "constant") != "constant":
            # torch reflects no integers; numbers of elements are exact in double precision
            return fx.target(**{**named, "self": named["self"].double()}).long()
        return fx.target(**{**named, "value": -1})
    return fx.target(*kept[0], **kept[1])


def view_of(t: Translation, tensor: str, moved: torch.Tensor) -> View:
    """The view that numbers of a tensor's elements are."""
    index = moved.contiguous().numpy()
    whole = index.size == prod(t.draft.shapes[tensor])
    in_order = whole and np.array_equal(index.reshape(-1), np.arange(index.size))
    return View(tensor, None if in_order else index)
