"""Jobs of the stages that load: which bursts bring some lines of a tile, or a pass's weights, and where they go."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.lowering.array import Array
from codegen.lowering.beats import beats, unpacking
from codegen.lowering.compute_jobs import shortcut_fields, shortcut_start
from codegen.lowering.jobs import (
    BufferJobFields,
    ComingShortcutFields,
    FetchFields,
    InputPoolJobFields,
    LineFields,
    LoadJob,
    WeightJobFields,
    WeightsJob,
)
from codegen.lowering.layer_fields import InputPooling, LayerFields, MapPlace
from codegen.lowering.tiling import BIAS_BEATS
from codegen.lowering.walk import Load, Tile, Work


@dataclass(frozen=True)
class Columns:
    """The columns of a map that the lines of a tile take.

    before, inside: in the padding, and existing. skip: bits of the first beat that belong
    to columns before; first: that beat, counted from the map's line; beats: of a line.
    """

    before: int
    inside: int
    skip: int
    first: int
    beats: int


def tile_columns(layer: LayerFields, tile: Tile) -> Columns:
    """Of the lines of a tile."""
    source = layer.input_map
    left = tile.x * layer.window.stride_width - layer.window.pad_left
    begin = min(max(0, -left), tile.map_columns)
    end = max(begin, min(tile.map_columns, source.in_width - left))
    start_bit = (left + begin) * source.in_bits if end > begin else 0
    return Columns(
        before=begin,
        inside=end - begin,
        skip=start_bit % 8,
        first=start_bit // 8,
        beats=beats(end - begin, source.in_bits, start_bit % 8) if end > begin else 0,
    )


@dataclass(frozen=True)
class Rows:
    """The rows of each plane that a tile takes: those from ``top`` to before ``bottom`` exist, of which ``top`` is row
    ``first`` of the map.
    """

    top: int
    bottom: int
    first: int


def tile_rows(layer: LayerFields, tile: Tile, columns: Columns) -> Rows:
    """Of a tile; none exists where no column does."""
    start, step = tile.first_row, layer.buffer.row_step
    exist = [r for r in range(tile.map_rows) if 0 <= start + r * step < layer.input_map.in_height]
    if not exist or not columns.beats:
        return Rows(0, 0, 0)
    return Rows(exist[0], exist[-1] + 1, start + exist[0] * step)


@dataclass(frozen=True)
class PlanePart:
    """What a slice takes of a plane: ``lines`` that exist, from the tile's row ``row`` on; word: of the tile."""

    word: int
    row: int
    lines: int


def plane_parts(load: Load, rows: Rows) -> list[PlanePart]:
    """Of a slice, those of which any line exists."""
    tile, part = load.tile, load.part
    found = []
    for plane in range(-(-(part.row + part.map_lines) // tile.map_rows)):
        begin = max(part.row - plane * tile.map_rows, 0, rows.top)
        end = min(part.row + part.map_lines - plane * tile.map_rows, tile.map_rows, rows.bottom)
        if end > begin:
            found.append(PlanePart(part.word + plane, begin, end - begin))
    return found


def fetch_fields(layer: LayerFields, load: Load, columns: Columns, rows: Rows) -> FetchFields:
    """Bursts of a slice: lines of the map that follow each other in memory without a gap are one.

    These are some or all rows of a plane, and all planes where a tile has their rows and no others.
    """
    if layer.spread.grows:
        return spread_fetch(layer, load)
    if layer.pictures.several:
        return picture_fetch(layer, load)
    parts = plane_parts(load, rows)
    if not parts:
        return FetchFields()
    tile, source, row_step = load.tile, layer.input_map, layer.buffer.row_step
    plane, line = source.in_height * source.in_line_beats, row_step * source.in_line_beats
    whole_lines = row_step == 1 and columns.beats == source.in_line_beats
    whole_planes = whole_lines and rows.first == rows.top == 0 and tile.map_rows == source.in_height
    if whole_planes:
        lengths, first_bursts, plane_bursts = [sum(p.lines for p in parts)], 1, 1
    elif whole_lines:
        lengths, first_bursts, plane_bursts = [p.lines for p in parts], 1, 1
    else:
        lengths, first_bursts = [1] * sum(p.lines for p in parts), parts[0].lines
        first_bursts, plane_bursts = rows.bottom - parts[0].row, rows.bottom - rows.top
    return FetchFields(
        fetch_from=source.in_place,
        fetch_bursts=len(lengths),
        fetch_plane=source.in_address
        + (tile.word + parts[0].word) * plane
        + rows.first * source.in_line_beats
        + columns.first,
        fetch_inside=(parts[0].row - rows.top) * line,
        fetch_first_bursts=first_bursts,
        fetch_plane_bursts=plane_bursts,
        fetch_step=line,
        fetch_plane_step=plane,
        fetch_first=lengths[0] * columns.beats,
        fetch_length=(rows.bottom - rows.top if whole_lines and not whole_planes else 1) * columns.beats,
        fetch_last=lengths[-1] * columns.beats,
        chip_beats=sum(lengths) * columns.beats if source.in_place is MapPlace.CHIP else 0,
    )


def spread_fetch(layer: LayerFields, load: Load) -> FetchFields:
    """Bursts of whole planes of a map that grows: of one column's phase after the other, or of the map again."""
    tile, source, spread, part = load.tile, layer.input_map, layer.spread, load.part
    plane, length = source.in_height * source.in_line_beats, tile.in_height * source.in_line_beats
    phase, word = divmod(part.word, tile.words)
    row_phase = tile.y % spread.down * spread.across
    first_plane = (row_phase + phase) * spread.phase_words + tile.word
    count = part.map_lines // tile.in_height
    return FetchFields(
        fetch_from=source.in_place,
        fetch_bursts=count,
        fetch_plane=source.in_address + first_plane * plane + tile.first_row * source.in_line_beats,
        fetch_inside=word * plane,
        fetch_first_bursts=tile.words - word,
        fetch_plane_bursts=tile.words,
        fetch_step=plane,
        fetch_plane_step=spread.phase_words * plane,
        fetch_first=length,
        fetch_length=length,
        fetch_last=length,
        chip_beats=count * length if source.in_place is MapPlace.CHIP else 0,
    )


def picture_fetch(layer: LayerFields, load: Load) -> FetchFields:
    """Bursts of the whole maps of several pictures: of a word one picture's after the other's, then of the next word."""
    tile, source, apart, rows = load.tile, layer.input_map, layer.pictures.apart, layer.picture_rows
    plane, number = rows * source.in_line_beats, load.part.row // rows
    return FetchFields(
        fetch_bursts=load.part.map_lines // rows,
        fetch_plane=source.in_address + (tile.word + load.part.word) * plane + tile.y * apart,
        fetch_inside=number * apart,
        fetch_first_bursts=tile.height - number,
        fetch_plane_bursts=tile.height,
        fetch_step=apart,
        fetch_plane_step=plane,
        fetch_first=plane,
        fetch_length=plane,
        fetch_last=plane,
    )


def line_fields(layer: LayerFields, load: Load, columns: Columns, rows: Rows) -> LineFields:
    lines = sum(part.lines for part in plane_parts(load, rows)) if columns.skip else 0
    row, count = load.part.row, load.tile.map_rows
    if layer.pictures.several:  # each picture's is a plane of its own, and pooled as one
        row, count, rows = 0, layer.picture_rows, Rows(0, layer.picture_rows, 0)
    return LineFields(
        unpack_cycles=load.part.map_lines * load.tile.map_columns + lines,
        row=row,
        rows=count,
        top=rows.top,
        bottom=rows.bottom,
        columns=load.tile.map_columns,
        columns_before=columns.before if columns.inside else 0,
        columns_end=columns.before + columns.inside if columns.inside else 0,
        skip=columns.skip,
        in_bits=layer.input_map.in_bits,
        in_unsigned=layer.input_map.in_unsigned,
        pad_value=layer.window.pad_value,
    )


def input_pool_fields(layer: LayerFields, load: Load) -> InputPoolJobFields:
    pool, tile, words = layer.input_pool, load.tile, load.part.map_lines * load.tile.map_columns
    if pool.in_pool is InputPooling.UNPOOLED:
        return InputPoolJobFields(pool_words=words)
    mean = pool.in_pool is InputPooling.MEAN
    return InputPoolJobFields(
        in_pool=pool.in_pool,
        pool_words=words,
        in_pool_height=pool.in_pool_height,
        in_pool_width=pool.in_pool_width,
        in_pool_down=layer.window.stride_height,
        in_pool_across=layer.window.stride_width,
        in_pool_whole=pool.in_pool_whole,
        in_pool_low=pool.in_pool_low,
        in_pool_high=pool.in_pool_high,
        in_pool_row=pool.in_pool_row + (tile.word + load.part.word) * layer.pictures.count if mean else 0,
        in_average_row=layer.average.average_row + tile.y if mean else 0,
        in_average_column=layer.average.average_column + tile.x if mean else 0,
    )


def buffer_fields(layer: LayerFields, load: Load) -> BufferJobFields:
    tile, buffer = load.tile, layer.buffer
    if layer.spread.grows:
        return spread_buffer(layer, load)
    pooled = layer.input_pool.in_pool is not InputPooling.UNPOOLED
    line_columns = tile.in_width if pooled else tile.map_columns
    return BufferJobFields(
        load_words=load.part.lines * line_columns,
        line_columns=line_columns,
        line_start=load.part.line * tile.pitch,
        next_line=tile.pitch - tile.in_width + 1,
        next_buffered=1,
        column_step=buffer.col_step,
        taps=buffer.taps,
        tap_channels=buffer.tap_channels,
        newest=(buffer.taps - 1) * buffer.tap_channels,
    )


def spread_buffer(layer: LayerFields, load: Load) -> BufferJobFields:
    """Where the planes of a map that grows go: those of a phase from its own column on, and columns apart."""
    tile, columns, starts = load.tile, load.tile.map_columns, layer.spread.starts
    across, (phase, word) = layer.spread.across, divmod(load.part.word, tile.words)
    return BufferJobFields(
        load_words=load.part.lines * columns,
        line_columns=columns,
        line_start=word * tile.in_height * tile.pitch + starts[phase],
        next_line=tile.pitch - (columns - 1) * across,
        next_buffered=across,
        phase_lines=tile.words * tile.in_height,
        first_phase_lines=(tile.words - word) * tile.in_height,
        next_phase=starts[phase + 1] if phase + 1 < len(starts) else 0,
        column_step=1,
        taps=1,
        tap_channels=layer.buffer.tap_channels,
        newest=0,
    )


def load_job(layer: LayerFields, load: Load | None) -> LoadJob:
    """The job of some lines of a tile; nothing to do for None."""
    if load is None:
        return LoadJob()
    columns = tile_columns(layer, load.tile)
    rows = tile_rows(layer, load.tile, columns)
    return LoadJob(
        fetch=fetch_fields(layer, load, columns, rows),
        map=line_fields(layer, load, columns, rows),
        input_pool=input_pool_fields(layer, load),
        buffer=buffer_fields(layer, load),
    )


def weights_start(layer: LayerFields, work: Work | None) -> int:
    """Address of the weights of a pass; 0 where it has none."""
    if work is None or not layer.op.weighted:
        return 0
    weights = layer.weights
    return weights.weight_address + work.out.out_word * weights.word_beats + work.out.chunk * weights.chunk_beats


def weights_job(layer: LayerFields, work: Work | None, array: Array) -> WeightsJob:
    """The job of what a pass needs a step ahead; nothing to do for None, or for what has no weights and no such shortcut."""
    if work is None:
        return WeightsJob()
    return WeightsJob(weight_job_fields(layer, work, array), coming_fields(layer, work))


def coming_fields(layer: LayerFields, work: Work) -> ComingShortcutFields:
    """The shortcut of a pass where it lies in on-chip memory: the bursts that it would be from external memory."""
    shortcut = shortcut_fields(layer, work)
    if not shortcut.has_shortcut or shortcut.shortcut_from is not MapPlace.CHIP:
        return ComingShortcutFields()
    return ComingShortcutFields(
        coming_beats=shortcut.shortcut_bursts * shortcut.shortcut_length,
        coming_length=shortcut.shortcut_length,
        coming_plane_bursts=shortcut.shortcut_plane_bursts,
        coming_step=shortcut.shortcut_step,
        coming_plane_step=shortcut.shortcut_plane_step,
    )


def coming_start(layer: LayerFields, work: Work | None) -> int:
    """Where a pass's shortcut begins in on-chip memory; 0 where none of it is read there."""
    return shortcut_start(layer, work) if work and coming_fields(layer, work).coming_beats else 0


def weight_job_fields(layer: LayerFields, work: Work, array: Array) -> WeightJobFields:
    """The weights of a pass, if it has any."""
    if not layer.op.weighted:
        return WeightJobFields()
    out, weights, area = work.out, layer.weights, layer.window.kernel_height * layer.window.kernel_width
    depthwise = not layer.op.traits.dense
    words = area if depthwise else out.words * area * array.lanes
    each = BIAS_BEATS + (out.words if weights.has_align else 0) + beats(words, weights.weight_bits)
    return WeightJobFields(
        weight_outputs=out.outputs,
        weight_beats=out.outputs * each,
        weight_bits=weights.weight_bits,
        depthwise=depthwise,
        align_rows=0 if depthwise else out.words,
        has_align=weights.has_align,
        weight_words=words,
        weight_takes=words if depthwise else unpacking(words, weights.weight_bits, array.filters),
        weight_rows=words if depthwise else words // array.filters,
    )
