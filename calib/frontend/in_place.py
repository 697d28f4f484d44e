"""Parts of a value that are written in place, as ``y[:, :4] = z``: the value's other parts and the new one, side by side.

What torch makes of such a write (``slice_scatter``, ``select_scatter``, ``copy``, ``fill``) becomes a concatenation of
slices in the program's graph, which the rest of the importer knows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import Graph, Node as FxNode

from calib.frontend.translation import axis, bind, operator_name, shape_of

ATEN = torch.ops.aten


def without_scatters(graph: Graph) -> None:
    """Rewrite every write of adjacent indices of one axis; others stay, for the importer to refuse."""
    if not any(_name(node) in REWRITES for node in graph.nodes):
        return
    for node in list(graph.nodes):
        if _name(node) in REWRITES:
            with graph.inserting_before(node):
                found = REWRITES[_name(node)](node)
            if found is not None:
                node.replace_all_uses_with(found)
                graph.erase_node(node)
        elif _name(node) in ("slice", "select"):
            found = _part_of_parts(node) if _name(node) == "slice" else _one_of_parts(node)
            if found is not None:
                node.replace_all_uses_with(found)
    graph.eliminate_dead_code()


def _name(node: FxNode) -> str:
    return operator_name(node).removeprefix("aten.") if node.op == "call_function" else ""


def _call(like: FxNode, target: Callable, *arguments: object) -> FxNode:
    """A call in front of ``like``, and of its layer, with the shape of its result."""
    node = like.graph.call_function(target, arguments)
    node.meta = {**like.meta, "val": target(*torch.fx.map_arg(arguments, lambda n: n.meta["val"]))}
    return node


def _slice(like: FxNode, value: FxNode, along: int, start: int, stop: int) -> FxNode:
    """Some indices of an axis: the value itself where that is all of them, one part where the value consists of parts."""
    if (start, stop) == (0, shape_of(value)[along]):
        return value
    node = _call(like, ATEN.slice.Tensor, value, along, start, stop)
    return _part_of_parts(node) or node


def _part_of_parts(node: FxNode) -> FxNode | None:
    """A slice of a slice as one, and of a concatenation as slices of its parts; None where it is neither."""
    a = bind(node)
    value, along = a["self"], axis(a["dim"], len(shape_of(a["self"])))
    start, stop, step = slice(a["start"], a["end"], a["step"]).indices(shape_of(value)[along])
    if step != 1 or (start, stop) == (0, shape_of(value)[along]) or _name(value) not in ("cat", "slice"):
        return None
    inner = bind(value)
    if axis(inner["dim"], len(shape_of(value))) != along:
        return None
    with node.graph.inserting_before(node):
        if _name(value) == "cat":
            parts = _parts(node, value, along, start, stop)
            return parts[0] if len(parts) == 1 else _call(node, ATEN.cat.default, parts, along)
        first = slice(inner["start"], inner["end"]).indices(shape_of(inner["self"])[along])[0]
        return _slice(node, inner["self"], along, first + start, first + stop) if inner["step"] == 1 else None


def _one_of_parts(node: FxNode) -> FxNode | None:
    """One index of a concatenation as the only one of a slice of the part that it is in; None where it is of another axis."""
    a = bind(node)
    value, along = a["self"], axis(a["dim"], len(shape_of(a["self"])))
    if _name(value) != "cat" or axis(bind(value)["dim"], len(shape_of(value))) != along:
        return None
    at = a["index"] % shape_of(value)[along]
    with node.graph.inserting_before(node):
        (part,) = _parts(node, value, along, at, at + 1)
        return _call(node, ATEN.select.int, part, along, 0)


def _joined(node: FxNode, value: FxNode, part: FxNode, along: int, start: int, stop: int) -> FxNode:
    """A value whose indices from start to stop of an axis are another one."""
    size = shape_of(value)[along]
    if part.meta["val"].dtype != value.meta["val"].dtype:
        part = _call(node, ATEN._to_copy.default, part)
    before = _parts(node, value, along, 0, start) if start else []
    behind = _parts(node, value, along, stop, size) if stop < size else []
    parts = [*before, part, *behind]
    return parts[0] if len(parts) == 1 else _call(node, ATEN.cat.default, parts, along)


def _parts(node: FxNode, value: FxNode, along: int, start: int, stop: int) -> list[FxNode]:
    """Some indices of an axis as the parts that the value itself consists of, where it is a concatenation along it."""
    if _name(value) != "cat" or axis(bind(value)["dim"], len(shape_of(value))) != along:
        return [_slice(node, value, along, start, stop)]
    found, first = [], 0
    for part in bind(value)["tensors"]:
        size = shape_of(part)[along]
        low, high = max(start - first, 0), min(stop - first, size)
        if low < high:
            found.append(_slice(node, part, along, low, high))
        first += size
    return found


def _slice_scatter(node: FxNode) -> FxNode | None:
    a = bind(node)
    along = axis(a["dim"], len(shape_of(node)))
    start, stop, step = slice(a["start"], a["end"], a["step"]).indices(shape_of(node)[along])
    return _joined(node, a["self"], a["src"], along, start, stop) if step == 1 and start < stop else None


def _select_scatter(node: FxNode) -> FxNode:
    a = bind(node)
    along = axis(a["dim"], len(shape_of(node)))
    at = a["index"] % shape_of(node)[along]
    return _joined(node, a["self"], _call(node, ATEN.unsqueeze.default, a["src"], along), along, at, at + 1)


def _copy(node: FxNode) -> FxNode:
    """The other value, in this one's shape."""
    a = bind(node)
    same = shape_of(a["src"]) == shape_of(node)
    return a["src"] if same else _call(node, ATEN.expand.default, a["src"], list(shape_of(node)))


def _fill(node: FxNode) -> FxNode:
    """A number, in this one's shape."""
    a = bind(node)
    if isinstance(a["value"], FxNode):
        return _call(node, ATEN.expand.default, a["value"], list(shape_of(node)))
    return _call(node, ATEN.full_like.default, a["self"], a["value"])


REWRITES: dict[str, Callable[[FxNode], FxNode | None]] = {
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
    "copy": _copy,
    "fill": _fill,
}
