"""For which mantissas the array of a program is built: the widest ones, or narrower ones, with some divided.

One array is built for all layers. A few wide operands (an input of 8 bits, a residual stream, the weights of a sensitive
layer) would halve the products of every DSP in all of them. So it may be built for narrower ones: the layers that
multiply wider ones take the digits of these one after the other (codegen/lowering/digits.py), and an input may lie in
parts (codegen/lowering/input_parts.py). The other layers lose nothing, and the integers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.format import MAX_BITS, MIN_BITS
from codegen.lowering.array import LARGEST_DIGIT, Array, build_array
from codegen.lowering.digits import ONE_HOT, Operands, dense_operands, prove_digits
from codegen.lowering.input_fold import folded, folds
from codegen.lowering.input_parts import Lowered, in_parts
from codegen.lowering.tiling import buffer_window, ceil_div
from codegen.options import EngineOptions


@dataclass(frozen=True)
class Arrangement:
    """An array, and the artifacts as they run on it."""

    array: Array
    lowered: list[Lowered]


@dataclass(frozen=True)
class Multiplied:
    """What the array multiplies for a layer. words: of the input at all kernel positions, as a walk over windows takes
    them. shape: filters, height and width of what is computed, or None for the copy of a shortcut, which is seldom needed.
    """

    artifact: Artifact
    operands: Operands
    words: int = 0
    shape: tuple[int, int, int] | None = None

    def steps(self, array: Array) -> int:
        """Cycles of the array, but for what tiles and edges add."""
        if self.shape is None:
            return 0
        filters, height, width = self.shape
        blocks = ceil_div(filters, array.filters) * ceil_div(height * width, array.pixels)
        return self.words * blocks * self.operands.digits(array.weight, array.operand).pairs

    def check(self, array: Array) -> None:
        """Raise BfpError, naming the layer, where digits might leave 32 bits on their way; a copy's sums are single mantissas."""
        if self.shape is not None and self.operands.digits(array.weight, array.operand).pairs > 1:
            prove_digits(self.artifact, self.operands, array.lanes)


def multiplied(artifact: Artifact, lanes: int) -> Iterator[Multiplied]:
    """All layers of the array, and the copies of shortcuts that may be needed."""
    graph, formats = artifact.graph, artifact.formats
    for node in graph.computed():
        if (own := dense_operands(artifact, node)) is not None:
            channels = graph.shapes[node.main][0]
            words = ceil_div(channels, lanes)
            kernel = buffer_window(True, channels, words, node.window, lanes).kernel
            yield Multiplied(artifact, own, words * math.prod(kernel), graph.shapes[node.output])
        if node.shortcut:
            yield Multiplied(artifact, Operands(node, ONE_HOT, formats[node.shortcut].high))


def at_once(layers: list[Multiplied], weight: float, activation: float) -> tuple[int, int]:
    """Largest |weight| and |activation| that an array multiplies where those above these limits go as digits."""
    weights, activations = [1], [1]
    for operands in (layer.operands for layer in layers):
        digits = operands.digits(weight, activation)
        weights.append(LARGEST_DIGIT if digits.wide_weights else operands.weight)
        activations.append(LARGEST_DIGIT if digits.wide_operands else operands.activation)
    return max(weights), max(activations)


def all_at_once(layers: list[Multiplied]) -> list[tuple[int, int]]:
    """What arrays may multiply at once: all mantissas as they are, first; then less and less, the others as digits."""
    # nothing is gained by digits of what is as narrow as a digit
    weights = {LARGEST_DIGIT, *(max(layer.operands.weight, LARGEST_DIGIT) for layer in layers)}
    activations = {LARGEST_DIGIT, *(max(layer.operands.activation, LARGEST_DIGIT) for layer in layers)}
    limits = [(w, a) for w in sorted(weights, reverse=True) for a in sorted(activations, reverse=True)]
    return list(dict.fromkeys([at_once(layers, math.inf, math.inf), *(at_once(layers, *limit) for limit in limits)]))


def inputs_in_parts(whole: list[Lowered]) -> Iterator[list[Lowered]]:
    """The artifacts with inputs in parts, of every width with which one has any."""
    for bits in range(MAX_BITS - 1, MIN_BITS - 1, -1):
        lowered = [in_parts(one, bits) for one in whole]
        if any(one.part_bits for one in lowered):
            yield lowered


def inputs_folded(artifacts: list[Artifact], options: EngineOptions) -> Iterator[list[Lowered]]:
    """The artifacts as they are; then, where the engine is to, with inputs folded into all blocks that may be."""
    yield [Lowered(artifact, {}, {}) for artifact in artifacts]
    if options.fold_input:
        for fold in folds(artifacts, options.lanes):
            yield [folded(artifact, fold, options.lanes) for artifact in artifacts]


@dataclass(frozen=True)
class Candidate:
    """An arrangement that may be chosen, and what its array multiplies."""

    arrangement: Arrangement
    layers: list[Multiplied]

    @cached_property
    def steps(self) -> int:
        """Cycles of the array over all layers, but for what tiles and edges add."""
        return sum(layer.steps(self.arrangement.array) for layer in self.layers)

    @property
    def rank(self) -> tuple[int, int]:
        """The less the better: of equal steps the longest chain, which is least logic."""
        return self.steps, -self.arrangement.array.chain

    def check(self) -> None:
        """Raise BfpError, naming the layer, where a sum might leave 32 bits between digits."""
        for layer in self.layers:
            layer.check(self.arrangement.array)


def arrangements(
    artifacts: list[Artifact], options: EngineOptions, multiplier_bits: int, narrow_multiplier_bits: int
) -> list[Arrangement]:
    """What may be built, whether its inputs are folded or not; see ``arrangements_of``."""
    found, refused = [], []
    for lowered in inputs_folded(artifacts, options):
        try:
            found += arrangements_of(lowered, options, multiplier_bits, narrow_multiplier_bits)
        except BfpError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def arrangements_of(
    whole: list[Lowered], options: EngineOptions, multiplier_bits: int, narrow_multiplier_bits: int
) -> list[Arrangement]:
    """The array for the widest mantissas, first, and what takes fewer steps: the best one with digits, and with parts.

    multiplier_bits, narrow_multiplier_bits: of the operands of the chip's DSPs. Raises BfpError, as build_array does,
    where the option ``products`` asks for more than any of them allows.
    """
    refused: list[BfpError] = []
    unproved: list[BfpError] = []

    def candidates(lowered: list[Lowered]) -> list[Candidate | None]:
        layers, found = [layer for one in lowered for layer in multiplied(one.artifact, options.lanes)], []
        for largest in all_at_once(layers):
            try:
                array = build_array(options, *largest, multiplier_bits, narrow_multiplier_bits)
            except BfpError as error:
                refused.append(error)
                found.append(None)
            else:
                found.append(Candidate(Arrangement(array, lowered), layers))
        return found

    def best(group: list[Candidate | None]) -> list[Arrangement]:
        """The first one that is proved, of those that take fewer steps; none where there is none."""
        for one in sorted((c for c in group if c and (widest is None or c.steps < widest.steps)), key=lambda c: c.rank):
            try:
                one.check()
            except BfpError as error:
                unproved.append(error)
            else:
                return [one.arrangement]
        return []

    widest, *with_digits = candidates(whole)
    with_parts = [one for lowered in inputs_in_parts(whole) for one in candidates(lowered)]
    found = [*([widest.arrangement] if widest else []), *best(with_digits), *best(with_parts)]
    if not found:
        digits = f"; mantissas as digits do not give more: {unproved[0]}" if unproved else ""
        raise BfpError(f"{refused[0]}{digits}")
    return found


def least(possible: list[Arrangement], rank: Callable[[Arrangement], tuple[bool, int]]) -> Arrangement:
    """The first one of the least rank; an only one is not ranked. Raises the first BfpError where every rank raises one."""
    if len(possible) == 1:
        return possible[0]
    ranked, refused = [], []
    for one in possible:
        try:
            ranked.append((rank(one), one))
        except BfpError as error:  # the buffers do not hold a layer: another array may read it otherwise
            refused.append(error)
    if not ranked:
        raise refused[0]
    return min(ranked, key=lambda pair: pair[0])[1]
