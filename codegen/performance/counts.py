"""Iterations of every pipelined loop and bursts on every port, from a layer's constants alone.

The C simulation counts the same (hls/csim/trace.hpp); the two must agree exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codegen.lowering.array import Array
from codegen.lowering.schedule import EngineLayer
from codegen.lowering.tiling import BIAS_BEATS, ceil_div

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
COMPUTE = {"CONV": "conv", "DEPTHWISE": "depthwise", "MAX_POOL": "max_pool", "AVG_POOL": "avg_pool", "ADD": "add"}


@dataclass(frozen=True)
class PassCounts:
    """One pass. weights: loop iterations of load_weights; outputs: words of output channels.

    compute: cycles of the array; pixels: words through the epilogue; packed: words to store, of the map and of what a
    fused pool makes of it; weight_beats, shortcut_beats, stored_beats: of memory; shortcut_bursts, stored_bursts: that
    these take.
    """

    outputs: int
    weights: int
    compute: int
    pixels: int
    packed: int
    weight_beats: int
    shortcut_beats: int
    stored_beats: int
    shortcut_bursts: int
    stored_bursts: int


@dataclass(frozen=True)
class MapLines:
    """The lines of the map that one tile loads: ``rows`` in each plane, of which ``present`` exist from ``first`` on.

    joined: how many of them are one burst: "line", "plane" or "all".
    """

    rows: int
    first: int
    present: int
    joined: str

    def bursts(self, start: int, stop: int) -> int:
        """Bursts that fetch lines ``start`` to ``stop``, counted through the planes (hls/fetch_tile.hpp)."""
        if self.present == 0 or stop <= start:
            return 0
        if self.joined == "all":
            return 1
        inside = []  # lines of each plane that exist
        for plane in range(start // self.rows, -(-stop // self.rows)):
            begin, end = max(start - plane * self.rows, 0), min(stop - plane * self.rows, self.rows)
            inside.append(overlap(begin - self.first, end - begin, self.present))
        return sum(inside) if self.joined == "line" else sum(n > 0 for n in inside)


@dataclass(frozen=True)
class TileCounts:
    """One tile. load: words of its input map, padding included; load_beats: of memory; map_lines: its lines there.

    units: in which it loads, lines of the buffer or, where it is pooled as it loads, planes; unit_lines: of the map.
    counts: by the names of LOOPS, but for bursts_in, which depend on what loads with which pass (codegen/performance/steps.py).
    """

    load: int
    load_beats: int
    map_lines: MapLines
    units: int
    unit_lines: int
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
    line_beats = beats(cols, f["in_bits"], skip) if cols else 0
    whole_lines = f["row_step"] == 1 and line_beats == f["in_line_beats"]
    joined = "line" if not whole_lines else "all" if top == 0 and map_rows == f["in_height"] else "plane"
    first_row = next((r for r in range(map_rows) if 0 <= top + r * f["row_step"] < f["in_height"]), 0)
    map_lines = MapLines(map_rows, first_row, rows if cols else 0, joined)
    kind = COMPUTE[f["op"]]
    shortcut_line = beats(width, f["shortcut_bits"], x * f["shortcut_bits"] % 8) if f["has_shortcut"] else 0
    shortcut = height * shortcut_line
    pool = layer.pool
    kept_rows = height * f["keeps_map"]
    pooled_rows = pool.rows(y + height) - pool.rows(y) if pool else 0
    packed = kept_rows * width + pooled_rows * f["pooled_width"]
    stored = kept_rows * beats(width, f["out_bits"]) + pooled_rows * beats(f["pooled_width"], f["out_bits"])
    all_rows = height == f["out_height"]
    shortcut_rows = _joined(height, shortcut_line == f["shortcut_line_beats"], all_rows) if shortcut else None
    stored_rows = _joined(pooled_rows if pool else height, pool is not None or width == f["out_width"], all_rows)
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
                    shortcut_rows(group) * done if shortcut_rows else 0,
                    (group * (kept_rows + pooled_rows) if pool and kept_rows else stored_rows(group)) * done,
                )
            )
            if mantissas:
                counts["load_bias"] += group * BIAS_BEATS
                counts["load_align"] += group * part * dense
                counts["load_dense" if dense else "load_depthwise"] += group * unpacked
                counts["bursts_weights"] += 1
            if done:
                counts["pack"] += group * packed
    counts[kind] = sum(p.compute for p in passes)
    counts["epilogue"] = counts["fused_pool"] = sum(p.pixels for p in passes)
    counts["load_shortcut"] = counts["epilogue"] * f["has_shortcut"]
    counts["fetch_weights"] = sum(p.weight_beats for p in passes)
    counts["fetch_shortcut"] = sum(p.shortcut_beats for p in passes)
    counts["store"] = sum(p.stored_beats for p in passes)
    counts["bursts_shortcut"] = sum(p.shortcut_bursts for p in passes)
    counts["bursts_out"] = sum(p.stored_bursts for p in passes)
    return TileCounts(
        counts["input_pool"],
        counts["fetch_tile"],
        map_lines,
        words if pooled else words * in_height,
        map_rows if pooled else 1,
        tuple(passes),
        counts,
    )


def _joined(rows: int, whole_lines: bool, all_rows: bool) -> Callable[[int], int]:
    """Bursts for ``rows`` of so many words: rows without a gap between them are one (hls/store.hpp)."""
    if not rows:
        return lambda words: 0
    if not whole_lines:
        return lambda words: words * rows
    return (lambda words: 1) if all_rows else (lambda words: words)


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
