"""Inputs wider than the array's operands, in parts: narrower mantissas that share the input's exponent and its weights.

One array is built for the widest operands of the whole network. An input of 8
bits in a network of 5 would halve the products of every DSP. Its mantissa is
the sum of some narrower ones, and a product of the sum is the sum of the
products: so the input lies in memory with each channel several times, and the
layers that read it have the same weights as often. The sums are the same
integers (docs/numerics.md), and of few channels the lanes would idle.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.format import MAX_BITS, MIN_BITS, BlockFormat, mantissa_range
from bfp.graph import Node
from bfp.layout import part_count, to_parts
from bfp.operators import Alignment
from bfp.parameters import Parameters
from codegen.lowering.array import Array, build_array
from codegen.lowering.engine_operators import ENGINE_OPERATOR
from codegen.lowering.tiling import buffer_window
from codegen.options import EngineOptions


@dataclass(frozen=True)
class Lowered:
    """An artifact as the engine computes it. part_bits: of its inputs that lie in parts, the parts' width, by tensor."""

    artifact: Artifact
    part_bits: dict[str, int]

    def as_stored(self, mantissas: np.ndarray, formats: dict[str, BlockFormat]) -> np.ndarray:
        """What the artifact takes, int16 [N, C, H, W], of the network's own input mantissas; formats: the network's."""
        ends = np.cumsum([formats[t].channels for t in self.artifact.graph.inputs])
        inputs = zip(self.artifact.graph.inputs, np.split(mantissas, ends[:-1], axis=1))
        parts = [to_parts(x, formats[t], self.part_bits[t]) if t in self.part_bits else x for t, x in inputs]
        return np.concatenate(parts, axis=1)


def fitted(
    artifacts: list[Artifact], options: EngineOptions, multiplier_bits: int, narrow_multiplier_bits: int
) -> tuple[Array, list[Lowered]]:
    """The array, and the artifacts as they run on it: with inputs in parts, where all layers together take fewer steps so.

    multiplier_bits, narrow_multiplier_bits: of the operands of the chip's DSPs. Raises BfpError as build_array does.
    """

    def built(lowered: list[Lowered]) -> Array:
        widest = widest_operands([one.artifact for one in lowered])
        return build_array(options, *widest, multiplier_bits, narrow_multiplier_bits)

    whole = [Lowered(a, {}) for a in artifacts]
    found = []
    for bits in range(MAX_BITS - 1, MIN_BITS - 1, -1):
        lowered = [in_parts(a, bits) for a in artifacts]
        if any(one.part_bits for one in lowered):
            with suppress(BfpError):  # where the option ``products`` asks for narrower operands than these
                found.append((built(lowered), lowered))
    with suppress(BfpError) if found else nullcontext():
        found.insert(0, (built(whole), whole))
    # of equals the longest chain, which is least logic; the input as it is comes first
    return min(found, key=lambda pair: (block_steps(pair[1], pair[0]), -pair[0].chain))


def widest_operands(artifacts: list[Artifact]) -> tuple[int, int]:
    """Largest magnitudes that meet in the array: of weights, and of activations (1 where there is none)."""
    weight, activation = 1, 1
    for artifact in artifacts:
        for node in artifact.graph.computed():
            if node.op not in ENGINE_OPERATOR:
                continue  # a table: nothing is multiplied
            if ENGINE_OPERATOR[node.op].traits.dense:
                if node.weighted:
                    weight = max(weight, mantissa_range(artifact.parameters[node.name].weights.bits, True)[1])
                activation = max(activation, artifact.formats[node.main].high)
            if node.shortcut:  # it may have to be copied through the array
                activation = max(activation, artifact.formats[node.shortcut].high)
    return weight, activation


def block_steps(lowered: list[Lowered], array: Array) -> int:
    """Steps of the array over all dense layers, but for what tiles and edges add."""
    return sum(_layer_steps(one.artifact, node, array) for one in lowered for node in one.artifact.graph.weighted())


def _layer_steps(artifact: Artifact, node: Node, array: Array) -> int:
    if not ENGINE_OPERATOR[node.op].traits.dense:
        return 0
    channels, (filters, height, width) = artifact.graph.shapes[node.main][0], artifact.graph.shapes[node.output]
    words = -(-channels // array.lanes)
    kernel = buffer_window(True, channels, words, node.window, array.lanes).kernel
    return words * kernel[0] * kernel[1] * -(-filters // array.filters) * -(-height * width // array.pixels)


def in_parts(artifact: Artifact, bits: int) -> Lowered:
    """The same network, to the last integer, whose wide inputs lie in parts of so many bits."""
    part_bits = {t: bits for t in artifact.graph.inputs if _divides(artifact, t, bits)}
    if not part_bits:
        return Lowered(artifact, {})
    graph, shapes, formats = artifact.graph, dict(artifact.graph.shapes), dict(artifact.formats)
    parameters = dict(artifact.parameters)
    for tensor in part_bits:
        fmt, parts = formats[tensor], part_count(formats[tensor], bits)
        shapes[tensor] = (parts * fmt.channels, *shapes[tensor][1:])
        formats[tensor] = BlockFormat(bits, fmt.signed, (0, parts * fmt.channels), fmt.exponents)
        for node in graph.consumers(tensor):
            parameters[node.name] = _repeated(parameters[node.name], parts)
    graph = replace(graph, shapes=shapes)
    return Lowered(replace(artifact, graph=graph, formats=formats, parameters=parameters), part_bits)


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
