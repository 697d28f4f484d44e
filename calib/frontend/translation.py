"""What the translation of each ATen operator shares: operands, constants, names, refusals."""

from __future__ import annotations

import re
from math import prod
from typing import NoReturn

import numpy as np
import torch
from torch.fx import Node as FxNode

from bfp.errors import BfpError
from bfp.graph import Node
from calib.frontend.builder import Draft


class Translation:
    """State of one import: which ATen value is which tensor of the draft, and which is a constant.

    A tensor of the draft is channels x height x width; the ATen value may be
    that map, flat [1, C*H*W], or [1, C, H*W]: the order of elements is the same.
    """

    def __init__(self, draft: Draft, module: torch.nn.Module) -> None:
        self.draft = draft
        self.leaves = {path for path, m in module.named_modules() if path and not list(m.children())}
        self.tensors: dict[FxNode, str] = {}
        self.constants: dict[FxNode, torch.Tensor] = {}

    def path(self, fx: FxNode) -> str:
        """Path of the innermost module that the call belongs to; empty for the top one."""
        stack = [entry[0] for entry in fx.meta.get("nn_module_stack", {}).values()]
        return re.sub(r"@\d+", "", stack[-1]) if stack else ""

    def refuse(self, fx: FxNode, reason: str) -> NoReturn:
        """Raise BfpError: network, module path and node, then the reason."""
        where = self.path(fx)
        place = f"layer {where}" if where else "the top module"
        raise BfpError(f"network {self.draft.name}, {place} (node {fx.name}, {fx.target}): {reason}")

    def node_name(self, fx: FxNode) -> str:
        """Unique readable name: the layer's path, or the enclosing module's path and the operator."""
        where = self.path(fx)
        kind = operator_name(fx).split(".")[1].strip("_")
        name = where if where in self.leaves else f"{where}.{kind}" if where else kind
        return self.draft.unique(re.sub(r"[^A-Za-z0-9_.]", "_", name))

    def tensor(self, fx: FxNode, value: object) -> str:
        """Tensor of the draft behind an operand; refuses scalars and constants."""
        if not isinstance(value, FxNode) or value not in self.tensors:
            what = f"the number {value}" if isinstance(value, (int, float)) else f"the constant {value}"
            self.refuse(fx, f"operand {what} is not supported; only what is computed from the image can be an operand")
        return self.tensors[value]

    def map(self, fx: FxNode, value: object) -> str:
        """Like tensor, for operators that need channels x height x width."""
        tensor = self.tensor(fx, value)
        if shape_of(value) != (1, *self.draft.shapes[tensor]):
            self.refuse(fx, f"operand of shape {shape_of(value)} is not a map of channels x rows x columns")
        return tensor

    def channel_first(self, fx: FxNode, value: object) -> str:
        """Like tensor, where axis 1 must be the channels: not a flattened map of several pixels."""
        tensor = self.tensor(fx, value)
        if shape_of(value)[1] != self.draft.shapes[tensor][0]:
            self.refuse(fx, f"operand of shape {shape_of(value)} is a flattened map, whose axis 1 is not the channels")
        return tensor

    def constant(self, fx: FxNode, value: FxNode | None, what: str) -> np.ndarray | None:
        """Weights in their own precision, None where there are none. Refuses NaN, infinity and computed weights."""
        if value is None:
            return None
        if value not in self.constants:
            self.refuse(fx, f"its {what} is computed by {value}; only stored weights are supported")
        stored = self.constants[value].detach().cpu()
        # NumPy has no bfloat16
        array = (stored if stored.dtype in (torch.float32, torch.float64) else stored.float()).numpy()
        if not np.isfinite(array).all():
            self.refuse(fx, f"its {what} holds NaN or infinity; check the weights file")
        return array

    def emit(
        self,
        fx: FxNode,
        op: str,
        inputs: tuple[str, ...],
        channels: int | None = None,
        weights: tuple[np.ndarray, np.ndarray] | None = None,
        **fields: object,
    ) -> Node:
        """Append a node; its output is the value of ``fx``. ``channels`` defaults to the operand's."""
        name = self.node_name(fx)
        node = Node(name, op, inputs, name, source=(self.path(fx) or name,), **fields)
        operand = self.draft.shapes[inputs[0]]
        shape = (channels or operand[0], *node.window.output_size(*operand[1:]))
        value = fx.meta["val"]
        expected = tuple((value[0] if isinstance(value, (tuple, list)) else value).shape)
        if expected[0] != 1 or prod(shape) != prod(expected):
            self.refuse(fx, f"its result of shape {expected} is not supported; {shape} was expected")
        self.draft.nodes.append(node)
        self.draft.shapes[name] = shape
        if weights is not None:
            self.draft.weights[name] = weights
        self.tensors[fx] = name
        return node


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
    """Shape of an ATen value, batch included."""
    return tuple(fx.meta["val"].shape)


def pair(value: object) -> tuple[int, int]:
    """An ATen int list of one or two elements as (rows, columns)."""
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def axis(dimension: int, rank: int) -> int:
    """Non-negative axis."""
    return dimension + rank if dimension < 0 else dimension
