"""How a layer is cut to fit the on-chip buffers; docs/architecture.md has the argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bfp.errors import BfpError
from bfp.graph import Window
from codegen.array import Array
from codegen.options import EngineOptions

# For choosing between tilings only: 3.2 GB/s at 250 MHz through 16-byte words, and
# what starting a load and a pass costs (see codegen.estimate.Timing).
WORDS_PER_CYCLE = 0.8
LOAD_LATENCY, PASS_COST = 64, 44
MOST_EXTRA_CUTS = 8


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
    """Output tile, channel words per tile, and weight chunks.

    tile_height, tile_width: output pixels; words: input words held per tile;
    chunk_words: input words whose weights are on chip at one time. pitch,
    edge_pitch: words from one input row to the next, in full tiles and in the
    last one across. block_pixels: output pixels per block of cycles.
    """

    tile_height: int
    tile_width: int
    tiles_down: int
    tiles_across: int
    words: int
    word_tiles: int
    chunk_words: int
    chunks: int
    input_words: int
    weight_steps: int
    blocks: int
    pitch: int
    edge_pitch: int
    block_pixels: int
    buffered: Buffered


class Cutter:
    """Tries tilings of one layer, whose output has ``out_shape`` (words, height, width)."""

    def __init__(
        self,
        name: str,
        dense: bool,
        channels: int,
        in_words: int,
        out_shape: tuple[int, int, int],
        window: Window,
        options: EngineOptions,
        array: Array,
        out_bits: int,
    ) -> None:
        self.name, self.dense, self.in_words, self.options, self.array = name, dense, in_words, options, array
        self.out_words, self.out_h, self.out_w = out_shape
        self.buffered = buffer_window(dense, channels, in_words, window, options.lanes)
        self.area = self.buffered.kernel[0] * self.buffered.kernel[1]
        if self.area > options.weight_steps and dense:
            kh, kw = window.kernel
            raise BfpError(
                f"layer {name}: its {kh}x{kw} kernel needs {self.area} weight steps, the engine has "
                f"{options.weight_steps}; raise the engine option weight_steps"
            )
        self.chunk_words = min(in_words, options.weight_steps // self.area) if dense else 1
        self.chunks = ceil_div(in_words, self.chunk_words) if dense else 1
        self.held = in_words if dense else 1
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

    def cut(self, height: int, width: int) -> Tiling:
        """The tiling with tiles of ``height`` x ``width`` output pixels."""
        across = ceil_div(self.out_w, width)
        edge = self.out_w - (across - 1) * width
        plane = max(self.plane(height, width), self.plane(height, edge))
        words = self.held if self.dense else max(1, min(self.in_words, self.options.input_words // plane))
        return Tiling(
            tile_height=height,
            tile_width=width,
            tiles_down=ceil_div(self.out_h, height),
            tiles_across=across,
            words=words,
            word_tiles=ceil_div(self.in_words, words),
            chunk_words=self.chunk_words,
            chunks=self.chunks,
            input_words=words * plane,
            weight_steps=self.chunk_words * self.area if self.dense else self.area,
            blocks=ceil_div(height * width, self.block_pixels) if self.chunks > 1 else 1,
            pitch=self.pitch(width),
            edge_pitch=self.pitch(edge),
            block_pixels=self.block_pixels,
            buffered=self.buffered,
        )

    def cost(self, tiling: Tiling) -> float:
        """Modelled cycles, roughly: to choose between tilings."""
        height, width = tiling.tile_height, tiling.tile_width
        pixels, blocks = height * width, ceil_div(height * width, self.block_pixels)
        columns = (self.buffered.columns(width) - 1) * self.buffered.col_step + self.buffered.taps
        load = tiling.words * self.buffered.rows(height) * columns + LOAD_LATENCY
        weights = self.in_words * self.area * self.array.lanes if self.dense else 0
        parts = self.array.lanes // self.array.filters if self.dense else 1
        steps = self.in_words * self.area if self.dense else self.area
        passes = self.out_words if self.dense else tiling.words
        compute = max(blocks * parts * steps, pixels) + PASS_COST * self.chunks
        first = weights // self.chunks + LOAD_LATENCY if weights else 0
        process = first + passes * max(compute, weights)
        traffic = (load + passes * (weights + pixels)) / WORDS_PER_CYCLE
        tiles = tiling.tiles_down * tiling.tiles_across * tiling.word_tiles
        return max(load + tiles * max(process, load), tiles * traffic)

    def choose(self) -> Tiling:
        """Whole rows where possible; then the number of cuts that costs least. Raises BfpError naming the layer."""
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
        return min((self.cut(h, width) for h in sorted(heights, reverse=True)), key=self.cost)
