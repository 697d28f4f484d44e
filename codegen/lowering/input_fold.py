"""Inputs of few channels with several pixels side by side in a word, as a first layer with a stride takes them anyway.

A picture of three channels would leave thirteen of sixteen lanes empty, in memory and on the way to the array. So rows and
columns of an input may be folded into channels: block (y, x) of ``down`` rows and ``across`` columns becomes one pixel, with
the channels of all of them, row by row. A convolution whose strides these divide goes over blocks with a smaller stride: its
weights stand where their pixels do, with zeros where a window begins or ends inside a block. The sums are the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from bfp.artifact import Artifact
from bfp.format import BlockFormat
from bfp.graph import Node
from bfp.layout import MAX_FOLD
from bfp.operators import Alignment
from bfp.parameters import Parameters
from bfp.window import Window
from codegen.lowering.input_parts import Lowered

UNFOLDED = (1, 1)


@dataclass(frozen=True)
class Axis:
    """A window along one axis, over blocks of ``fold`` pixels; before: zeros in front of its kernel."""

    kernel: int
    stride: int
    pad: int
    rest: int  # padding at the end
    before: int

    @staticmethod
    def of(window: Window, axis: int, size: int, out: int, fold: int) -> Axis:
        """Of a layer's window over a map of ``size`` rows or columns, of which it makes ``out``."""
        kernel, stride, pad = window.kernel[axis], window.stride[axis] // fold, -(-window.padding[axis] // fold)
        before = pad * fold - window.padding[axis]
        blocks = -(-(kernel + before) // fold)
        return Axis(blocks, stride, pad, (out - 1) * stride + blocks - pad - size // fold, before)


def folds(artifacts: list[Artifact], lanes: int) -> list[tuple[int, int]]:
    """The blocks, rows and columns, into which any of the artifacts' inputs may be folded."""
    blocks = product(range(1, MAX_FOLD + 1), repeat=2)
    inputs = [(artifact, tensor) for artifact in artifacts for tensor in artifact.graph.inputs]
    return [fold for fold in blocks if fold != UNFOLDED and any(folds_to(*one, fold, lanes) for one in inputs)]


def folds_to(artifact: Artifact, tensor: str, fold: tuple[int, int], lanes: int) -> bool:
    """Whether an input can be folded into such blocks, whose channels one word holds."""
    graph, fmt = artifact.graph, artifact.formats[tensor]
    channels, *sizes = graph.shapes[tensor]
    if len(fmt.exponents) > 1 or tensor in graph.outputs or channels * fold[0] * fold[1] > lanes:
        return False
    return not any(s % f for s, f in zip(sizes, fold)) and all(_takes(artifact, n, tensor, fold) for n in graph.consumers(tensor))


def _takes(artifact: Artifact, node: Node, tensor: str, fold: tuple[int, int]) -> bool:
    """Whether a layer is a convolution with weights of one block, and goes over the input in whole blocks."""
    p, window = artifact.parameters.get(node.name), node.window
    sums = p is not None and p.weights is not None and node.operator.alignment is Alignment.BLOCKS
    sums = sums and node.shortcut != tensor and len(p.weights.splits) == len(p.align_splits) == 2
    return sums and window.dilation == (1, 1) and not any(s % f for s, f in zip(window.stride, fold))


def folded(artifact: Artifact, fold: tuple[int, int], lanes: int) -> Lowered:
    """The same network, to the last integer, whose inputs are folded into such blocks, those that can be."""
    graph, tensors = artifact.graph, [t for t in artifact.graph.inputs if folds_to(artifact, t, fold, lanes)]
    shapes, formats, parameters = dict(graph.shapes), dict(artifact.formats), dict(artifact.parameters)
    nodes = {node.name: node for node in graph.nodes}
    down, across = fold
    for tensor in tensors:
        fmt, (channels, height, width) = formats[tensor], shapes[tensor]
        shapes[tensor] = (channels * down * across, height // down, width // across)
        formats[tensor] = BlockFormat(fmt.bits, fmt.signed, (0, shapes[tensor][0]), fmt.exponents)
        for node in graph.consumers(tensor):
            out = shapes[node.output][1:]
            axes = [Axis.of(node.window, a, size, out[a], fold[a]) for a, size in enumerate((height, width))]
            nodes[node.name] = replace(node, window=_window(node.window, *axes))
            parameters[node.name] = _folded(parameters[node.name], *axes, fold)
    graph = replace(graph, shapes=shapes, nodes=tuple(nodes.values()))
    changed = replace(artifact, graph=graph, formats=formats, parameters=parameters)
    return Lowered(changed, {}, dict.fromkeys(tensors, fold))


def _window(window: Window, down: Axis, across: Axis) -> Window:
    return replace(
        window,
        kernel=(down.kernel, across.kernel),
        stride=(down.stride, across.stride),
        padding=(down.pad, across.pad, down.rest, across.rest),
    )


def _folded(p: Parameters, down: Axis, across: Axis, fold: tuple[int, int]) -> Parameters:
    """The parameters of a layer that goes over blocks."""
    filters, channels, height, width = p.weights.mantissas.shape
    (rows, columns), size = (down.kernel, across.kernel), (down.kernel * fold[0], across.kernel * fold[1])
    wide = np.zeros((filters, channels, *size), p.weights.mantissas.dtype)
    wide[:, :, down.before : down.before + height, across.before : across.before + width] = p.weights.mantissas
    blocks = wide.reshape(filters, channels, rows, fold[0], columns, fold[1]).transpose(0, 3, 5, 1, 2, 4)
    mantissas = blocks.reshape(filters, fold[0] * fold[1] * channels, rows, columns)
    splits = (0, mantissas.shape[1])
    return replace(p, weights=replace(p.weights, mantissas=mantissas, splits=splits), align_splits=splits)
