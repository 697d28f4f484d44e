"""Mantissas wider than the array's operands, as two digits: which layers multiply them so, and that sums stay inside 32 bits.

    w * a = (high * 2**DIGIT_BITS + low) * a          low from 0 to LARGEST_DIGIT, high with the mantissa's sign

The digits of an operand meet those of the other one after the other, at the same place of the walk over windows
(hls/window.hpp), and are added at the exponents of their own. So the accumulator is what it is without digits wherever
a step ends (docs/numerics.md); maps and weights lie in memory and on chip as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.format import mantissa_range
from bfp.graph import Node
from bfp.limits import ACC_LIMIT
from bfp.operators import Alignment
from bfp.parameters import accumulator_bound
from codegen.lowering.array import LARGEST_DIGIT, Array
from codegen.lowering.engine_operators import ENGINE_OPERATOR
from codegen.lowering.layer_fields import DigitFields

ONE_HOT = 1  # the largest weight of a copy


@dataclass(frozen=True)
class Operands:
    """Largest |weight| and |activation| that the layer of a node multiplies in the array."""

    node: Node
    weight: int
    activation: int

    def digits(self, weight: int, activation: int) -> DigitFields:
        """What goes as digits where the array takes these magnitudes at once."""
        return DigitFields(self.weight > weight, self.activation > activation)


def dense_operands(artifact: Artifact, node: Node) -> Operands | None:
    """What a node's own layer multiplies in the array; None where it multiplies nothing there."""
    if node.op not in ENGINE_OPERATOR or not ENGINE_OPERATOR[node.op].traits.dense:
        return None  # a table, or another operator of the engine
    p = artifact.parameters.get(node.name)
    weight = mantissa_range(p.weights.bits, True)[1] if p is not None and p.weights is not None else ONE_HOT
    return Operands(node, weight, artifact.formats[node.main].high)


def digit_fields(artifact: Artifact, node: Node, array: Array) -> DigitFields:
    """What goes as digits in the layer of a node."""
    found = dense_operands(artifact, node)
    return found.digits(array.weight, array.operand) if found else DigitFields()


def prove_digits(artifact: Artifact, operands: Operands, lanes: int) -> None:
    """Raise BfpError, naming the layer, unless its accumulators stay inside 32 bits between the digits of a step as well.

    There the products of some digits are still to come. All that a step adds, each of them with the sign that makes it
    largest, is below (|w| + 2 * LARGEST_DIGIT) * (|a| + 2 * LARGEST_DIGIT) for every lane, at the step's alignment; before
    and after it the accumulator is what it is without digits, which the artifact's proof bounds.
    """
    node = operands.node
    if node.operator.alignment is not Alignment.BLOCKS:
        return  # a copy: its sums are single mantissas
    graph, formats, p = artifact.graph, artifact.formats, artifact.parameters[node.name]
    shortcut = formats[node.shortcut] if node.shortcut else None
    proved = accumulator_bound(node, p, formats[node.main], shortcut, graph.shapes[node.main][1:])
    step = float(lanes * (operands.weight + 2 * LARGEST_DIGIT) * (operands.activation + 2 * LARGEST_DIGIT))
    bound = proved + step * np.exp2(p.align_shift.max(axis=1))
    if np.any(bound >= ACC_LIMIT):
        raise BfpError(
            f"node {node.name}, filter {int(np.argmax(bound))}: its mantissas go as digits on an array that narrow, between "
            f"which the accumulator can reach {bound.max():.4g}, and 32 bits end at {ACC_LIMIT}; ask for fewer products"
        )
