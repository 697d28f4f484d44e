"""Iterations of every pipelined loop and bursts on every port, from a layer's constants alone.

The C simulation counts the same (hls/csim/trace.hpp); the two must agree exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codegen.lowering.array import Array
from codegen.lowering.beats import beats, unpacking
from codegen.lowering.compute_jobs import compute_cycles, row_cycles, shortcut_part
from codegen.lowering.layer_fields import LayerFields, MapPlace
from codegen.lowering.schedule import EngineLayer
from codegen.lowering.tiling import BIAS_BEATS
from codegen.lowering.walk import tiles
from codegen.performance.map_lines import MapLines, overlap

# pipelined loops, by the names that the engine counts them under (generated/loops.hpp)
LOOPS = (
    "fetch_tile",
    "unpack_tile",
    "input_pool",
    "load_tile",
    "fetch_weights",
    "queue_weights",
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
    "read_chip",
    "write_chip",
    "join_chip",
)
# and what each memory port's bursts are counted under
BURSTS = ("bursts_in", "bursts_weights", "bursts_shortcut", "bursts_out")
COUNTED = (*LOOPS, *BURSTS)
# of which of a step's jobs each is: what loads while another layer is computed counts as its own layer's
JOB_OF = dict.fromkeys(COUNTED, "COMPUTING")
JOB_OF |= dict.fromkeys(("fetch_tile", "read_chip", "unpack_tile", "input_pool", "load_tile", "bursts_in"), "LOADING")
JOB_OF |= dict.fromkeys(("queue_weights", "load_bias", "load_align", "load_dense", "load_depthwise", "join_chip"), "WEIGHING")
# and of the layer whose weights are fetched, of which there may be several in a step
JOB_OF |= dict.fromkeys(("fetch_weights", "bursts_weights"), "FETCHING")
# of the loops, the ones that move a beat of memory each
BEATS = ("fetch_tile", "fetch_weights", "fetch_shortcut", "store")


@dataclass(frozen=True)
class Extent:
    """A tile: its first output pixel, output rows, which lie ``apart``, and columns, and channel words of its input.

    part: of the input, where a dense layer's comes in parts.
    """

    y: int
    x: int
    height: int
    width: int
    words: int
    apart: int
    part: int | None

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class PassCounts:
    """One pass. outputs: words of output channels; bias, align, mantissas: loop iterations of load_weights.

    compute: cycles of the array; pixels: words through the epilogue; packed: words to store, of the map and of what a
    fused pool makes of it; weight_beats, shortcut_beats, stored_beats: of memory; shortcut_bursts, stored_bursts: that
    these take; chip_beats: that are stored on chip; joined_beats: of a shortcut there, which are read a step ahead.
    """

    outputs: int
    bias: int
    align: int
    mantissas: int
    weight_beats: int
    compute: int
    pixels: int
    packed: int
    shortcut_beats: int
    shortcut_bursts: int
    stored_beats: int
    stored_bursts: int
    chip_beats: int
    joined_beats: int

    @property
    def weights(self) -> int:
        """Loop iterations of load_weights."""
        return self.bias + self.align + self.mantissas


@dataclass(frozen=True)
class TileCounts:
    """One tile. load: cycles that unpack its input map; load_beats: of memory, chip_beats: of on-chip memory that it
    takes for that; map_lines: its lines there.

    units: in which it loads, lines of the buffer or, where it is pooled as it loads, planes; unit_lines: of the map.
    counts: by the names of COUNTED, but for those that depend on what loads with which pass: bursts_in, bursts_weights and
    queue_weights (codegen/performance/steps.py).
    """

    load: int
    load_beats: int
    chip_beats: int
    map_lines: MapLines
    units: int
    unit_lines: int
    passes: tuple[PassCounts, ...]
    counts: dict[str, int]


def load_counts(layer: EngineLayer, tile: Extent) -> tuple[dict[str, int], MapLines]:
    """Counts of the loops that load a tile's input, and its lines in memory."""
    source, window, buffer = layer.fields.input_map, layer.fields.window, layer.fields.buffer
    buffered, pooled = layer.tiling.buffered, layer.input_pool
    if layer.fields.spread.grows:
        return spread_counts(layer, tile)
    in_height, in_width = buffered.rows(tile.height), buffered.columns(tile.width)
    map_rows = pooled.rows(tile.height) if pooled else in_height
    columns = pooled.columns(tile.width) if pooled else (in_width - 1) * buffer.col_step + buffer.taps
    top, left = tile.y * window.stride_height - window.pad_top, tile.x * window.stride_width - window.pad_left
    rows = [r for r in range(map_rows) if 0 <= top + r * buffer.row_step < source.in_height]
    cols = overlap(left, columns, source.in_width)
    skip = max(left, 0) * source.in_bits % 8 if cols else 0
    line_beats = beats(cols, source.in_bits, skip) if cols else 0
    whole_lines = buffer.row_step == 1 and line_beats == source.in_line_beats
    joined = "line" if not whole_lines else "all" if top == 0 and map_rows == source.in_height else "plane"
    all_words = tile.words * map_rows * columns
    lines = MapLines(map_rows, rows[0] if rows else 0, len(rows) if cols else 0, joined, source.in_place)
    if layer.fields.pictures.several:
        lines = MapLines(layer.fields.picture_rows, 0, layer.fields.picture_rows, "plane", source.in_place)
    counts = {
        **fetched(source.in_place, tile.words * len(rows) * line_beats),
        # where a line's first beat has bits of columns before, a cycle drops them
        "unpack_tile": all_words + (tile.words * len(rows) if skip else 0),
        "input_pool": all_words,
        "load_tile": tile.words * in_height * (in_width if pooled else columns),
    }
    return counts, lines


def fetched(place: MapPlace, count: int) -> dict[str, int]:
    """Counts of the beats of a map's lines, by where it lies."""
    on_chip = place is MapPlace.CHIP
    return {"fetch_tile": 0 if on_chip else count, "read_chip": count if on_chip else 0}


def spread_counts(layer: EngineLayer, tile: Extent) -> tuple[dict[str, int], MapLines]:
    """The same for a map that grows: all planes of a tile, once for each phase of a column, each of them one burst."""
    source, again = layer.fields.input_map, len(layer.fields.spread.starts)
    lines = tile.words * again * tile.height
    words = lines * source.in_width
    counts = fetched(source.in_place, lines * source.in_line_beats)
    counts |= dict.fromkeys(("unpack_tile", "input_pool", "load_tile"), words)
    return counts, MapLines(tile.height, 0, tile.height, "plane", source.in_place)


@dataclass(frozen=True)
class WordStores:
    """What one output word of a tile takes and gives once its sums are complete; see PassCounts.

    shortcut_bursts, stored_bursts: by the number of words that a pass computes.
    """

    packed: int
    shortcut_beats: int
    shortcut_bursts: Callable[[int], int]
    stored_beats: int
    stored_bursts: Callable[[int], int]
    chip_beats: int
    joined_beats: int


def word_stores(layer: EngineLayer, tile: Extent) -> WordStores:
    """What an output word of a tile reads of the shortcut, and stores."""
    out, fused, shortcut, pool = layer.fields.output_map, layer.fields.fused_pool, layer.fields.shortcut, layer.pool
    several, all_rows = layer.fields.pictures.several, tile.height == out.out_plane_rows
    line, shortcut_bursts = 0, bursts_of(0, whole_lines=False, all_rows=all_rows)
    part = shortcut_part(shortcut, tile)
    if shortcut.has_shortcut:
        line = beats(part.width, shortcut.shortcut_bits, part.x * shortcut.shortcut_bits % 8)
        joined = part.height == shortcut.shortcut_height and not shortcut.shortcut_spread
        shortcut_bursts = bursts_of(part.height, part.apart == 1 and not several and line == shortcut.shortcut_line_beats, joined)
    kept = tile.height if out.keeps_map else 0
    pooled = pool.rows(tile.y + tile.height) - pool.rows(tile.y) if pool else 0
    if pool and kept:  # rows of both maps take turns
        stored_bursts = bursts_of(kept + pooled, whole_lines=False, all_rows=all_rows)
    else:
        whole_lines = pool is not None or (tile.apart == 1 and tile.width == out.out_width and not several)
        stored_bursts = bursts_of(pooled if pool else tile.height, whole_lines, all_rows)
    stored = kept * beats(tile.width, out.out_bits) + pooled * beats(fused.pooled_width, out.out_bits)
    on_chip, joins_chip = layer.fields.stores_to is MapPlace.CHIP, shortcut.shortcut_place is MapPlace.CHIP
    return WordStores(
        packed=kept * row_cycles(tile.width, out.out_bits) + pooled * row_cycles(fused.pooled_width, out.out_bits),
        shortcut_beats=0 if joins_chip else part.height * line,
        shortcut_bursts=(lambda words: 0) if joins_chip else shortcut_bursts,
        stored_beats=0 if on_chip else stored,
        stored_bursts=(lambda words: 0) if on_chip else stored_bursts,
        chip_beats=stored if on_chip else 0,
        joined_beats=part.height * line if joins_chip else 0,
    )


def shortcut_cycles(fields: LayerFields, tile: Extent) -> int:
    """Cycles in which a word's share of the shortcut is unpacked: one more for each row whose first beat has bits to skip."""
    part = shortcut_part(fields.shortcut, tile)
    return part.height * (part.width + (part.x * fields.shortcut.shortcut_bits % 8 > 0))


def bursts_of(rows: int, whole_lines: bool, all_rows: bool) -> Callable[[int], int]:
    """Bursts for ``rows`` of so many words: rows without a gap between them are one (hls/store.hpp)."""
    if not rows:
        return lambda words: 0
    if not whole_lines:
        return lambda words: words * rows
    return (lambda words: 1) if all_rows else (lambda words: words)


def pass_counts(
    layer: EngineLayer, array: Array, tile: Extent, stores: WordStores, group: int, chunk: int
) -> PassCounts:
    """The pass that computes ``group`` output words of a tile, from one chunk of their weights."""
    passes, weights, window = layer.fields.passes, layer.fields.weights, layer.fields.window
    dense = layer.fields.op.traits.dense
    weighted = layer.fields.op.weighted
    area = window.kernel_height * window.kernel_width
    first = chunk * passes.chunk_words
    part = min(passes.chunk_words, layer.fields.input_map.in_words - first) if dense else 1
    mantissas = part * area * (array.lanes if dense else 1) if weighted else 0
    align = part if weights.has_align else 0
    done = group if chunk == passes.chunks - 1 else 0  # words whose sums are complete then
    return PassCounts(
        outputs=group,
        bias=group * BIAS_BEATS if weighted else 0,
        align=group * part if dense else 0,
        mantissas=group * (unpacking(mantissas, weights.weight_bits, array.filters) if dense else mantissas),
        weight_beats=group * (BIAS_BEATS + align + beats(mantissas, weights.weight_bits)) if weighted else 0,
        compute=compute_cycles(
            group,
            tile.pixels,
            layer.fields.buffer.block_pixels,
            work=(array.lanes // array.filters if dense else 1) * part * area * layer.fields.digits.pairs,
            completes=done > 0,
        ),
        pixels=done * tile.pixels,
        packed=done * stores.packed,
        shortcut_beats=done * stores.shortcut_beats,
        shortcut_bursts=stores.shortcut_bursts(done) if done else 0,
        stored_beats=done * stores.stored_beats,
        stored_bursts=stores.stored_bursts(done) if done else 0,
        chip_beats=done * stores.chip_beats,
        joined_beats=done * stores.joined_beats,
    )


def tile_passes(layer: EngineLayer, array: Array, tile: Extent) -> tuple[PassCounts, ...]:
    """All passes over a tile, in order."""
    fields, stores = layer.fields, word_stores(layer, tile)
    outputs = fields.output_map.out_words if fields.op.traits.dense else tile.words
    if tile.part is not None:
        return (pass_counts(layer, array, tile, stores, 1, tile.part),)
    size, chunks = fields.passes.group_words, range(fields.passes.chunks)
    groups = [min(size, outputs - first) for first in range(0, outputs, size)]
    return tuple(pass_counts(layer, array, tile, stores, group, chunk) for group in groups for chunk in chunks)


def tile_counts(layer: EngineLayer, array: Array, tile: Extent) -> TileCounts:
    """Counts for one tile."""
    fields, passes = layer.fields, tile_passes(layer, array, tile)
    loads, map_lines = load_counts(layer, tile)

    def total(what: str) -> int:
        return sum(getattr(p, what) for p in passes)

    dense, pixels = fields.op.traits.dense, total("pixels")
    counts = dict.fromkeys(COUNTED, 0) | loads
    counts |= {
        "fetch_weights": total("weight_beats"),
        "load_bias": total("bias"),
        "load_align": total("align"),
        "load_dense" if dense else "load_depthwise": total("mantissas"),
        "fetch_shortcut": total("shortcut_beats"),
        "load_shortcut": pixels // tile.pixels * shortcut_cycles(fields, tile) if fields.shortcut.has_shortcut else 0,
        fields.op.traits.loop: total("compute"),
        "epilogue": pixels,
        "fused_pool": pixels,
        "pack": total("packed"),
        "store": total("stored_beats"),
        "write_chip": total("chip_beats"),
        "join_chip": total("joined_beats"),
        "bursts_shortcut": total("shortcut_bursts"),
        "bursts_out": total("stored_bursts"),
    }
    pooled, height = layer.input_pool is not None, layer.tiling.buffered.rows(tile.height)
    units, unit_lines = (tile.words, map_lines.rows) if pooled else (tile.words * height, 1)
    if layer.fields.spread.grows:
        units, unit_lines = tile.words * len(layer.fields.spread.starts), map_lines.rows
    elif layer.fields.pictures.several:  # whose planes are bursts; those of all of them load together where they are pooled
        units, unit_lines = tile.words * (1 if pooled else tile.height), map_lines.rows * (tile.height if pooled else 1)
    return TileCounts(
        load=counts["unpack_tile"],
        load_beats=counts["fetch_tile"],
        chip_beats=counts["read_chip"],
        map_lines=map_lines,
        units=units,
        unit_lines=unit_lines,
        passes=passes,
        counts=counts,
    )


def layer_tiles(layer: EngineLayer, array: Array) -> list[TileCounts]:
    """All tiles of a layer in the order of execution (across, down, channel words)."""
    known: dict[Extent, TileCounts] = {}
    found = []
    for tile in tiles(layer.fields):
        part = tile.word // layer.fields.tiles.tile_words if layer.fields.loads_in_parts else None
        extent = Extent(tile.y, tile.x, tile.height, tile.width, tile.words, tile.apart, part)
        if extent not in known:
            known[extent] = tile_counts(layer, array, extent)
        found.append(known[extent])
    return found
