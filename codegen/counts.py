"""Iterations of every pipelined loop and bursts on every port, from a layer's constants alone.

The C simulation counts the same (hls/csim/trace.hpp); the two must agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.array import Array
from codegen.schedule import EngineLayer
from codegen.tiling import ceil_div

# hls/loops.hpp, in its order
LOOPS = (
    "fetch_tile",
    "pad",
    "unpack_tile",
    "input_pool",
    "load_tile",
    "fetch_weights",
    "load_bias",
    "load_align",
    "load_dense",
    "load_depthwise",
    "fetch_shortcut",
    "load_shortcut",
    "conv",
    "depthwise",
    "max_pool",
    "avg_pool",
    "add",
    "epilogue",
    "fused_pool",
    "pack",
    "store",
    "bursts_in",
    "bursts_weights",
    "bursts_shortcut",
    "bursts_out",
)
# of these, the ones that move a beat of memory each
BEATS = ("fetch_tile", "fetch_weights", "fetch_shortcut", "store")
WEIGHTED = ("conv", "depthwise")
BIAS_BEATS = 4
COMPUTE = {"CONV": "conv", "DEPTHWISE": "depthwise", "MAX_POOL": "max_pool", "AVG_POOL": "avg_pool", "ADD": "add"}


@dataclass(frozen=True)
class PassCounts:
    """One pass. weights: loop iterations of load_weights; outputs: words of output channels.

    compute: cycles of the array; pixels: words through the epilogue; packed: words to store, of the map and of what a
    fused pool makes of it; weight_beats, shortcut_beats, stored_beats: of memory.
    """

    outputs: int
    weights: int
    compute: int
    pixels: int
    packed: int
    weight_beats: int
    shortcut_beats: int
    stored_beats: int


@dataclass(frozen=True)
class TileCounts:
    """One tile. load: words of its input map, padding included; map_lines: their rows; lines: those of the buffer.

    plane_lines: so many load together. load_beats: of memory. counts: by the names of LOOPS.
    """

    load: int
    map_lines: int
    lines: int
    plane_lines: int
    load_beats: int
    passes: tuple[PassCounts, ...]
    counts: dict[str, int]


def overlap(start: int, length: int, size: int) -> int:
    """How many of ``start .. start + length`` lie inside ``0 .. size``."""
    return max(0, min(start + length, size) - max(start, 0))


def beats(count: int, bits: int, skip: int = 0) -> int:
    """Beats that hold ``count`` mantissas of a lane behind ``skip`` bits (hls/packing.hpp)."""
    return -(-(skip + count * bits) // 8)


def unpacking(words: int, bits: int, filters: int) -> int:
    """Iterations of load_dense: words are taken two at a time, as far as one more beat allows (hls/packing.hpp)."""
    if filters == 1:
        return words

    def run(left: int) -> int:
        held, count = 0, 0
        while left > 0:
            wanted = 2 * bits if left > 1 else bits
            held += 8 if held < wanted else 0
            taken = 2 if left > 1 and held >= wanted else 1
            held, left, count = held - taken * bits, left - taken, count + 1
        return count

    # eight words are a whole number of beats, after which everything repeats
    return words // 8 * run(8) + run(words % 8)


def tile_counts(layer: EngineLayer, array: Array, y: int, x: int, words: int) -> TileCounts:
    """Counts for the tile whose first output pixel is (y, x), with ``words`` input words."""
    f = layer.fields
    height = min(f["tile_height"], f["out_height"] - y)
    width = min(f["tile_width"], f["out_width"] - x)
    area = f["kernel_height"] * f["kernel_width"]
    buffered = layer.tiling.buffered
    in_height, in_width = buffered.rows(height), buffered.columns(width)
    pooled = layer.input_pool
    map_rows = pooled.rows(height) if pooled else in_height
    columns = pooled.columns(width) if pooled else (in_width - 1) * f["col_step"] + f["taps"]
    top = y * f["stride_height"] - f["pad_top"]
    rows = sum(0 <= top + r * f["row_step"] < f["in_height"] for r in range(map_rows))
    left = x * f["stride_width"] - f["pad_left"]
    cols = overlap(left, columns, f["in_width"])
    skip = max(left, 0) * f["in_bits"] % 8 if cols else 0
    pixels = height * width
    blocks = ceil_div(pixels, f["block_pixels"])
    counts = dict.fromkeys(LOOPS, 0)
    counts["fetch_tile"] = words * rows * beats(cols, f["in_bits"], skip) if cols else 0
    counts["unpack_tile"] = words * rows * cols
    counts["input_pool"] = words * map_rows * columns
    counts["pad"] = counts["input_pool"] - counts["unpack_tile"]
    counts["load_tile"] = words * in_height * (in_width if pooled else columns)
    counts["bursts_in"] = words * rows if cols else 0
    kind = COMPUTE[f["op"]]
    shortcut = height * beats(width, f["shortcut_bits"], x * f["shortcut_bits"] % 8) if f["has_shortcut"] else 0
    pool = layer.pool
    kept_rows = height * f["keeps_map"]
    pooled_rows = pool.rows(y + height) - pool.rows(y) if pool else 0
    packed = kept_rows * width + pooled_rows * f["pooled_width"]
    stored = kept_rows * beats(width, f["out_bits"]) + pooled_rows * beats(f["pooled_width"], f["out_bits"])
    dense = kind == "conv"
    outputs = f["out_words"] if dense else words
    passes = []
    for first in range(0, outputs, f["group_words"]):
        group = min(f["group_words"], outputs - first)
        for chunk in range(f["chunks"]):
            part = min(f["chunk_words"], f["in_words"] - chunk * f["chunk_words"]) if dense else 1
            mantissas = part * area * (array.lanes if dense else 1) if kind in WEIGHTED else 0
            align = part if f["has_align"] else 0
            weight_beats = BIAS_BEATS + align + beats(mantissas, f["weight_bits"]) if mantissas else 0
            unpacked = unpacking(mantissas, f["weight_bits"], array.filters) if dense else mantissas
            loads = (BIAS_BEATS + (part if dense else 0) + unpacked) if mantissas else 0
            cycles = blocks * (array.lanes // array.filters if dense else 1) * part * area
            done = chunk == f["chunks"] - 1
            passes.append(
                PassCounts(
                    group,
                    group * loads,
                    group * cycles,
                    group * pixels * done,
                    group * packed * done,
                    group * weight_beats,
                    group * shortcut * done,
                    group * stored * done,
                )
            )
            if mantissas:
                counts["load_bias"] += group * BIAS_BEATS
                counts["load_align"] += group * part * dense
                counts["load_dense" if dense else "load_depthwise"] += group * unpacked
                counts["bursts_weights"] += 1
            if done:
                counts["pack"] += group * packed
                counts["bursts_out"] += group * (kept_rows + pooled_rows)
                counts["bursts_shortcut"] += group * height * f["has_shortcut"]
    counts[kind] = sum(p.compute for p in passes)
    counts["epilogue"] = counts["fused_pool"] = sum(p.pixels for p in passes)
    counts["load_shortcut"] = counts["epilogue"] * f["has_shortcut"]
    counts["fetch_weights"] = sum(p.weight_beats for p in passes)
    counts["fetch_shortcut"] = sum(p.shortcut_beats for p in passes)
    counts["store"] = sum(p.stored_beats for p in passes)
    return TileCounts(
        counts["input_pool"],
        words * map_rows,
        words * in_height,
        in_height if pooled else 1,
        counts["fetch_tile"],
        tuple(passes),
        counts,
    )


def layer_tiles(layer: EngineLayer, array: Array) -> list[TileCounts]:
    """All tiles of a layer in the order of execution (across, down, channel words)."""
    f = layer.fields
    known: dict[tuple, TileCounts] = {}
    tiles = []
    for first in range(0, f["tile_words"] * f["word_tiles"], f["tile_words"]):
        words = min(f["tile_words"], f["in_words"] - first)
        for y in range(0, f["tile_height"] * f["tiles_down"], f["tile_height"]):
            for x in range(0, f["tile_width"] * f["tiles_across"], f["tile_width"]):
                key = (y, x, words)
                if key not in known:
                    known[key] = tile_counts(layer, array, y, x, words)
                tiles.append(known[key])
    return tiles


def layer_counts(layer: EngineLayer, array: Array) -> dict[str, int]:
    """Counts of a whole layer, by the names of LOOPS."""
    total = dict.fromkeys(LOOPS, 0)
    for tile in layer_tiles(layer, array):
        for name, n in tile.counts.items():
            total[name] += n
    return total
