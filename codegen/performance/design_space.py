"""The engines that may run a network on a board: arrays, buffers and widths, and what the model says of each.

A width narrower than the artifact's is the artifact with its mantissas counted
in fewer bits: that decides packing, products per DSP and traffic. What a
calibration at that width would choose anew, its exponents, changes the
figures only where alignment shifts come or go, and LUTs by the range of
requantisation shifts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from bfp.artifact import Artifact
from bfp.deployment import MAX_BATCH
from bfp.errors import BfpError
from bfp.tables import runs_alone
from codegen.lowering.arrangement import arrangements
from codegen.lowering.array import most_depthwise_pixels
from codegen.lowering.engine_operators import ENGINE_OPERATOR, EngineOperator
from codegen.lowering.input_fold import folds
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import Board
from codegen.performance.estimate import estimate
from codegen.performance.memories import block_rams
from codegen.performance.ranges import Ranges
from codegen.performance.resources import area, refuse_what_does_not_fit

DEFAULT = EngineOptions()
LANES = (4, 8, 16, 32)
FILTERS = (2, 4, 8, 16, 32)
PIXELS = (1, 2, 3, 4, 5, 7, 9, 11, 13, 16)  # mostly primes: the input buffer's banks are
# sizes of the buffers, as parts of the default ones (in bytes)
ARRAY_PARTS = (1, 1 / 2, 1 / 4)  # with which the arrays are compared
INPUT_PARTS = (1 / 4, 1 / 2, 1, 3 / 2, 2)
WEIGHT_PARTS = (1 / 4, 1 / 2, 1, 2)
SUM_PARTS = (1 / 2, 2)
MAP_BYTES = (1 << 18, 3 << 16, 1 << 17, 1 << 16)  # of on-chip memory for maps
MAP_PARTS = ((1, 1), (5 / 8, 1 / 2), (1 / 2, 1 / 2))  # of the buffers for inputs and weights beside it
LEAST_GAIN = 1.005  # in frames per second, without which smaller memories for maps are not tried, either
WITH_MAPS = 2  # so many arrays of each width, the fastest, are tried with maps on chip
AHEAD_BYTES = (1 << 16, 1 << 15)  # of the queue of weights
DEPTHWISE_MORE = (-2, 2, 4)  # pixel lanes that depthwise convolution has more than the array
REFINED = 6  # so many arrays of each width have their buffers varied, and as many as half of it for each resource
RESOURCES = ("dsp", "bram36", "lut")
FIGURES = ("cycles", "frames_per_second", "mac_efficiency", "ddr_bytes", *RESOURCES)


@dataclass(frozen=True)
class Point:
    """One engine at one pair of widths, with its modelled figures (see codegen.performance.estimate).

    Figures are the likely ones; ranges: with their low and high ends.
    """

    weights: int
    activations: int
    options: EngineOptions
    products: int
    macs_per_cycle: int
    cycles: int
    frames_per_second: float
    mac_efficiency: float
    ddr_bytes: int
    dsp: int
    bram36: int
    lut: int
    ranges: Ranges

    @property
    def batch(self) -> int:
        """Pictures that its last layers take at once."""
        return self.options.batch

    @property
    def chip_bytes(self) -> int:
        """On-chip memory for maps."""
        return self.options.chip_words * self.options.lanes

    @property
    def depthwise_pixels(self) -> int:
        """Pixel lanes of depthwise convolution: the array's, unless it has its own."""
        return self.options.depthwise_pixels or self.macs_per_cycle // (self.options.lanes * self.options.filters)

    def surely_fits(self, board: Board) -> bool:
        """Whether a board has all that the engine may take, at the high ends of the ranges."""
        return all(getattr(self.ranges, resource).high <= getattr(board, resource) for resource in RESOURCES)

    @property
    def bits(self) -> int:
        """Bits of a weight and an activation together."""
        return self.weights + self.activations


def widths_of(artifact: Artifact) -> tuple[int, int]:
    """Widest mantissas: (weights, activations); inputs, outputs and what indexes tables have widths of their own."""
    weights = [p.weights.bits for p in artifact.parameters.values() if p.weights]
    every = max(fmt.bits for fmt in artifact.formats.values())
    others = (fmt.bits for tensor, fmt in artifact.formats.items() if not _has_own_width(artifact, tensor))
    return max(weights, default=8), max(others, default=every)


def _has_own_width(artifact: Artifact, tensor: str) -> bool:
    graph = artifact.graph
    return tensor in (*graph.inputs, *graph.outputs) or any(n.operator.has_function for n in graph.consumers(tensor))


def narrow(artifact: Artifact, weights: int, activations: int) -> Artifact:
    """The artifact with no mantissa counted wider than so many bits, but for widths of their own; for estimates only."""
    formats = {
        t: f if _has_own_width(artifact, t) else replace(f, bits=min(f.bits, activations))
        for t, f in artifact.formats.items()
    }
    fewer = {name: f.bits - formats[name].bits for name, f in artifact.formats.items()}
    parameters = {}
    for node in artifact.graph.nodes:
        if node.name not in artifact.parameters:
            continue
        p = artifact.parameters[node.name]
        # coarser operands make coarser accumulators, which are shifted less
        shift = p.requantisation_shift + fewer[node.output] - fewer[node.main]
        if p.weights:
            bits = min(p.weights.bits, weights)
            shift -= p.weights.bits - bits
            p = replace(p, weights=replace(p.weights, bits=bits))
        parameters[node.name] = replace(p, requantisation_shift=shift)
    return replace(artifact, formats=formats, parameters=parameters)


def scaled(lanes: int, filters: int, pixels: int, inputs: float, weights: float, sums: float) -> EngineOptions:
    """Options whose buffers are these parts of the default ones; a word holds ``lanes`` bytes."""
    words = DEFAULT.lanes / lanes
    return EngineOptions(
        lanes=lanes,
        filters=filters,
        pixels=pixels,
        input_words=max(16, int(DEFAULT.input_words * words * inputs)),
        weight_steps=min(4096, max(1, int(DEFAULT.weight_steps * words**2 * weights))),
        tile_blocks=max(1, int(DEFAULT.tile_blocks * words * DEFAULT.pixels / pixels * sums)),
    )


def reason(error: BfpError) -> str:
    """What a refusal is about, without the figures and names of the one point."""
    sentence = str(error)
    if found := re.search(r"needs \d+ (\w+) \(modelled\)", sentence):
        return f"{found.group(1)} beyond the board's"
    if found := re.search(r"raise the engine option (\w+)", sentence):
        return f"{found.group(1)} too few for a layer"
    if "an exponent group" in sentence:
        return "lanes more than the channels of an exponent group"
    return re.sub(r"\d+", "N", sentence)


class Explorer:
    """Collects the points that fit ``board``, and counts the reasons of those that do not."""

    def __init__(self, artifact: Artifact, board: Board) -> None:
        self.artifact, self.board = artifact, board
        self.points: dict[tuple[int, int, EngineOptions], Point] = {}
        self.refused: dict[tuple[int, int, EngineOptions], str] = {}
        self.narrowed: dict[tuple[int, int], Artifact] = {}

    def point(self, widths: tuple[int, int], options: EngineOptions) -> Point | None:
        """The modelled point; None where it is refused."""
        key = (*widths, options)
        if key not in self.points and key not in self.refused:
            try:
                self.points[key] = self._evaluate(widths, options)
            except BfpError as error:
                self.refused[key] = reason(error)
        return self.points.get(key)

    def _evaluate(self, widths: tuple[int, int], options: EngineOptions) -> Point:
        if widths not in self.narrowed:
            self.narrowed[widths] = narrow(self.artifact, *widths)
        artifact = self.narrowed[widths]
        ports = (self.board.multiplier_bits, self.board.narrow_multiplier_bits)
        array = arrangements([artifact], options, *ports)[0].array
        if array.macs > self.board.dsp * array.products:  # seen before anything is cut
            raise BfpError(f"needs {array.macs // array.products} dsp (modelled)")
        program = build([artifact], options, self.board, with_weights=False)
        built = area(program, self.board)
        refuse_what_does_not_fit(program, self.board, built)
        result = estimate(program, self.board, built=built)
        figures = {name: result[name] for name in FIGURES}
        return Point(*widths, options, program.array.products, program.array.macs, **figures, ranges=Ranges.of(result))

    def arrays(self, widths: tuple[int, int]) -> Iterator[Point]:
        """Every size of the array, with the largest of some sizes of buffers that fits."""
        for lanes in LANES:
            for filters in (f for f in FILTERS if f <= lanes):
                for pixels in PIXELS:
                    point = self.array(widths, lanes, filters, pixels)
                    if point:
                        yield point

    def array(
        self, widths: tuple[int, int], lanes: int, filters: int, pixels: int, parts: Iterable[float] = ARRAY_PARTS
    ) -> Point | None:
        """One size of the array, with the largest of some sizes of buffers that fits; None where none does.

        parts: of the default sizes, from the largest on.
        """
        for part in parts:
            options = scaled(lanes, filters, pixels, part, part, 1)
            point = self.point(widths, options)
            # smaller buffers only help where block RAM is short
            if point or not self.refused[(*widths, options)].startswith("bram36"):
                return point
        return None

    def buffers(self, widths: tuple[int, int], options: EngineOptions) -> None:
        """Several sizes of the buffers for one array."""
        sizes = [(inputs, weights, 1) for inputs in INPUT_PARTS for weights in WEIGHT_PARTS]
        # partial sums wait only where weights come in chunks, so that their room is tried by itself
        sizes += [(inputs, 1, sums) for inputs in (1, 3 / 2) for sums in SUM_PARTS]
        for parts in sizes:
            self.point(widths, scaled(options.lanes, options.filters, options.pixels, *parts))

    def batches(self, widths: tuple[int, int]) -> None:
        """The fastest engines with batches of pictures: of two, and of as many as fill the pixel lanes once and more often.

        Only the first is tried where no layer of the network can take several pictures.
        """
        for point in self.leading(widths, 1):
            lanes = point.macs_per_cycle // (point.options.lanes * point.options.filters)
            for batch in sorted({2, *(times * lanes for times in (1, 2, 4))} & set(range(2, MAX_BATCH + 1))):
                options = replace(point.options, batch=batch)
                self.point(widths, options)
                if "no layer" in self.refused.get((*widths, options), ""):
                    return

    def leading(self, widths: tuple[int, int], count: int) -> list[Point]:
        """So many of the fastest engines for one picture at a time, and as many of those that surely fit the board."""
        mine = [p for p in self.points.values() if (p.weights, p.activations) == widths and p.batch == 1]
        mine.sort(key=lambda p: -p.frames_per_second)
        sure = [p for p in mine if p.surely_fits(self.board)]
        return list(dict.fromkeys([*mine[:count], *sure[:count]]))

    def folds(self, widths: tuple[int, int]) -> None:
        """The fastest engines with inputs folded, where they can be."""
        for point in self.leading(widths, 2):
            if folds([self.narrowed[widths]], point.options.lanes):
                self.point(widths, replace(point.options, fold_input=1))

    def depthwise(self, widths: tuple[int, int]) -> None:
        """The fastest engines with fewer and with more pixel lanes of depthwise convolution, where the network has any."""
        if EngineOperator.DEPTHWISE not in {ENGINE_OPERATOR[n.op] for n in self.artifact.graph.nodes if runs_alone(n.operator)}:
            return
        for point in self.leading(widths, 1):
            for pixels in (point.depthwise_pixels + more for more in DEPTHWISE_MORE):
                if 1 <= pixels <= most_depthwise_pixels(point.options.pixels):
                    self.point(widths, replace(point.options, depthwise_pixels=pixels))

    def ahead(self, widths: tuple[int, int]) -> None:
        """The fastest engines with a queue of weights, where there is block RAM for it."""
        for point in self.leading(widths, 1):
            for words in (size // point.options.lanes for size in AHEAD_BYTES):
                if point.bram36 + block_rams(8 * point.options.lanes, words) <= self.board.bram36:
                    self.point(widths, replace(point.options, weights_ahead=words))

    def maps(self, widths: tuple[int, int], options: EngineOptions) -> None:
        """Several sizes of on-chip memory for maps, which takes the block RAM that smaller buffers leave, for one array.

        The largest first for which there is block RAM; smaller ones where that one makes the network faster.
        """
        for inputs, weights in MAP_PARTS:
            buffers = scaled(options.lanes, options.filters, options.pixels, inputs, weights, 1)
            without = self.point(widths, buffers)
            if without is None:
                continue
            for words in (size // options.lanes for size in MAP_BYTES):
                if without.bram36 + block_rams(8 * options.lanes, words) > self.board.bram36:
                    continue
                point = self.point(widths, replace(buffers, chip_words=words))
                if point and point.frames_per_second < LEAST_GAIN * without.frames_per_second:
                    break

    def levers(self, widths: tuple[int, int], arrays: Iterable[EngineOptions]) -> None:
        """What some arrays may have besides, one after the other, each for the engines that are fastest by then: maps on
        chip, folded inputs, lanes of depthwise convolution, a queue of weights, and batches."""
        for options in arrays:
            self.maps(widths, options)
        for lever in (self.folds, self.depthwise, self.ahead, self.batches):
            lever(widths)

    def search(self, widths: tuple[int, int]) -> None:
        """Arrays first; then the buffers of the promising ones: the fastest, and those on a front; then all levers."""
        found = list(self.arrays(widths))
        promising = sorted(found, key=lambda p: -p.frames_per_second)[:REFINED]
        for resource in RESOURCES:
            promising += front(found, resource)[-REFINED // 2 :]
        arrays = list(dict.fromkeys(p.options for p in promising))
        for options in arrays:
            self.buffers(widths, options)
        self.levers(widths, arrays[:WITH_MAPS])


def price(point: Point, cost: str) -> int:
    """What a point pays: of a resource, or pictures of a batch, which wait for each other, the less the better; of "bits",
    which accuracy wants, the more the better."""
    return -point.bits if cost == "bits" else getattr(point, cost)


def front(points: Iterable[Point], cost: str) -> list[Point]:
    """Points that no other equals or beats in both frames per second and ``cost``, the cheapest first.

    cost: one of RESOURCES, "chip_bytes", "depthwise_pixels", "batch" or "bits" (see :func:`price`). Of points equal in both, the first is kept.
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (price(p, cost), -p.frames_per_second)):
        if not best or point.frames_per_second > best[-1].frames_per_second:
            best.append(point)
    return best


def fastest(points: Iterable[Point]) -> Point:
    """The most frames per second; of equals, the one with the fewest block RAMs and LUTs."""
    return max(points, key=lambda p: (p.frames_per_second, -p.bram36, -p.lut))
