"""Jobs of the stages that compute, round and store a pass, and where in its layer it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from codegen.lowering.array import Array
from codegen.lowering.beats import beats
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.jobs import (
    ComputeJob,
    EpilogueJobFields,
    LaneFields,
    PositionFields,
    ShortcutJobFields,
    StoreJobFields,
    WalkFields,
)
from codegen.lowering.layer_fields import LayerFields, MapPlace, ShortcutFields
from codegen.lowering.tiling import ceil_div
from codegen.lowering.walk import Tile, Work

# whose sums the epilogue aligns; dense convolution's are aligned where they are made
SHIFTED = (
    EngineOperator.DEPTHWISE,
    EngineOperator.ADD,
    EngineOperator.MAXIMUM,
    EngineOperator.MINIMUM,
    EngineOperator.INTERPOLATE,
)


def compute_cycles(outputs: int, pixels: int, block_pixels: int, work: int, completes: bool) -> int:
    """Iterations of a compute stage for so many output words of a tile, ``work`` of them for a block of pixels.

    Where sums become complete, the words of a block leave one a cycle (hls/finished.hpp): the next block ends no sooner
    than after so many, and the last one's are still to leave when all is computed.
    """
    blocks = ceil_div(pixels, block_pixels)
    if not completes:
        return outputs * blocks * work
    last = pixels - (blocks - 1) * block_pixels  # pixels of a word's last block
    block, end = max(work, block_pixels), max(work, last)
    return outputs * ((blocks - 1) * block + end) - end + work - 1 + last


def walk_fields(layer: LayerFields, work: Work, array: Array) -> WalkFields:
    """The walk over the windows of a tile, whose distances are those of hls/window.hpp."""
    tile, out, window, buffer = work.tile, work.out, layer.window, layer.buffer
    plane, line = tile.in_height * tile.pitch, buffer.down * tile.pitch
    row, last_column = buffer.kernel_down * tile.pitch, (window.kernel_width - 1) * buffer.kernel_across
    steps = out.words * window.kernel_height * window.kernel_width * layer.digits.pairs
    pixels, block_pixels = tile.height * tile.width, buffer.block_pixels
    block_rows, ahead = divmod(block_pixels, tile.width)
    stays = block_rows * line + ahead * buffer.across
    parts = array.lanes // array.filters if layer.op.traits.dense else 1
    return WalkFields(
        op=layer.op,
        outputs=out.outputs,
        first=out.first,
        last=out.last,
        operand_unsigned=layer.input_map.in_unsigned,
        wide_weights=layer.digits.wide_weights,
        wide_operands=layer.digits.wide_operands,
        cycles=compute_cycles(out.outputs, pixels, block_pixels, parts * steps, out.last),
        steps=steps,
        kernel_height=window.kernel_height,
        kernel_width=window.kernel_width,
        align_words=out.words if layer.op.traits.dense else 0,
        blocks=ceil_div(pixels, block_pixels),
        block_pixels=block_pixels,
        pixels=pixels,
        width=tile.width,
        ahead=ahead,
        stays=stays,
        wraps=stays + line - tile.width * buffer.across if ahead else 0,  # a lane that moves by whole rows never wraps
        next_column=buffer.kernel_across,
        next_row=row - last_column,
        next_word=plane - (window.kernel_height - 1) * row - last_column,
        next_output=0 if layer.op.traits.dense else plane,
    )


def lane_fields(layer: LayerFields, tile: Tile, array: Array) -> LaneFields:
    """The first block's pixels, one after the other through the rows; a lane without one stands at the first."""
    line = layer.buffer.down * tile.pitch
    used = min(layer.buffer.block_pixels, tile.height * tile.width)
    places = [divmod(p, tile.width) if p < used else (0, 0) for p in range(array.walk_pixels)]
    return LaneFields(
        first_x=tuple(x for _, x in places), first_base=tuple(y * line + x * layer.buffer.across for y, x in places)
    )


class Rectangle(Protocol):
    """Rows and columns of a map; the rows lie ``apart``."""

    y: int
    x: int
    height: int
    width: int
    apart: int


@dataclass(frozen=True)
class Part:
    """Rows and columns of a shortcut's map that meet a tile; the rows lie ``apart``."""

    y: int
    x: int
    height: int
    width: int
    apart: int


def shortcut_part(shortcut: ShortcutFields, tile: Rectangle) -> Part:
    """The same as the tile's, or the only pixel."""
    return Part(0, 0, 1, 1, 1) if shortcut.shortcut_held else Part(tile.y, tile.x, tile.height, tile.width, tile.apart)


def shortcut_fields(layer: LayerFields, work: Work) -> ShortcutJobFields:
    """Rows of the shortcut that follow each other in memory without a gap are one burst."""
    shortcut, words = layer.shortcut, work.out.outputs
    if not shortcut.has_shortcut or not work.out.last:
        return ShortcutJobFields()
    part = shortcut_part(shortcut, work.tile)
    start_bit = part.x * shortcut.shortcut_bits
    of_row = beats(part.width, shortcut.shortcut_bits, start_bit % 8)
    whole_lines = of_row == shortcut.shortcut_line_beats and part.apart == 1 and not layer.pictures.several
    row_step, plane_step = layer.steps_out(shortcut.shortcut_height, shortcut.shortcut_line_beats)
    if whole_lines and part.height == shortcut.shortcut_height and not shortcut.shortcut_spread:
        bursts, plane_bursts, rows = 1, 1, words * part.height
    elif whole_lines:
        bursts, plane_bursts, rows = words, 1, part.height
    else:
        bursts, plane_bursts, rows = words * part.height, part.height, 1
    return ShortcutJobFields(
        has_shortcut=True,
        shortcut_from=shortcut.shortcut_place,
        shortcut_bursts=bursts,
        shortcut_plane_bursts=plane_bursts,
        shortcut_step=part.apart * row_step,
        shortcut_plane_step=0 if shortcut.shortcut_spread else plane_step,
        shortcut_length=rows * of_row,
        shortcut_cycles=words * part.height * (part.width + (start_bit % 8 > 0)),
        shortcut_bits=shortcut.shortcut_bits,
        shortcut_unsigned=shortcut.shortcut_unsigned,
        shortcut_skip=start_bit % 8,
        shortcut_held=shortcut.shortcut_held,
        shortcut_spread=shortcut.shortcut_spread,
    )


def shortcut_start(layer: LayerFields, work: Work) -> int:
    """Address of the first burst of a pass's shortcut, 0 where it has none."""
    shortcut, part = layer.shortcut, shortcut_part(layer.shortcut, work.tile)
    row, plane = layer.steps_out(shortcut.shortcut_height, shortcut.shortcut_line_beats)
    if not shortcut.has_shortcut:
        return 0
    first = 0 if shortcut.shortcut_spread else work.out.out_word * plane
    return shortcut.shortcut_address + first + part.y * row + part.x * shortcut.shortcut_bits // 8


def epilogue_fields(layer: LayerFields, work: Work) -> EpilogueJobFields:
    epilogue, shortcut, tile, out = layer.epilogue, layer.shortcut, work.tile, work.out
    return EpilogueJobFields(
        results=out.outputs * tile.height * tile.width if out.last else 0,
        activation=epilogue.activation,
        low=epilogue.low,
        high=epilogue.high,
        round_row=epilogue.round_row,
        has_main=epilogue.main_row >= 0 and layer.op in SHIFTED,
        main_row=max(epilogue.main_row, 0),
        shortcut_row=shortcut.shortcut_row,
        clamp_row=epilogue.clamp_row,
        looks_up=epilogue.table >= 0,
        table=max(epilogue.table, 0),
        masks=epilogue.lanes_row >= 0,
        lanes_row=max(epilogue.lanes_row, 0),
    )


def pooled_rows(layer: LayerFields, y: int) -> int:
    """Rows of the pooled map that are complete before row y of the computed one."""
    pool = layer.fused_pool
    if y == layer.output_map.out_height:
        return pool.pooled_height
    return max(0, (y + pool.pool_top + 2 - pool.pool_height) // 2)


def row_cycles(words: int, bits: int) -> int:
    """Cycles in which a row of words is packed: one more where its last beat is not full."""
    return words + (words * bits % 8 > 0)


def store_fields(layer: LayerFields, work: Work) -> StoreJobFields:
    """Rows that follow each other in memory without a gap are one burst, unless rows of both maps take turns."""
    out, pool, tile, words = layer.output_map, layer.fused_pool, work.tile, work.out.outputs
    if not work.out.last:
        return StoreJobFields(out_bits=out.out_bits)
    rows = tile.height
    pooled = pooled_rows(layer, tile.y + rows) - pooled_rows(layer, tile.y) if pool.pool else 0
    both = pool.pool and out.keeps_map
    whole_lines = pool.pool or (tile.width == out.out_width and tile.apart == 1 and not layer.pictures.several)
    row_step, plane_step = layer.steps_out(out.out_plane_rows, out.out_line_beats)
    of_word = pooled if pool.pool else rows
    if both or not whole_lines:
        together = 1
    else:
        together = words * of_word if rows == out.out_plane_rows else of_word
    turns = words * rows if both else words * of_word // together if together else 0
    of_map = beats(tile.width, out.out_bits) if out.keeps_map else 0
    of_pool = beats(pool.pooled_width, out.out_bits) if pool.pool else 0
    return StoreJobFields(
        store_to=layer.stores_to,
        height=rows,
        pack_cycles=words
        * (
            (rows * row_cycles(tile.width, out.out_bits) if out.keeps_map else 0)
            + pooled * row_cycles(pool.pooled_width, out.out_bits)
        ),
        out_bits=out.out_bits,
        out_unsigned=out.out_unsigned,
        keeps_map=out.keeps_map,
        store_turns=turns,
        map_plane_bursts=rows if together == 1 else 1,
        map_step=tile.apart * row_step,
        map_plane_step=plane_step,
        map_length=together * of_map,
        pools=pool.pool,
        pool_height=pool.pool_height,
        pool_width=pool.pool_width,
        pool_top=pool.pool_top,
        pool_left=pool.pool_left,
        out_height=out.out_height if pool.pool else 0,
        pooled_height=pool.pooled_height,
        pooled_width=pool.pooled_width,
        pooled_plane_bursts=pooled if both else 1,
        pooled_step=pool.pooled_line_beats,
        pooled_plane_step=pool.pooled_height * pool.pooled_line_beats,
        pooled_length=together * of_pool,
        chip_beats=turns * together * (of_map + of_pool) if layer.stores_to is MapPlace.CHIP else 0,
    )


def compute_job(layer: LayerFields, work: Work, array: Array) -> ComputeJob:
    """The job of a pass over a tile."""
    return ComputeJob(
        walk=walk_fields(layer, work, array),
        shortcut=shortcut_fields(layer, work),
        epilogue=epilogue_fields(layer, work),
        store=store_fields(layer, work),
        lanes=lane_fields(layer, work.tile, array),
    )


def nothing_to_compute(array: Array) -> ComputeJob:
    """The job of a step in which only something loads."""
    none = (0,) * array.walk_pixels
    return ComputeJob(WalkFields(), ShortcutJobFields(), EpilogueJobFields(), StoreJobFields(), LaneFields(none, none))


def position(layer: LayerFields, work: Work, weights_start: int, coming_start: int) -> PositionFields:
    """Where a pass over a tile stands in its layer. weights_start, coming_start: of what loads for the pass after."""
    tile, out, target, pool, scaled = work.tile, work.out, layer.output_map, layer.fused_pool, layer.op.traits.scaled
    row, plane = layer.steps_out(target.out_plane_rows, target.out_line_beats)
    return PositionFields(
        weights_start=weights_start,
        window_start=out.tile_word * tile.in_height * tile.pitch,
        out_word=out.out_word,
        out_y=tile.y if pool.pool else 0,
        shortcut_plane=shortcut_start(layer, work) if layer.shortcut.shortcut_place is MapPlace.MEMORY else 0,
        coming_plane=coming_start,
        map_plane=target.out_address
        + out.out_word * plane
        + tile.y * row
        + tile.x * target.out_bits // 8
        if target.keeps_map
        else 0,
        pooled_plane=pool.pooled_address
        + (out.out_word * pool.pooled_height + pooled_rows(layer, tile.y)) * pool.pooled_line_beats
        if pool.pool
        else 0,
        pooled_line=out.out_word * pool.pooled_width if pool.pool else 0,
        average_row=layer.average.average_row + tile.y if scaled else 0,
        average_column=layer.average.average_column + tile.x if scaled else 0,
    )
