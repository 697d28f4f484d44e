"""How a layer is cut to fit the on-chip buffers; docs/architecture.md has the argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bfp.errors import BfpError
from bfp.graph import Window
from codegen.lowering.array import Array
from codegen.lowering.fusion import InputPool, Pool
from codegen.lowering.layer_fields import EngineOperator
from codegen.options import EngineOptions

# For choosing between tilings only: 3.2 GB/s at 250 MHz through 16-byte words, and
# what starting a load and a step costs (see codegen.performance.estimate.Timing).
WORDS_PER_CYCLE = 0.8
LOAD_LATENCY, LINE_COST, STEP_COST = 64, 4, 144
MOST_EXTRA_CUTS, MOST_EXTRA_PASSES = 8, 3
MOST_GROUP = 32  # words whose biases are kept on chip
BIAS_BEATS = 4  # of 32-bit biases, a beat being a byte for every filter


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Buffered:
    """A layer's window as the input buffer sees it.

    stride: within the buffer. row_step, col_step: map rows and columns per
    buffer row and column (those that no window uses are left out). taps:
    kernel columns folded into one word of few channels; kernel: in steps.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    row_step: int
    col_step: int
    taps: int

    def rows(self, out_rows: int) -> int:
        return (out_rows - 1) * self.stride[0] + self.kernel[0]

    def columns(self, out_columns: int) -> int:
        return (out_columns - 1) * self.stride[1] + (self.kernel[1] - 1) * self.taps + 1


def buffer_window(dense: bool, channels: int, in_words: int, window: Window, lanes: int) -> Buffered:
    """What the input buffer holds for a window.

    channels: of the input; several kernel columns of few channels share a word
    (dense convolutions of one word only: the others have lanes to fill).
    """
    (kh, kw), (sh, sw) = window.kernel, window.stride
    taps = max(1, min(kw, lanes // channels)) if dense and in_words == 1 else 1
    row_step, col_step = (sh if kh == 1 else 1), (sw if kw == 1 else 1)
    return Buffered((kh, ceil_div(kw, taps)), (sh // row_step, sw // col_step), row_step, col_step, taps)


@dataclass(frozen=True)
class Tiling:
    """Output tile, channel words per tile, and passes over it.

    tile_height, tile_width: output pixels; words: input words held per tile;
    group_words: output words of one pass; chunk_words: input words whose
    weights are on chip at one time; tile_passes, edge_passes: passes over a
    tile, and over one with the last, fewer words. pitch, edge_pitch: words from
    one input row to the next, in full tiles and in the last one across.
    block_pixels: output pixels per block of cycles.
    """

    tile_height: int
    tile_width: int
    tiles_down: int
    tiles_across: int
    words: int
    word_tiles: int
    group_words: int
    chunk_words: int
    chunks: int
    tile_passes: int
    edge_passes: int
    input_words: int
    weight_steps: int
    bias_words: int
    pool_words: int
    blocks: int
    pitch: int
    edge_pitch: int
    block_pixels: int
    buffered: Buffered


@dataclass(frozen=True)
class Cost:
    """Modelled cycles of a tiling, roughly: what choosing between tilings needs.

    inside: of the layer, less its first load. tile: of one tile while nothing
    loads; tile_beats: of memory meanwhile. last_pass: of its last pass; passes: over
    a tile. load, load_beats:
    of the first tile. first_weights: load of the first pass's weights.
    """

    inside: float
    tile: float
    tile_beats: float
    last_pass: float
    passes: int
    load: float
    load_beats: float
    first_weights: float


class Cutter:
    """Tries tilings of one layer, whose output has ``out_shape`` (words, height, width).

    pool, input_pool: that run in it.
    """

    def __init__(
        self,
        name: str,
        op: EngineOperator,
        channels: int,
        in_words: int,
        out_shape: tuple[int, int, int],
        window: Window,
        options: EngineOptions,
        array: Array,
        out_bits: int,
        in_bits: int = 8,
        weight_bits: int = 8,
        shortcut_bits: int = 0,
        pool: Pool | None = None,
        input_pool: InputPool | None = None,
    ) -> None:
        self.name, self.in_words, self.options, self.array = name, in_words, options, array
        self.input_pool = input_pool
        self.dense, self.weighted = op is EngineOperator.CONV, op in (EngineOperator.CONV, EngineOperator.DEPTHWISE)
        self.out_words, self.out_h, self.out_w = out_shape
        self.in_share, self.weight_share = in_bits / 8, weight_bits / 8
        # beats per pixel: of a pooled map fewer are stored than computed, or more where the map is kept
        share = pool.stored[0] * pool.stored[1] / (self.out_h * self.out_w) + pool.keeps_map if pool else 1.0
        self.pool_words = self.out_words * pool.stored[1] if pool else 1
        self.out_share = (out_bits * share + shortcut_bits) / 8
        self.buffered = buffer_window(self.dense, channels, in_words, window, options.lanes)
        self.area = self.buffered.kernel[0] * self.buffered.kernel[1]
        if self.area > options.weight_steps and self.dense:
            kh, kw = window.kernel
            raise BfpError(
                f"layer {name}: its {kh}x{kw} kernel needs {self.area} weight steps, the engine has "
                f"{options.weight_steps}; raise the engine option weight_steps"
            )
        self.chunk_words = min(in_words, options.weight_steps // self.area) if self.dense else 1
        self.chunks = ceil_div(in_words, self.chunk_words) if self.dense else 1
        self.held = in_words if self.dense else 1
        # a tile must start on a whole memory word of its line
        self.width_step = 8 // math.gcd(out_bits, 8)
        self.block_pixels = array.pixels if array.pitch(1, 1, self.buffered.stride) is not None else 1

    def pitch(self, width: int) -> int:
        columns = self.buffered.columns(width)
        return self.array.pitch(columns, width, self.buffered.stride) or columns

    def plane(self, height: int, width: int) -> int:
        """Words of one channel word's share of a tile."""
        return self.buffered.rows(height) * self.pitch(width)

    def fits(self, height: int, width: int) -> bool:
        limit = self.options.tile_blocks * self.block_pixels if self.chunks > 1 else height * width
        return self.held * self.plane(height, width) <= self.options.input_words and height * width <= limit

    def groups(self, words: int) -> list[int]:
        """Output words per pass, for tiles of ``words`` output words: as many as fit, and evenly fewer."""
        most = words
        if self.chunks > 1:
            most = 1
        elif self.weighted:
            most = min(words, MOST_GROUP, max(1, self.options.weight_steps // (self.area * self.chunk_words)))
        fewest = ceil_div(words, most)
        if not self.weighted:
            return [most]
        counts = (*range(fewest, fewest + MOST_EXTRA_PASSES + 1), 2 * fewest, 4 * fewest, 8 * fewest)
        return sorted({ceil_div(words, n) for n in counts if n <= words})

    def tile_words(self, plane: int) -> list[int]:
        """Input words per tile whose plane has ``plane`` words: all of a dense layer; as many as fit, and fewer."""
        if self.dense:
            return [self.held]
        most = max(1, min(self.in_words, self.options.input_words // plane))
        tiles = ceil_div(self.in_words, most)
        return sorted({ceil_div(self.in_words, n) for n in (tiles, 2 * tiles, 4 * tiles) if n <= self.in_words})

    def whole_rows(self) -> bool:
        """Whether tiles of whole rows fit."""
        return self.fits(1, self.out_w)

    def cuts(self, height: int, width: int) -> list[Tiling]:
        """The tilings with tiles of ``height`` x ``width`` output pixels."""
        across = ceil_div(self.out_w, width)
        edge = self.out_w - (across - 1) * width
        plane = max(self.plane(height, width), self.plane(height, edge))
        found = []
        for words in self.tile_words(plane):
            word_tiles = ceil_div(self.in_words, words)
            outputs = self.out_words if self.dense else words
            last = self.out_words if self.dense else self.in_words - (word_tiles - 1) * words
            for group in self.groups(outputs):
                steps = group * self.chunk_words * self.area if self.weighted else 1
                found.append(
                    Tiling(
                        tile_height=height,
                        tile_width=width,
                        tiles_down=ceil_div(self.out_h, height),
                        tiles_across=across,
                        words=words,
                        word_tiles=word_tiles,
                        group_words=group,
                        chunk_words=self.chunk_words,
                        chunks=self.chunks,
                        tile_passes=ceil_div(outputs, group) * self.chunks,
                        edge_passes=ceil_div(last, group) * self.chunks,
                        input_words=words * plane,
                        weight_steps=steps,
                        bias_words=group if self.weighted else 1,
                        pool_words=self.pool_words,
                        blocks=ceil_div(height * width, self.block_pixels) if self.chunks > 1 else 1,
                        pitch=self.pitch(width),
                        edge_pitch=self.pitch(edge),
                        block_pixels=self.block_pixels,
                        buffered=self.buffered,
                    )
                )
        return found

    def cost(self, tiling: Tiling) -> Cost:
        """Modelled cycles, roughly: to choose between tilings."""
        height, width, lanes = tiling.tile_height, tiling.tile_width, self.array.lanes
        pixels, blocks = height * width, ceil_div(height * width, self.block_pixels)
        if self.input_pool:
            columns, lines = self.input_pool.columns(width), tiling.words * self.input_pool.rows(height)
        else:
            columns = (self.buffered.columns(width) - 1) * self.buffered.col_step + self.buffered.taps
            lines = tiling.words * self.buffered.rows(height)
        load_beats = lines * columns * self.in_share
        # whole lines of a plane are one burst
        bursts = lines if width < self.out_w or self.buffered.row_step > 1 else tiling.words
        fetch = (bursts - 1) * (LOAD_LATENCY + LINE_COST) + load_beats
        load = max(lines * (columns + LINE_COST), fetch, load_beats / WORDS_PER_CYCLE)
        outputs = self.out_words if self.dense else tiling.words
        parts = lanes // self.array.filters if self.dense else 1
        inputs = self.in_words if self.dense else 1
        compute = outputs * max(blocks * parts * inputs * self.area, pixels)
        weights = inputs * self.area * (lanes if self.dense else 1) if self.weighted else 0
        rate = max(self.weight_share, 0.5) if self.dense else 1  # two words a cycle unpack, or a beat
        cost_of_weights = rate * weights + (BIAS_BEATS + inputs + 3 * LINE_COST) * self.weighted
        beats = outputs * (weights * self.weight_share + pixels * self.out_share)
        tile = max(compute, outputs * cost_of_weights, beats / WORDS_PER_CYCLE)
        overlapped = max(tile, load, (beats + load_beats) / WORDS_PER_CYCLE)
        tiles = tiling.tiles_down * tiling.tiles_across * tiling.word_tiles
        steps = tiling.tile_passes * STEP_COST
        first_weights = max(cost_of_weights, weights * self.weight_share / WORDS_PER_CYCLE)
        first_weights *= tiling.group_words * (self.chunk_words / self.in_words if self.dense else 1)
        # the last pass of a tile may be shorter, and does not cover the load of the next tile's first weights then
        if tiling.chunks > 1:
            last_pass = tile / outputs * (self.in_words - (tiling.chunks - 1) * self.chunk_words) / self.in_words
        else:
            last_pass = tile * ((outputs - 1) % tiling.group_words + 1) / outputs
        uneven = max(0.0, first_weights - last_pass)
        return Cost(
            (tiles - 1) * (overlapped + uneven + steps) + tile + steps,
            tile,
            beats,
            last_pass,
            tiling.tile_passes,
            load + LOAD_LATENCY + LINE_COST,
            load_beats,
            first_weights,
        )

    def candidates(self) -> list[Tiling]:
        """Whole rows where possible; then some numbers of cuts. Raises BfpError naming the layer where nothing fits."""
        step = self.width_step
        widths = [self.out_w, *range((self.out_w - 1) // step * step, 0, -step)]
        width = next((w for w in widths if self.fits(1, w)), None)
        if width is None and self.chunks > 1 and widths[-1] > self.options.tile_blocks * self.block_pixels:
            raise BfpError(
                f"layer {self.name}: its weights come in {self.chunks} chunks, and {widths[-1]} partial sums must wait "
                f"between them; raise the engine option tile_blocks ({self.options.tile_blocks}) or weight_steps"
            )
        if width is None:
            kh, kw = self.buffered.kernel
            raise BfpError(
                f"layer {self.name}: one {kh}x{kw} window over {self.held} channel words needs "
                f"{self.held * self.plane(1, widths[-1])} words of input, the engine holds {self.options.input_words}; "
                "raise the engine option input_words"
            )
        # of the widths that cut a row into so few tiles, the evenest
        across = ceil_div(self.out_w, width)
        width = next(w for w in reversed(widths) if ceil_div(self.out_w, w) == across and self.fits(1, w))
        fewest = next(n for n in range(1, self.out_h + 1) if self.fits(ceil_div(self.out_h, n), width))
        heights = {ceil_div(self.out_h, n) for n in range(fewest, min(fewest + MOST_EXTRA_CUTS, self.out_h) + 1)}
        return [cut for h in sorted(heights, reverse=True) for cut in self.cuts(h, width)]
