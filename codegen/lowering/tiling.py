"""How a layer is cut to fit the on-chip buffers; docs/architecture.md has the argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from bfp.errors import BfpError
from bfp.graph import Window
from codegen.lowering.array import Array
from codegen.lowering.layer_shape import LayerShape
from codegen.options import EngineOptions

MOST_EXTRA_CUTS, MOST_EXTRA_PASSES = 8, 3
PARTS = (1, 2, 4, 8, 16, 32, 64)  # in which the input of a dilated convolution may come
MOST_GROUP = 32  # words whose biases are kept on chip
BIAS_BEATS = 4  # of 32-bit biases, a beat being a byte for every filter
MOST_SHORTCUT = 512  # beats of a pass's shortcut that wait for it where they come from on-chip memory: what block RAM has anyway


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Buffered:
    """A layer's window as the input buffer sees it.

    stride: within the buffer. row_step, col_step: map rows and columns per
    buffer row and column (those that no window uses are left out). taps:
    kernel columns folded into one word of few channels; kernel: in steps.
    gap: buffer rows and columns from one of these steps to the next.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    row_step: int
    col_step: int
    taps: int
    gap: tuple[int, int]

    def rows(self, out_rows: int) -> int:
        return (out_rows - 1) * self.stride[0] + (self.kernel[0] - 1) * self.gap[0] + 1

    def columns(self, out_columns: int) -> int:
        return (out_columns - 1) * self.stride[1] + (self.kernel[1] - 1) * self.gap[1] + 1


def buffer_window(dense: bool, channels: int, in_words: int, window: Window, lanes: int) -> Buffered:
    """What the input buffer holds for a window.

    channels: of the input; several kernel columns of few channels share a word
    (dense convolutions of one word only: the others have lanes to fill), unless these lie apart.
    """
    (kh, kw), (sh, sw) = window.kernel, window.stride
    # what one kernel row or column alone has for a distance to the next does not matter
    dh, dw = (d if k > 1 else 0 for k, d in zip(window.kernel, window.dilation))
    folds = dense and in_words == 1 and dw <= 1
    taps = max(1, min(kw, lanes // channels)) if folds else 1
    row_step, col_step = math.gcd(sh, dh), math.gcd(sw, dw)
    return Buffered(
        kernel=(kh, ceil_div(kw, taps)),
        stride=(sh // row_step, sw // col_step),
        row_step=row_step,
        col_step=col_step,
        taps=taps,
        gap=(max(dh // row_step, 1), max(dw // col_step, taps)),
    )


def rows_apart(buffered: Buffered, out_height: int) -> tuple[int, Buffered]:
    """Output rows, as far apart as it takes for their windows to share the rows of a dilated kernel, and what the buffer
    holds of a tile of such rows: no row between those.
    """
    gap, gap_across = buffered.gap  # which has no common divisor with the stride
    return min(gap, out_height), replace(buffered, row_step=buffered.row_step * gap, gap=(1, gap_across))


@dataclass(frozen=True)
class Tiling:
    """Output tile, channel words per tile, and passes over it.

    tile_height, tile_width: output pixels; words: input words held per tile, of
    a dense layer in parts (word_tiles of them) for one output word at a time;
    group_words: output words of one pass; chunk_words: input words whose
    weights are on chip at one time; tile_passes, edge_passes: passes over a
    tile, and over one with the last, fewer words. pitch, edge_pitch: words from
    one input row to the next, in full tiles and in the last one across.
    block_pixels: output pixels per block of cycles. apart: output rows from one
    row of a tile to the next.
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
    apart: int


class Cutter:
    """Finds the tilings of one layer that fit the engine's buffers.

    Raises BfpError, naming the layer, where its kernel has more weights than the engine holds.
    """

    def __init__(
        self, layer: LayerShape, options: EngineOptions, array: Array, apart: bool = False, loads: int = 1
    ) -> None:
        """apart: whether the rows of a tile lie as far apart as those of a dilated kernel do. loads: in which the input
        words of a dense layer come, once for each output word."""
        self.layer, self.options, self.array = layer, options, array
        self.buffered = buffer_window(layer.dense, layer.channels, layer.in_words, layer.window, options.lanes)
        self.apart = layer.factors[0]
        if apart:
            self.apart, self.buffered = rows_apart(self.buffered, layer.out_height)
        self.area = self.buffered.kernel[0] * self.buffered.kernel[1]
        if self.area > options.weight_steps and layer.dense:
            kh, kw = layer.window.kernel
            raise BfpError(
                f"layer {layer.name}: its {kh}x{kw} kernel needs {self.area} weight steps, the engine has "
                f"{options.weight_steps}; raise the engine option weight_steps"
            )
        self.chunk_words = min(layer.in_words, options.weight_steps // self.area) if layer.dense else 1
        self.held = layer.in_words if layer.dense else 1
        if loads > 1:
            self.held = self.chunk_words = min(self.chunk_words, ceil_div(layer.in_words, loads))
        self.chunks = ceil_div(layer.in_words, self.chunk_words) if layer.dense else 1
        # a tile must start on a whole memory word of its line
        self.width_step = 8 // math.gcd(layer.out_bits, 8)
        self.block_pixels = array.pixels_of(layer.op) if array.pitch(1, 1, self.buffered.stride) is not None else 1

    def pitch(self, width: int) -> int:
        columns = self.buffered.columns(width)
        if self.layer.pictures > 1:
            return self.array.column_pitch(columns, self.buffered.stride[0]) or columns
        return self.array.pitch(columns, width, self.buffered.stride) or columns

    def plane(self, height: int, width: int) -> int:
        """Words of one channel word's share of a tile."""
        return self.buffered.rows(height) * self.pitch(width)

    def fits(self, height: int, width: int) -> bool:
        limit = self.options.tile_blocks * self.block_pixels if self.chunks > 1 else height * width
        fits = self.held * self.plane(height, width) <= self.options.input_words and height * width <= limit
        return fits and self.layer.joined_beats(height, width) <= MOST_SHORTCUT

    def groups(self, words: int, joined: int) -> list[int]:
        """Output words per pass, for tiles of ``words`` output words: as many as fit, and evenly fewer.

        joined: beats of the shortcut of each that come from on-chip memory.
        """
        if not self.layer.weighted:
            return [words]
        room = max(1, self.options.weight_steps // (self.area * self.chunk_words))
        room = min(room, MOST_SHORTCUT // max(joined, 1))
        most = 1 if self.chunks > 1 else min(words, MOST_GROUP, room)
        fewest = ceil_div(words, most)
        counts = (*range(fewest, fewest + MOST_EXTRA_PASSES + 1), 2 * fewest, 4 * fewest, 8 * fewest)
        return sorted({ceil_div(words, n) for n in counts if n <= words})

    def tile_words(self, plane: int, joined: int) -> list[int]:
        """Input words per tile whose plane has ``plane`` words: all of a dense layer; as many as fit, and fewer.

        joined: as for ``groups``.
        """
        if self.layer.dense:
            return [self.held]
        words = self.layer.in_words
        most = max(1, min(words, self.options.input_words // plane, MOST_SHORTCUT // max(joined, 1)))
        tiles = ceil_div(words, most)
        return sorted({ceil_div(words, n) for n in (tiles, 2 * tiles, 4 * tiles) if n <= words})

    def whole_rows(self) -> bool:
        """Whether tiles of whole rows fit."""
        return self.fits(1, self.layer.out_width)

    def cuts(self, height: int, width: int) -> list[Tiling]:
        """The tilings with tiles of ``height`` x ``width`` output pixels."""
        layer = self.layer
        across = ceil_div(layer.out_width, width)
        edge = layer.out_width - (across - 1) * width
        plane = max(self.plane(height, width), self.plane(height, edge))
        found, joined = [], layer.joined_beats(height, width)
        for words in self.tile_words(plane, joined):
            word_tiles = ceil_div(layer.in_words, words)
            separate = layer.dense and word_tiles > 1
            outputs = layer.out_words if layer.dense else words
            last = layer.out_words if layer.dense else layer.in_words - (word_tiles - 1) * words
            for group in self.groups(outputs, joined):
                steps = group * self.chunk_words * self.area if layer.weighted else 1
                found.append(
                    Tiling(
                        tile_height=height,
                        tile_width=width,
                        tiles_down=ceil_div(ceil_div(layer.out_height - layer.edges, self.apart), height) + layer.edges,
                        tiles_across=across,
                        words=words,
                        word_tiles=word_tiles,
                        group_words=group,
                        chunk_words=self.chunk_words,
                        chunks=self.chunks,
                        tile_passes=1 if separate else ceil_div(outputs, group) * self.chunks,
                        edge_passes=1 if separate else ceil_div(last, group) * self.chunks,
                        input_words=words * plane,
                        weight_steps=steps,
                        bias_words=group if layer.weighted else 1,
                        pool_words=layer.out_words * layer.pool.stored[1] if layer.pool else 1,
                        blocks=ceil_div(height * width, self.block_pixels) if self.chunks > 1 else 1,
                        pitch=self.pitch(width),
                        edge_pitch=self.pitch(edge),
                        block_pixels=self.block_pixels,
                        buffered=self.buffered,
                        apart=self.apart,
                    )
                )
        return found

    def candidates(self) -> list[Tiling]:
        """Whole rows where possible; then some numbers of cuts. Raises BfpError naming the layer where nothing fits."""
        if self.layer.planes_again:
            return self.cuts_of_rows(self.layer.out_width)
        if self.layer.window.dilation == (1, 1) or self.layer.pool:
            return self.of_rows()
        return self.of_dilated()

    def of_dilated(self) -> list[Tiling]:
        """Of a kernel whose positions lie apart: rows apart, too, and the input in parts, of which few rows or many fit.

        Raises BfpError naming the layer where nothing fits.
        """
        most, found, refused = self.layer.in_words if self.layer.dense else 1, [], None
        # what is multiplied from pixel to pixel goes through the rows one by one
        ways = (False,) if self.layer.op.traits.scaled else (False, True)
        for loads in sorted({min(n, most) for n in PARTS}):
            for apart in ways:
                try:
                    found += Cutter(self.layer, self.options, self.array, apart, loads).of_rows()
                except BfpError as error:
                    refused = refused or error
        if not found:
            raise refused
        return found

    def of_rows(self) -> list[Tiling]:
        """Whole rows where possible. Raises BfpError naming the layer where nothing fits."""
        layer, step = self.layer, self.width_step
        widths = [layer.out_width, *range((layer.out_width - 1) // step * step, 0, -step)]
        width = next((w for w in widths if self.fits(1, w)), None)
        if width is None:
            raise self.refusal(widths[-1])
        # of the widths that cut a row into so few tiles, the evenest
        across = ceil_div(layer.out_width, width)
        width = next(w for w in reversed(widths) if ceil_div(layer.out_width, w) == across and self.fits(1, w))
        return self.cuts_of_rows(width)

    def cuts_of_rows(self, width: int) -> list[Tiling]:
        """The tilings with tiles so wide: some numbers of cuts. Raises BfpError where not even one row fits."""
        rows = ceil_div(self.layer.out_height, self.apart)
        if not self.fits(1, width):
            raise self.refusal(width)
        fewest = next(n for n in range(1, rows + 1) if self.fits(ceil_div(rows, n), width))
        heights = {ceil_div(rows, n) for n in range(fewest, min(fewest + MOST_EXTRA_CUTS, rows) + 1)}
        if self.layer.pictures > 1 and self.layer.input_pool:
            heights = {rows}  # the shifts of a mean follow each other word by word, for all pictures
        return [cut for h in sorted(heights, reverse=True) for cut in self.cuts(h, width)]

    def refusal(self, narrowest: int) -> BfpError:
        """What to say where not even a tile of one row and ``narrowest`` columns fits."""
        if self.chunks > 1 and narrowest > self.options.tile_blocks * self.block_pixels:
            return BfpError(
                f"layer {self.layer.name}: its weights come in {self.chunks} chunks, and {narrowest} partial sums must "
                f"wait between them; raise the engine option tile_blocks ({self.options.tile_blocks}) or weight_steps"
            )
        kh, kw = self.buffered.kernel
        return BfpError(
            f"layer {self.layer.name}: one {kh}x{kw} window over {self.held} channel words needs "
            f"{self.held * self.plane(1, narrowest)} words of input, the engine holds {self.options.input_words}; "
            "raise the engine option input_words"
        )
