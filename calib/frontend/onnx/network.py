"""A checked ONNX graph as a module: one submodule for each node that depends on the image, all else computed before."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bfp.errors import BfpError
from bfp.limits import MAX_VALUES
from bfp.names import shown
from calib.frontend.inputs import InputShapes, by_name
from calib.frontend.onnx.operands import Operands
from calib.frontend.onnx.operators import OPERATORS, most_values
from calib.frontend.onnx.reader import OnnxGraph, OnnxNode, read_onnx
from calib.frontend.tracing import silent

FEW = 8  # names that a message lists
# operands of an operator whose real numbers are no weights: they say the size of its result, or are its limits and the like
NUMBERS = {"Resize": (1, 2), "Upsample": (1,), "Pad": (2,), "Pow": (1,), "Clip": (1, 2)}


class OnnxLayer(nn.Module):
    """One node. Operands are those that depend on the image, in order; the others are kept here.

    Constants of real numbers are buffers, so that they are the network's weights; whole numbers are arrays, and so are
    those of NUMBERS.
    """

    def __init__(self, node: OnnxNode, constants: dict[int, torch.Tensor], opset: int) -> None:
        super().__init__()
        self.node, self.opset, self.kept = node, opset, {}
        for place, value in constants.items():
            if value.is_floating_point() and place not in NUMBERS.get(node.kind, ()):
                self.register_buffer(f"operand{place}", value)
            else:
                self.kept[place] = value.numpy()

    def forward(self, *operands: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        coming, found = iter(operands), []
        for place, name in enumerate(self.node.inputs):
            if not name:
                found.append(None)
            elif place in self.kept:
                found.append(self.kept[place])
            elif f"operand{place}" in self._buffers:
                found.append(self._buffers[f"operand{place}"])
            else:
                found.append(next(coming))
        return OPERATORS[self.node.kind](Operands(self.node, tuple(found), self.opset))


class OnnxNetwork(nn.Module):
    """All nodes that depend on the image, in the file's order.

    inputs: names of the values that ``forward`` takes; channels_last: those that the file has its channels behind rows and
    columns of, as TensorFlow does: ``forward`` takes them like all others. held: outputs that are the same for every image.
    """

    def __init__(
        self,
        inputs: list[str],
        layers: list[tuple[OnnxLayer, tuple[str, ...]]],
        outputs: list[str],
        channels_last: Collection[str] = (),
        held: Mapping[str, torch.Tensor] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.held = {name: f"held_{n}" for n, name in enumerate(held)}
        for name, value in held.items():
            self.register_buffer(self.held[name], value.float())
        self.inputs, self.outputs, self.order, self.channels_last = inputs, outputs, [], channels_last
        for layer, reads in layers:
            name = unique(layer.node.name, self)
            self.add_module(name, layer)
            self.order.append((name, reads, layer.node.outputs))

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...] | dict[str, torch.Tensor]:
        values = {name: self.get_buffer(place) for name, place in self.held.items()}
        values |= {n: x.movedim(1, -1) if n in self.channels_last else x for n, x in zip(self.inputs, images)}
        for name, reads, writes in self.order:
            result = self.get_submodule(name)(*(values[v] for v in reads))
            results = result if isinstance(result, (tuple, list)) else (result,)
            values.update(zip(writes, results))
        found = {name: values[name] for name in self.outputs}
        return found if len(found) > 1 else tuple(found.values())


def unique(name: str, owner: nn.Module) -> str:
    """A submodule's name that is made of a node's, and means nothing to its owner yet."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:100] or "node"
    found, count = plain, 1
    while hasattr(owner, found):
        count += 1
        found = f"{plain}_{count}"
    return found


def onnx_module(path: Path, input_shape: InputShapes) -> nn.Module:
    """The network of an ONNX file for images of this shape, as a module in eval mode. Raises BfpError.

    input_shape: (channels, height, width) or (channels, length), of several inputs by name; the module takes them in this
    order. It decides about sizes that the file leaves open.
    """
    graph = read_onnx(path)
    where = f"ONNX file {path}"
    shapes = named_inputs(graph, input_shape, where)
    last = {name for name, shape in shapes.items() if channels_last(graph.inputs[name], shape, where)}
    unknown = sorted({node.kind for node in graph.nodes if node.kind not in OPERATORS})
    if unknown:
        first = {op: next(n.name for n in graph.nodes if n.kind == op) for op in unknown[:FEW]}
        named = ", ".join(f"{op} (first in node {shown(name)})" for op, name in first.items())
        known = ", ".join(sorted(OPERATORS))
        raise BfpError(f"{where} has operators that are not supported: {named}; supported are {known}")
    images = {name: torch.zeros(1, *shape) for name, shape in shapes.items()}
    images = {name: x.movedim(1, -1) if name in last else x for name, x in images.items()}
    layers, values = computed_ahead(graph, images, where)
    held = {name: values[name] for name in graph.outputs if name in values}
    if len(held) == len(set(graph.outputs)):
        raise BfpError(f"{where}: none of its outputs depends on its input")
    return OnnxNetwork(list(shapes), layers, list(graph.outputs), last, held).eval()


def named_inputs(graph: OnnxGraph, input_shape: InputShapes, where: str) -> dict[str, tuple[int, ...]]:
    """The shape of each of the file's inputs, by its name in the file, in the order that is asked for.

    A name that is none elsewhere is meant by what it has in common with one, ``a_b`` for ``a:b``. Raises BfpError where
    the file has other inputs.
    """
    wanted = by_name(input_shape, where)
    fitting = {re.sub("[^A-Za-z0-9_.-]", "_", name): name for name in graph.inputs}
    if len(graph.inputs) == 1 and len(wanted) == 1:
        return dict(zip(graph.inputs, wanted.values()))
    found = {name if name in graph.inputs else fitting.get(name): shape for name, shape in wanted.items()}
    if set(found) != set(graph.inputs):
        names = ", ".join(shown(name) for name in list(graph.inputs)[:FEW])
        raise BfpError(
            f"{where} takes {len(graph.inputs)} inputs ({names}); say how many channels each has: "
            "[input] channels = { name = number, ... }"
        )
    return found


def channels_last(stated: tuple[int | None, ...], wanted: tuple[int, ...], where: str) -> bool:
    """Whether the file's input has its channels behind rows and columns; where both orders fit, it does not.

    Raises BfpError where it has other sizes than the network's file asks for.
    """
    sizes = (1, *wanted)
    for last, order in ((False, sizes), (True, (1, *wanted[1:], wanted[0]))):
        if not stated or len(stated) == len(order) and all(a in (None, b) for a, b in list(zip(stated, order))[1:]):
            return last
    raise BfpError(f"{where} takes images of {list(stated)}, not {list(sizes)}; correct [input] size or channels")


def largest_result(layer: OnnxLayer, operands: list[torch.Tensor]) -> int:
    """How many values the largest result of a node has, before any is computed; 0 where that cannot be known."""
    try:
        with silent(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            result = layer(*map(mode.from_tensor, operands))
            return max(prod(r.shape) for r in (result if isinstance(result, (tuple, list)) else (result,)))
    except BfpError:
        raise
    except Exception:  # torch raises many types; what is wrong the node itself says when it is run
        return 0


@torch.no_grad()
def computed_ahead(
    graph: OnnxGraph, images: dict[str, torch.Tensor], where: str
) -> tuple[list[tuple[OnnxLayer, tuple[str, ...]]], dict[str, torch.Tensor]]:
    """Run the graph once: the layers that depend on the image with the values they read, and all constant values."""
    constants = {name: torch.from_numpy(np.array(a)) for name, a in graph.constants.items()}
    coming = dict(images)
    layers = []
    for node in graph.nodes:
        place = f"{where}, node {shown(node.name)} ({node.kind})"
        reads = tuple(name for name in node.inputs if name in coming)
        known = {n: constants[name] for n, name in enumerate(node.inputs) if name in constants}
        try:
            layer = OnnxLayer(node, known, graph.opset)
            operands = [coming[name] for name in reads]
            if most_values(node, layer.kept) > MAX_VALUES or largest_result(layer, operands) > MAX_VALUES:
                raise BfpError(f"{place} makes more than {MAX_VALUES} values")
            result = layer(*operands)
        except BfpError:
            raise
        except Exception as error:  # torch raises many types for operands that do not fit
            reason = re.sub(r"\s+", " ", str(error).strip().split("\n")[0])[:160].rstrip(".")
            raise BfpError(f"{place} cannot be computed ({reason}); check the input size, and export it again") from None
        results = result if isinstance(result, (tuple, list)) else (result,)
        static = not reads or node.kind in ("Shape", "Size")
        for name, value in zip(node.outputs, results):
            if prod(value.shape) > MAX_VALUES:
                raise BfpError(f"{place} makes more than {MAX_VALUES} values")
            (constants if static else coming)[name] = value
        if not static:
            layers.append((layer, reads))
    return layers, constants
