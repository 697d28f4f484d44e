"""What the translation of each ATen operator shares: operands, constants, names, refusals."""

from __future__ import annotations

import re
from math import prod
from typing import NoReturn

import numpy as np
import torch
from torch.fx import Node as FxNode
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from bfp.graph import Node
from calib.frontend.builder import Draft
from calib.frontend.nearer import brought_nearer
from calib.frontend.pieces import assembled
from calib.frontend.refusals import Refusal
from calib.frontend.views import View, boxed, gather, is_order, numbers


class Translation:
    """State of one import: which ATen value is which elements of the draft's tensors, and which is a constant.

    A tensor of the draft is channels x height x width; the ATen value is a view of it: that map, or flat, or in
    another order (see View). Constants are torch's tensors and numbers, or lists of them. tables: whether functions that
    the host computes more exactly (quotients, exponentials, what needs an image's own statistics) may be made of tables.
    """

    def __init__(self, draft: Draft, module: torch.nn.Module, tables: bool = False) -> None:
        self.draft, self.tables = draft, tables
        self.classes = {path: type(m).__name__ for path, m in module.named_modules()}
        self.leaves = {path for path, m in module.named_modules() if path and not list(m.children())}
        self.views: dict[FxNode, View] = {}
        self.several: dict[FxNode, list[View]] = {}  # of a call with several results, each one
        self.bordered: dict[FxNode, tuple[FxNode, list[int]]] = {}  # what has -inf around it: of what, and how much
        self.constants: dict[FxNode, object] = {}
        self.enlarges = True  # whether the engine may be asked to enlarge maps; what it ends with, the host may enlarge
        self.lost: set[FxNode] = set()  # calls that were refused, and whose result has no size that is known

    def path(self, fx: FxNode) -> str:
        """Path of the innermost module that the call belongs to; empty for the top one."""
        stack = [entry[0] for entry in fx.meta.get("nn_module_stack", {}).values()]
        return re.sub(r"@\d+", "", stack[-1]) if stack else ""

    def refuse(self, fx: FxNode, reason: str, known: str = "") -> NoReturn:
        """Raise Refusal: network, module path, class and node, then the reason."""
        where = self.path(fx)
        kind = f"{self.classes[where]}, " if where in self.classes else ""
        place = f"layer {where}" if where else "the top module"
        raise Refusal(self.draft.name, operator_name(fx), f"{place} ({kind}node {fx.name}, {fx.target})", reason, known)

    def need_tables(self, fx: FxNode) -> None:
        """Refuse a call that is made of tables, where these are not wanted."""
        if not self.tables:
            self.refuse(fx, "it is computed from tables only where a layer with weights reads what becomes of it")

    def assume(self, fx: FxNode) -> None:
        """Go on behind a call that was refused, as if its results were tensors of the draft, to find what else is.

        What has the shape of one of its operands is taken for that operand's elements, each changed at its place.
        """
        value = fx.meta.get("val")
        if not fixed_size(value):
            self.lost.add(fx)
            return
        found = []
        for part in value if isinstance(value, (tuple, list)) else [value]:
            shape = tuple(part.shape) if isinstance(part, torch.Tensor) else (1,)
            name = self.draft.unique("refused")
            like = next((v for v in fx.all_input_nodes if v in self.views and shape_of(v) == shape), None)
            if like is not None and is_order(self.index(like), prod(self.draft.shapes[self.views[like].tensor])):
                self.draft.shapes[name] = self.draft.shapes[self.views[like].tensor]
                found.append(View(name, self.views[like].index))
                continue
            is_map = 2 <= len(shape) <= 4 and shape[0] == 1
            channels, *size = (*shape[1:2], *(1,) * (4 - len(shape)), *shape[2:]) if is_map else (prod(shape), 1, 1)
            self.draft.shapes[name] = (channels, *size)
            found.append(View(name))
        self.views[fx] = found[0]
        if isinstance(value, (tuple, list)):
            self.several[fx] = found

    def depends_on_lost(self, fx: FxNode) -> bool:
        """Whether a call reads a result whose size is not known: then nothing can be said of its own."""
        if self.lost.isdisjoint(fx.all_input_nodes):
            return False
        self.lost.add(fx)
        return True

    def node_name(self, fx: FxNode) -> str:
        """Unique readable name: the layer's path, or the enclosing module's path and the operator."""
        where = self.path(fx)
        kind = operator_name(fx).split(".")[-1].strip("_")
        name = where if where in self.leaves else f"{where}.{kind}" if where else kind
        return self.draft.unique(re.sub(r"[^A-Za-z0-9_.]", "_", name))

    def view(self, fx: FxNode, value: object) -> View:
        """What an operand is; refuses scalars and constants."""
        if not isinstance(value, FxNode) or value not in self.views:
            what = f"the number {value}" if isinstance(value, (int, float)) else f"the constant {value}"
            self.refuse(fx, f"operand {what} is not supported; only what is computed from the image can be one")
        return self.views[value]

    def index(self, value: FxNode) -> np.ndarray:
        """Which element of its tensor each element of a value is, int64 in the value's shape."""
        found = self.views[value].index
        return numbers(shape_of(value)) if found is None else found

    def index_of(self, view: View) -> np.ndarray:
        """Which element of its tensor each element of a view is, int64 in some shape."""
        return numbers(self.draft.shapes[view.tensor]) if view.index is None else view.index

    def repeats(self, fx: FxNode, value: object) -> bool:
        """Whether an operand has elements of its tensor several times, as one that is expanded."""
        view = self.view(fx, value)
        return view.index is not None and view.index.size > prod(self.draft.shapes[view.tensor])

    def tensor(self, fx: FxNode, value: object) -> str:
        """A tensor of the draft that has the operand's elements in order; they are brought into it where they must."""
        view = self.view(fx, value)
        if view.index is not None:
            try:
                tensor = self.ordered(value, view, shape_of(value))
            except Refusal:
                tensor = brought_nearer(self, value)
                if tensor is None:
                    raise
            self.views[value] = view = View(tensor)
        return view.tensor

    def elements(self, fx: FxNode, value: object) -> View:
        """An operand whose tensor holds its elements and no others, in any order: for what is computed one by one."""
        view = self.view(fx, value)
        if view.index is None or is_order(view.index, prod(self.draft.shapes[view.tensor])):
            return view
        box = boxed(view.index, self.draft.shapes[view.tensor]) if len(shape_of(value)) not in (2, 4) else None
        if box is None:
            return View(self.tensor(fx, value))
        tensor = self.ordered(value, View(view.tensor, box), box.shape)
        index = np.searchsorted(box.reshape(-1), view.index)
        self.views[value] = View(tensor, None if np.array_equal(index, numbers(shape_of(value))) else index)
        return self.views[value]

    def map(self, fx: FxNode, value: object) -> str:
        """Like tensor, for operators that need channels x height x width."""
        view = self.view(fx, value)
        shape = shape_of(value)
        if view.index is None and len(shape) == 4 and shape != (1, *self.draft.shapes[view.tensor]):
            self.views[value] = View(self.ordered(value, View(view.tensor, numbers(shape)), shape))
        tensor = self.tensor(fx, value)
        if shape_of(value) != (1, *self.draft.shapes[tensor]):
            self.refuse(fx, f"operand of shape {shape_of(value)} is not a map of channels x rows x columns")
        return tensor

    def line(self, fx: FxNode, value: object) -> tuple[str, int]:
        """Like map, for operators along one axis: the tensor, and whether rows (0) or columns (1) are that axis."""
        view, shape = self.view(fx, value), shape_of(value)
        channels, height, width = self.draft.shapes[view.tensor]
        if view.index is None and len(shape) == 3 and shape != (1, channels, height * width):
            self.views[value] = View(self.ordered(value, View(view.tensor, numbers(shape)), shape))
        tensor = self.tensor(fx, value)
        channels, height, width = self.draft.shapes[tensor]
        if shape != (1, channels, height * width) or min(height, width) > 1:
            self.refuse(fx, f"operand of shape {shape_of(value)} is not channels x one axis")
        return tensor, 0 if width == 1 < height else 1

    def channel_first(self, fx: FxNode, value: object) -> str:
        """Like tensor, where axis 1 must be the channels: not a flattened map of several pixels."""
        tensor = self.tensor(fx, value)
        if shape_of(value)[1] != self.draft.shapes[tensor][0]:
            self.refuse(fx, f"operand of shape {shape_of(value)} is a flattened map, whose axis 1 is not the channels")
        return tensor

    def ordered(self, fx: FxNode, view: View, shape: tuple[int, ...]) -> str:
        """A tensor that has the elements of a view, a value of this shape that ``fx`` made, in order.

        Refuses an order that no choice of channels and of pixels at one stride brings about.
        """
        if view.index is None:
            return view.tensor
        source = self.draft.shapes[view.tensor]
        wanted = (*shape[1:2], *(1,) * (4 - len(shape)), *shape[2:])
        if len(shape) == 3 and source[2] == 1 < source[1]:
            wanted = (*shape[1:], 1)
        found = index = None
        if shape[:1] == (1,) and len(shape) <= 4:
            index = view.index.reshape(wanted)
            found = gather(index, source)
        if found is None:
            tensor = None if index is None else assembled(self, fx, view.tensor, index)
            if tensor is not None:
                return tensor
            cut = self.cut_out(fx, view)
            if cut is not None:
                return self.ordered(fx, cut, shape)
            self.refuse(
                fx,
                f"rearranging a map of {source} into {shape} is not supported where anything but a linear layer reads "
                "it; only channels and pixels at one stride can be chosen, and the batch axis must stay",
            )
        offset = found.offset(source[0])
        if offset is not None:
            return self.node(fx, "slice_pad", (view.tensor,), wanted[0], window=found.window, channel_offset=offset)
        weights = found.weights(source[0]), np.zeros(wanted[0], np.float32)
        name = self.node(fx, "conv", (view.tensor,), wanted[0], weights, window=found.window)
        self.draft.gathers.add(name)
        return name

    def cut_out(self, fx: FxNode, view: View) -> View | None:
        """A view of what ``fx`` cuts rows, columns or channels out of, which is brought into order first.

        None where it is no slice of a map, or where that map has its elements in order, or some of them twice.
        """
        whole = fx
        while operator_name(whole) == "aten.slice":
            whole = whole.args[0]
        if whole is fx or len(shape_of(whole)) != 4 or self.views[whole].index is None:
            return None
        numbers_ = self.views[whole].index.reshape(-1)
        if len(np.unique(numbers_[numbers_ >= 0])) < np.count_nonzero(numbers_ >= 0):
            return None  # of an element that is there twice, it matters which one is meant
        order = np.argsort(numbers_, kind="stable")
        at = order[np.searchsorted(numbers_, view.index, sorter=order) % len(order)]
        same = self.views[whole].tensor == view.tensor and np.array_equal(numbers_[at], view.index)
        return View(self.map(fx, whole), at) if same else None

    def constant(self, fx: FxNode, value: FxNode | None, what: str) -> np.ndarray | None:
        """Weights in their own precision, None where there are none. Refuses NaN, infinity and computed weights."""
        if value is None:
            return None
        if value not in self.constants:
            self.refuse(fx, f"its {what} is computed by {value} from the image; only constant weights are supported")
        stored = self.constants[value].detach().cpu()
        # NumPy has no bfloat16
        array = (stored if stored.dtype in (torch.float32, torch.float64) else stored.float()).numpy()
        if not np.isfinite(array).all():
            self.refuse(fx, f"its {what} holds NaN or infinity; check the weights file")
        return array

    def number(self, fx: FxNode, value: object) -> torch.Tensor | None:
        """A constant operand of arithmetic as float64 of its own shape, None where it is computed from the image."""
        if isinstance(value, FxNode) and value not in self.constants:
            return None
        stored = self.constants[value] if isinstance(value, FxNode) else value
        found = torch.as_tensor(stored, dtype=torch.float64, device="cpu").detach()
        if not torch.isfinite(found).all():
            self.refuse(fx, f"its operand {value} holds NaN or infinity; check the weights file")
        return found

    def node(
        self,
        fx: FxNode,
        op: str,
        inputs: tuple[str, ...],
        channels: int | None = None,
        weights: tuple[np.ndarray, np.ndarray] | None = None,
        **fields: object,
    ) -> str:
        """Append a node that the call needs and return its tensor. ``channels`` defaults to the operand's."""
        name = self.node_name(fx)
        node = Node(name, op, inputs, name, source=(self.path(fx) or name,), **fields)
        operand = self.draft.shapes[inputs[0]]
        self.draft.nodes.append(node)
        self.draft.shapes[name] = (channels or operand[0], *node.window.output_size(*operand[1:]))
        if weights is not None:
            self.draft.weights[name] = weights
        return name

    def emit(self, fx: FxNode, op: str, inputs: tuple[str, ...], *arguments: object, **fields: object) -> str:
        """Append the node whose output is the value of ``fx``, in order, and return it. Arguments as of ``node``."""
        self.views[fx] = View(self.node(fx, op, inputs, *arguments, **fields))
        self.check_result(fx)
        return self.views[fx].tensor

    def check_result(self, fx: FxNode) -> None:
        """Refuse a call whose view has not as many elements as its value."""
        view, expected = self.views[fx], shape_of(fx)
        count = prod(self.draft.shapes[view.tensor]) if view.index is None else view.index.size
        if count != prod(expected):
            self.refuse(fx, f"its result of shape {expected} is not supported; {count} elements were expected")


def operator_name(fx: FxNode) -> str:
    """``aten.conv2d`` for any overload; ``getitem`` for taking one of several results."""
    if isinstance(fx.target, torch._ops.OpOverload):
        return f"{fx.target.namespace}.{fx.target._schema.name.split('::')[1]}"
    return getattr(fx.target, "__name__", str(fx.target))


def bind(fx: FxNode) -> dict[str, object]:
    """Arguments of a call by name, defaults filled in."""
    declared = fx.target._schema.arguments
    values = {a.name: a.default_value for a in declared}
    values.update({a.name: v for a, v in zip(declared, fx.args)})
    return {**values, **fx.kwargs}


def shape_of(fx: FxNode) -> tuple[int, ...]:
    """Shape of an ATen value, batch included; of the first one where a call has several."""
    value = fx.meta["val"]
    # of scripts, torch keeps sizes as symbols that stand for numbers
    found = value[0] if isinstance(value, (tuple, list)) else value
    return tuple(int(size) for size in found.shape) if isinstance(found, torch.Tensor) else ()


def fixed_size(value: object) -> bool:
    """Whether an ATen value, or each of several, has sizes that the image's values do not decide."""
    if isinstance(value, (tuple, list)):
        return all(fixed_size(part) for part in value)
    return not isinstance(value, (torch.Tensor, torch.SymInt)) or not free_unbacked_symbols(value)


def pair(value: object, along: int | None = None, other: int = 1) -> tuple[int, int]:
    """An ATen int list as (rows, columns): of two axes, or of one axis ``along`` which the other one has ``other``."""
    values = [value] if isinstance(value, int) else list(value)
    if along is None:
        return (values[0], values[-1])
    return (values[0], other) if along == 0 else (other, values[0])


def axis(dimension: int, rank: int) -> int:
    """Non-negative axis."""
    return dimension + rank if dimension < 0 else dimension
