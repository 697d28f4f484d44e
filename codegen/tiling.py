"""How a layer is cut to fit the on-chip buffers; docs/architecture.md has the argument."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.errors import BfpError
from bfp.graph import Window
from codegen.options import EngineOptions


@dataclass(frozen=True)
class Tiling:
    """Output tile, channel words per tile, and weight chunks.

    tile_height, tile_width: output pixels; words: input words held per tile;
    chunk_words: input words whose weights are on chip at one time.
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


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def choose(
    name: str, dense: bool, in_words: int, out_size: tuple[int, int], window: Window, options: EngineOptions
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
    pixel_limit = options.tile_blocks * options.pixels if chunks > 1 else out_h * out_w

    def extent(n: int, stride: int, kernel: int) -> int:
        return (n - 1) * stride + kernel

    def fits(th: int, tw: int) -> bool:
        return held * extent(th, sh, kh) * extent(tw, sw, kw) <= options.input_words and th * tw <= pixel_limit

    across = next((n for n in range(1, out_w + 1) if fits(1, ceil_div(out_w, n))), None)
    if across is None:
        raise BfpError(
            f"layer {name}: one {kh}x{kw} window over {held} channel words needs {held * area} words of input, "
            f"the engine holds {options.input_words}; raise the engine option input_words"
        )
    tile_width = ceil_div(out_w, across)
    down = next(n for n in range(1, out_h + 1) if fits(ceil_div(out_h, n), tile_width))
    tile_height = ceil_div(out_h, down)
    window_words = extent(tile_height, sh, kh) * extent(tile_width, sw, kw)
    words = held if dense else max(1, min(in_words, options.input_words // window_words))
    return Tiling(
        tile_height=tile_height,
        tile_width=tile_width,
        tiles_down=ceil_div(out_h, tile_height),
        tiles_across=ceil_div(out_w, tile_width),
        words=words,
        word_tiles=ceil_div(in_words, words),
        chunk_words=chunk_words,
        chunks=chunks,
        input_words=words * window_words,
        weight_steps=chunk_words * area if dense else area,
        blocks=ceil_div(tile_height * tile_width, options.pixels) if chunks > 1 else 1,
    )
