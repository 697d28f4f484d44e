"""Inputs wider than the array's operands, in parts: narrower mantissas that share the input's exponent and its weights.

One array is built for the widest operands of the whole network. An input of 8
bits in a network of 5 would halve the products of every DSP. Its mantissa is
the sum of some narrower ones, and a product of the sum is the sum of the
products: so the input lies in memory with each channel several times, and the
layers that read it have the same weights as often. The sums are the same
integers (docs/numerics.md), and of few channels the lanes would idle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bfp.artifact import Artifact
from bfp.format import BlockFormat
from bfp.graph import Node
from bfp.layout import part_count, to_blocks, to_parts
from bfp.operators import Alignment
from bfp.parameters import Parameters


@dataclass(frozen=True)
class Lowered:
    """An artifact as the engine computes it.

    part_bits: of its inputs that lie in parts, the parts' width, by tensor. folds: of those that are folded, rows and columns
    of a block, likewise (codegen/lowering/input_fold.py).
    """

    artifact: Artifact
    part_bits: dict[str, int]
    folds: dict[str, tuple[int, int]]

    def fold(self, tensor: str) -> tuple[int, int]:
        """Rows and columns of a tensor's blocks."""
        return self.folds.get(tensor, (1, 1))

    def stored(self, tensor: str, mantissas: np.ndarray, fmt: BlockFormat) -> np.ndarray:
        """What the artifact has of a tensor's mantissas [..., C, H, W]; fmt: the network's."""
        blocks = to_blocks(mantissas, self.fold(tensor))
        return to_parts(blocks, fmt, self.part_bits[tensor]) if tensor in self.part_bits else blocks

    def as_stored(self, mantissas: np.ndarray, formats: dict[str, BlockFormat]) -> np.ndarray:
        """What the artifact takes, int16 [N, C, H, W], of the network's own input mantissas; formats: the network's."""
        ends = np.cumsum([formats[t].channels for t in self.artifact.graph.inputs])
        inputs = zip(self.artifact.graph.inputs, np.split(mantissas, ends[:-1], axis=1))
        return np.concatenate([self.stored(t, x, formats[t]) for t, x in inputs], axis=1)


def in_parts(lowered: Lowered, bits: int) -> Lowered:
    """The same network, to the last integer, whose wide inputs lie in parts of so many bits."""
    artifact = lowered.artifact
    part_bits = {t: bits for t in artifact.graph.inputs if _divides(artifact, t, bits)}
    if not part_bits:
        return lowered
    graph, shapes, formats = artifact.graph, dict(artifact.graph.shapes), dict(artifact.formats)
    parameters = dict(artifact.parameters)
    for tensor in part_bits:
        fmt, parts = formats[tensor], part_count(formats[tensor], bits)
        shapes[tensor] = (parts * fmt.channels, *shapes[tensor][1:])
        formats[tensor] = BlockFormat(bits, fmt.signed, (0, parts * fmt.channels), fmt.exponents)
        for node in graph.consumers(tensor):
            parameters[node.name] = _repeated(parameters[node.name], parts)
    graph = replace(graph, shapes=shapes)
    return replace(lowered, artifact=replace(artifact, graph=graph, formats=formats, parameters=parameters), part_bits=part_bits)


def _divides(artifact: Artifact, tensor: str, bits: int) -> bool:
    """Whether parts of so many bits are narrower than the input, and only convolutions with weights of one block read it."""
    fmt, graph = artifact.formats[tensor], artifact.graph
    if bits >= fmt.bits or len(fmt.exponents) > 1 or tensor in graph.outputs:
        return False
    return all(_repeats(artifact, node, tensor) for node in graph.consumers(tensor))


def _repeats(artifact: Artifact, node: Node, tensor: str) -> bool:
    p = artifact.parameters.get(node.name)
    sums = p is not None and p.weights is not None and node.operator.alignment is Alignment.BLOCKS
    return sums and node.shortcut != tensor and len(p.weights.splits) == len(p.align_splits) == 2


def _repeated(p: Parameters, parts: int) -> Parameters:
    """The parameters of a layer that reads each input channel so many times."""
    w = p.weights
    channels = (0, parts * w.splits[-1])
    weights = replace(w, mantissas=np.tile(w.mantissas, (1, parts, 1, 1)), splits=channels)
    return replace(p, weights=weights, align_splits=channels)
