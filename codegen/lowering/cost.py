"""Modelled cycles of a tiling, roughly: what choosing between tilings needs, on a given machine.

The exact figures are made of a whole program (codegen.performance.estimate).
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.lowering.array import Array
from codegen.lowering.layer_shape import LayerShape
from codegen.lowering.tiling import BIAS_BEATS, Tiling, ceil_div
from codegen.performance.board import Board
from codegen.performance.timing import Timing


@dataclass(frozen=True)
class Machine:
    """What tilings must know of the board and of the engine's pipelines.

    words_per_cycle: of the engine's lanes, that external memory sustains. In cycles, load_latency: until the first
    word of a burst; loop_cost: of entering a loop; step_cost: of a step besides the work of its stages.
    """

    words_per_cycle: float
    load_latency: int
    loop_cost: int
    step_cost: int

    @staticmethod
    def of(board: Board, timing: Timing, lanes: int) -> Machine:
        """The machine that an engine of so many lanes is on a board."""
        # a step ends when its pipelines have drained and the last write is answered
        step = timing.step_overhead + timing.pipeline_depth + timing.memory_latency
        words = board.bytes_per_cycle / lanes
        return Machine(words, timing.memory_latency, timing.loop_overhead, step)


@dataclass(frozen=True)
class Cost:
    """Modelled cycles of a tiling.

    inside: of the layer, less its first load. tile: of one tile while nothing
    loads; tile_beats: of memory meanwhile. last_pass: of its last pass; passes: over
    a tile. load, load_beats: of the first tile. first_weights: load of the first pass's weights.
    """

    inside: float
    tile: float
    tile_beats: float
    last_pass: float
    passes: int
    load: float
    load_beats: float
    first_weights: float


def load_cost(layer: LayerShape, tiling: Tiling, machine: Machine) -> tuple[float, float]:
    """Cycles and beats of memory of one tile's input: none of them where that lies on chip."""
    if layer.reads_chip:
        return fetch_cost(layer, tiling, 0, 1.0)[0], 0.0
    return fetch_cost(layer, tiling, machine.load_latency + machine.loop_cost, machine.words_per_cycle)


def fetch_cost(layer: LayerShape, tiling: Tiling, burst: int, words_per_cycle: float) -> tuple[float, float]:
    """Cycles and beats of one tile's input, from a memory of so many words a cycle. burst: cycles until its first word."""
    height, width, buffered = tiling.tile_height, tiling.tile_width, tiling.buffered
    if layer.planes_again:
        # of each row phase, all column phases; a plane is a burst
        columns, lines = (width - layer.edges) // layer.factors[1], tiling.words * height * layer.planes_again
        beats = lines * columns * (layer.in_bits / 8)
        fetch = (tiling.words * layer.planes_again - 1) * burst + beats
        return max(lines * columns, fetch, beats / words_per_cycle), beats
    if layer.input_pool:
        columns, lines = layer.input_pool.columns(width), tiling.words * layer.input_pool.rows(height)
    else:
        columns = (buffered.columns(width) - 1) * buffered.col_step + buffered.taps
        lines = tiling.words * buffered.rows(height)
    beats = lines * columns * (layer.in_bits / 8)
    # whole lines of a plane are one burst
    bursts = lines if width < layer.out_width or buffered.row_step > 1 else tiling.words
    if layer.pictures > 1:  # of each of them
        bursts = tiling.words * height
    fetch = (bursts - 1) * burst + beats
    return max(lines * columns, fetch, beats / words_per_cycle), beats


def tiling_cost(layer: LayerShape, tiling: Tiling, array: Array, machine: Machine) -> Cost:
    """Modelled cycles of a layer, cut like this."""
    lanes, weight_share = array.lanes, layer.weight_bits / 8
    area = tiling.buffered.kernel[0] * tiling.buffered.kernel[1]
    pixels = tiling.tile_height * tiling.tile_width
    load, load_beats = load_cost(layer, tiling, machine)
    # of an input in parts, a tile is a part of one output word
    in_parts = layer.dense and tiling.word_tiles > 1
    outputs = 1 if in_parts else layer.out_words if layer.dense else tiling.words
    parts = lanes // array.filters if layer.dense else 1
    inputs = tiling.words if in_parts else layer.in_words if layer.dense else 1
    work = parts * inputs * area * layer.digits.pairs
    compute = outputs * max(ceil_div(pixels, tiling.block_pixels) * work, pixels)
    joined = outputs * layer.joined_beats(height=tiling.tile_height, width=tiling.tile_width)
    weights = inputs * area * (lanes if layer.dense else 1) if layer.weighted else 0
    rate = max(weight_share, 0.5) if layer.dense else 1  # two words a cycle unpack, or a beat
    cost_of_weights = rate * weights + (BIAS_BEATS + inputs + 3 * machine.loop_cost) * layer.weighted
    beats = outputs * (weights * weight_share + pixels * layer.stored_beats)
    tile = max(compute, outputs * cost_of_weights, beats / machine.words_per_cycle)
    # on-chip memory is read for a tile, then for a shortcut
    overlapped = max(tile, load * layer.reads_chip + joined, load, (beats + load_beats) / machine.words_per_cycle)
    tiles = tiling.tiles_down * tiling.apart * tiling.tiles_across * tiling.word_tiles
    tiles *= layer.out_words if in_parts else 1
    steps = tiling.tile_passes * machine.step_cost
    first_weights = max(cost_of_weights, weights * weight_share / machine.words_per_cycle)
    first_weights *= tiling.group_words * (tiling.chunk_words / inputs if layer.dense else 1)
    # the last pass of a tile may be shorter, and does not cover the load of the next tile's first weights then
    if in_parts:
        last_pass = tile
    elif tiling.chunks > 1:
        last_pass = tile / outputs * (layer.in_words - (tiling.chunks - 1) * tiling.chunk_words) / layer.in_words
    else:
        last_pass = tile * ((outputs - 1) % tiling.group_words + 1) / outputs
    uneven = max(0.0, first_weights - last_pass)
    return Cost(
        inside=(tiles - 1) * (overlapped + uneven + steps) + tile + steps,
        tile=tile,
        tile_beats=beats,
        last_pass=last_pass,
        passes=tiling.tile_passes,
        load=load + machine.load_latency + machine.loop_cost,
        load_beats=load_beats,
        first_weights=first_weights,
    )
