"""How a layer is cut to fit the on-chip buffers; docs/architecture.md has the argument."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.errors import BfpError
from bfp.graph import Window
from codegen.array import Array
from codegen.options import EngineOptions


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


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def choose(
    name: str,
    dense: bool,
    in_words: int,
    out_size: tuple[int, int],
    window: Window,
    options: EngineOptions,
    array: Array,
) -> Tiling:
    """Largest tiles that fit: whole rows first, then as many rows as possible.

    A dense convolution needs all its input words at once; other operators
    treat each word on its own. Raises BfpError where one window does not fit.
    """
    (kh, kw), (sh, sw), (out_h, out_w) = window.kernel, window.stride, out_size
    area = kh * kw
    if area > options.weight_steps and dense:
        raise BfpError(
            f"layer {name}: its {kh}x{kw} kernel needs {area} weight steps, the engine has {options.weight_steps}; "
            "raise the engine option weight_steps"
        )
    chunk_words = min(in_words, options.weight_steps // area) if dense else 1
    chunks = ceil_div(in_words, chunk_words) if dense else 1
    held = in_words if dense else 1
    block_pixels = array.pixels if array.pitch(1, 1, window.stride) is not None else 1
    pixel_limit = options.tile_blocks * block_pixels if chunks > 1 else out_h * out_w

    def pitch(tw: int) -> int:
        in_width = (tw - 1) * sw + kw
        return array.pitch(in_width, tw, window.stride) or in_width

    def held_words(th: int, tw: int) -> int:
        return ((th - 1) * sh + kh) * pitch(tw)

    def fits(th: int, tw: int) -> bool:
        return held * held_words(th, tw) <= options.input_words and th * tw <= pixel_limit

    across = next((n for n in range(1, out_w + 1) if fits(1, ceil_div(out_w, n))), None)
    if across is None:
        raise BfpError(
            f"layer {name}: one {kh}x{kw} window over {held} channel words needs {held * held_words(1, 1)} words of input, "
            f"the engine holds {options.input_words}; raise the engine option input_words"
        )
    tile_width = ceil_div(out_w, across)
    down = next(n for n in range(1, out_h + 1) if fits(ceil_div(out_h, n), tile_width))
    tile_height = ceil_div(out_h, down)
    across = ceil_div(out_w, tile_width)
    edge_width = out_w - (across - 1) * tile_width
    # a narrower last tile may have a slightly larger pitch than its width needs, never a larger tile
    window_words = max(held_words(tile_height, tile_width), held_words(tile_height, edge_width))
    words = held if dense else max(1, min(in_words, options.input_words // window_words))
    return Tiling(
        tile_height=tile_height,
        tile_width=tile_width,
        tiles_down=ceil_div(out_h, tile_height),
        tiles_across=across,
        words=words,
        word_tiles=ceil_div(in_words, words),
        chunk_words=chunk_words,
        chunks=chunks,
        input_words=words * window_words,
        weight_steps=chunk_words * area if dense else area,
        blocks=ceil_div(tile_height * tile_width, block_pixels) if chunks > 1 else 1,
        pitch=pitch(tile_width),
        edge_pitch=pitch(edge_width),
        block_pixels=block_pixels,
    )
