"""Emits a layer: its row of the schedule, its tables and its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.operators import Channels
from bfp.operators.interpolate import axis_of
from bfp.parameters import Parameters, reciprocal
from bfp.tables import activation_table
from codegen.lowering.digits import digit_fields
from codegen.lowering.job import Job
from codegen.lowering.layer_fields import (
    AverageFields,
    BufferFields,
    EngineActivation,
    EpilogueFields,
    FusedPoolFields,
    InputMapFields,
    InputPoolFields,
    InputPooling,
    LayerFields,
    LoadFields,
    MapPlace,
    OutputMapFields,
    PassFields,
    PictureFields,
    ShortcutFields,
    SpreadFields,
    TileFields,
    WindowFields,
)
from codegen.lowering.placement import Placement
from codegen.lowering.schedule import ChipRange, EngineLayer, Program
from codegen.lowering.tiling import Tiling
from codegen.lowering.weight_fields import weight_fields

ACTIVATIONS = activation_table(
    "the engine", {"none": EngineActivation.NONE, "relu": EngineActivation.RELU, "relu6": EngineActivation.RELU6}
)
INPUT_POOLINGS = {"max_pool": InputPooling.LARGEST, "avg_pool": InputPooling.MEAN}
# sums of average pooling have no more bits, sign included: they are multiplied in two DSPs (hls/epilogue.hpp,
# hls/input_pool.hpp)
MOST_MEAN_BITS = 25


def fused_pool_fields(job: Job) -> FusedPoolFields:
    """Of a max pool that runs on what the layer computes."""
    if job.pool is None:
        return FusedPoolFields()
    window = job.pool.node.window
    return FusedPoolFields(
        pool=True,
        pool_height=window.kernel[0],
        pool_width=window.kernel[1],
        pool_top=window.padding[0],
        pool_left=window.padding[1],
        pooled_address=job.pooled.start,
        pooled_place=job.pooled.place,
        pooled_line_beats=job.pooled.line,
        pooled_height=job.pooled.height,
        pooled_width=job.pooled.width,
    )


def spread_fields(job: Job) -> SpreadFields:
    """Of what enlarges its map."""
    phased = job.node.operator.channels is Channels.PHASED
    edges = job.node.operator.repeats_edges
    return SpreadFields(*job.node.factors, phase_words=job.target.planes if phased else 0, edges=edges)


def tile_fields(tiling: Tiling) -> TileFields:
    return TileFields(
        tile_height=tiling.tile_height,
        tile_width=tiling.tile_width,
        tiles_down=tiling.tiles_down,
        tiles_across=tiling.tiles_across,
        tile_words=tiling.words,
        word_tiles=tiling.word_tiles,
        rows_apart=tiling.apart,
    )


def buffer_fields(tiling: Tiling, channels: int, lanes: int) -> BufferFields:
    """channels: of the input map."""
    buffered = tiling.buffered
    return BufferFields(
        pitch=tiling.pitch,
        edge_pitch=tiling.edge_pitch,
        block_pixels=tiling.block_pixels,
        row_step=buffered.row_step,
        col_step=buffered.col_step,
        down=buffered.stride[0],
        across=buffered.stride[1],
        taps=buffered.taps,
        kernel_down=buffered.gap[0],
        kernel_across=buffered.gap[1],
        tap_channels=channels if buffered.taps > 1 else lanes,
    )


def pass_fields(tiling: Tiling) -> PassFields:
    return PassFields(
        group_words=tiling.group_words,
        chunk_words=tiling.chunk_words,
        chunks=tiling.chunks,
        tile_passes=tiling.tile_passes,
        edge_passes=tiling.edge_passes,
    )


class Emitter:
    """Appends the layers of one network to a program."""

    def __init__(self, program: Program, index: int, artifact: Artifact) -> None:
        self.program, self.index, self.artifact, self.graph = program, index, artifact, artifact.graph
        self.made: dict[tuple[str, object], Any] = {}  # what all bands of a node share

    def once(self, job: Job, what: object, make: Callable[[], Any]) -> Any:
        """What is made for a layer, and for the bands of one only for the first of them."""
        if job.band is None:
            return make()
        key = job.node.name, what
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def emit(self, job: Job, tiling: Tiling, loads: LoadFields) -> None:
        """Append the row of one layer, its tables and its weights. Raises BfpError naming the layer."""
        fields = LayerFields(
            op=job.op,
            input_map=self.input_map_fields(job),
            input_pool=self.input_pool_fields(job),
            spread=spread_fields(job),
            output_map=self.output_map_fields(job),
            fused_pool=fused_pool_fields(job),
            shortcut=self.shortcut_fields(job),
            window=self.window_fields(job, tiling),
            tiles=tile_fields(tiling),
            loads=loads,
            buffer=buffer_fields(tiling, self.graph.shapes[job.node.main][0], self.program.options.lanes),
            passes=pass_fields(tiling),
            weights=self.once(
                job, ("weights", tiling.chunk_words), lambda: weight_fields(self.program, self.graph, job, tiling)
            ),
            digits=digit_fields(self.artifact, job.node, self.program.array),
            epilogue=self.once(job, "epilogue", lambda: self.epilogue_fields(job)),
            average=self.average_fields(job),
            pictures=PictureFields(job.pictures),
        )
        chip, pools = ChipRange.of(job, fields.output_map), (job.pool, job.input_pool)
        self.program.layers.append(
            EngineLayer(job.name, self.describe(job), self.index, self.macs(job), tiling, fields, *pools, chip)
        )

    def macs(self, job: Job) -> int:
        """Multiply-accumulates: parts and blocks of an input are none, and no network knows what an upsampling is made of."""
        own, lowered = self.program.artifacts[self.index].graph, self.program.lowered[self.index]
        node = own.producer(job.node.output) if job.node.main in lowered.folds else job.node
        shapes = self.graph.shapes | own.shapes
        macs = node.operator.macs(node, shapes[node.main], shapes[node.output])
        return macs * job.band.new // shapes[node.output][1] if job.band else macs  # each row counts once

    # -- the groups of a row -------------------------------------------------------------------------------------

    def input_map_fields(self, job: Job) -> InputMapFields:
        source = job.source
        return InputMapFields(
            in_address=source.start,
            in_words=job.in_words,
            in_height=source.height * job.pictures,
            in_width=source.width,
            in_line_beats=source.line,
            in_bits=source.bits,
            in_unsigned=not self.artifact.formats[job.node.main].signed,
            in_place=source.place,
        )

    def input_pool_fields(self, job: Job) -> InputPoolFields:
        """Of a pool that runs on the input; of a mean, the requantisation shifts go into their table."""
        if job.input_pool is None:
            return InputPoolFields()
        pool, fmt = job.input_pool, self.artifact.formats[job.node.main]
        kind, row = INPUT_POOLINGS[pool.node.op], 0
        if kind is InputPooling.MEAN:
            p = self.artifact.parameters[pool.node.name]
            row = self.add_shifts("INPUT_POOL_SHIFT", job.name, job.source, p, job.pictures)
        return InputPoolFields(
            in_pool=kind,
            in_pool_height=pool.window.kernel[0],
            in_pool_width=pool.window.kernel[1],
            in_pool_whole=pool.whole,
            in_pool_low=fmt.low,
            in_pool_high=fmt.high,
            in_pool_row=row,
        )

    def output_map_fields(self, job: Job) -> OutputMapFields:
        target, (_, height, width) = job.target, self.graph.shapes[job.node.output]
        height = job.band.rows if job.band else height
        keeps_map = not job.pool or job.pool.keeps_map
        return OutputMapFields(
            out_words=target.planes,
            out_height=height * job.pictures,
            out_width=width,
            keeps_map=keeps_map,
            out_address=target.start + job.target_first * target.line if keeps_map else 0,
            out_line_beats=target.line if keeps_map else 0,
            out_plane_rows=(target.height if keeps_map else height) * job.pictures,
            out_bits=target.bits,
            out_unsigned=not self.artifact.formats[job.output].signed,
            out_place=target.place if keeps_map else MapPlace.MEMORY,
        )

    def shortcut_fields(self, job: Job) -> ShortcutFields:
        if job.shortcut is None:
            return ShortcutFields()
        rows = job.target.to_lanes(job.parameters.shortcut_alignment)
        one_for_all = self.graph.broadcast(job.node)
        first = job.band.first if job.band and not one_for_all.pixels else 0
        return ShortcutFields(
            has_shortcut=True,
            shortcut_address=job.shortcut.start + first * job.shortcut.line,
            shortcut_line_beats=job.shortcut.line,
            shortcut_bits=job.shortcut.bits,
            shortcut_unsigned=not self.artifact.formats[job.node.shortcut].signed,
            shortcut_row=self.once(job, "shortcut", lambda: self.program.add_rows("SHORTCUT_ALIGNMENT", job.name, rows)),
            shortcut_height=job.shortcut.height,
            shortcut_held=one_for_all.pixels,
            shortcut_spread=one_for_all.channels,
            shortcut_place=job.shortcut.place,
        )

    def window_fields(self, job: Job, tiling: Tiling) -> WindowFields:
        """The kernel is the buffer's; stride and padding are those of what reads the map in memory."""
        window, signed = job.reader.window, self.artifact.formats[job.node.main].signed
        return WindowFields(
            kernel_height=tiling.buffered.kernel[0],
            kernel_width=tiling.buffered.kernel[1],
            stride_height=window.stride[0],
            stride_width=window.stride[1],
            pad_top=job.pad_top,
            pad_left=window.padding[1],
            # below every mantissa of a signed tensor; an unsigned one has nothing below zero
            pad_value=-128 if job.reader.operator.pads_lowest and signed else 0,
        )

    def epilogue_fields(self, job: Job) -> EpilogueFields:
        """Shifts and clamps go into their tables."""
        p, fmt = job.parameters, self.artifact.formats[job.node.output]
        activation = ACTIVATIONS[job.node.activation]
        fields = EpilogueFields(
            activation=activation,
            low=fmt.low,
            high=fmt.high,
            round_row=self.add_shifts("REQUANTISATION_SHIFT", job.name, job.target, p),
        )
        if p.main_alignment.any():
            rows = job.target.to_lanes(p.main_alignment)
            fields = replace(fields, main_row=self.program.add_rows("MAIN_ALIGNMENT", job.name, rows))
        if p.clamp_high is not None:
            rows = job.target.to_lanes(p.clamp_high)
            fields = replace(fields, clamp_row=self.program.add_rows("CLAMP_HIGH", job.name, rows))
        if job.lookup is not None:
            table = self.artifact.parameters[job.lookup.name].table
            fields = replace(fields, table=self.program.add_lookup(job.lookup.name, table))
        if job.lookup is not None or job.shortcut and self.graph.broadcast(job.node).channels:
            rows = job.target.to_lanes(np.ones(fmt.channels, np.int64))
            fields = replace(fields, lanes_row=self.program.add_rows("USED_LANES", job.name, rows))
        return fields

    def add_shifts(self, table: str, layer: str, placement: Placement, p: Parameters, times: int = 1) -> int:
        """Add requantisation shifts to a table; lanes without a channel, too, get one that occurs. Returns the first row.

        times: so often each row, one after the other.
        """
        fill = int(p.requantisation_shift.max())
        rows = placement.to_lanes(p.requantisation_shift, fill)
        return self.program.add_rows(table, layer, np.repeat(rows, times, axis=0))

    def average_fields(self, job: Job) -> AverageFields:
        """Bounds of what an average counts; its reciprocals go into their table. Raises BfpError for too large sums."""
        node, height, width = job.reader, job.source.height, job.source.width
        if node.operator.has_shares:
            return self.share_fields(job)
        if not node.operator.counts_padding:
            return AverageFields()
        kernel, fmt = node.window.kernel, self.artifact.formats[node.main]
        name = node.name if job.input_pool else job.name
        if kernel[0] * kernel[1] * max(abs(fmt.low), fmt.high) >= 2 ** (MOST_MEAN_BITS - 1):
            raise BfpError(
                f"layer {name}: sums of its {kernel[0]}x{kernel[1]} average may need more than {MOST_MEAN_BITS} bits; "
                "pool in two steps, or use narrower activations"
            )
        rows, cols = (np.asarray(counts) for counts in node.divisors(height, width))
        divisors = np.multiply.outer(np.arange(rows.min(), rows.max() + 1), np.arange(cols.min(), cols.max() + 1))
        first = self.program.add_entries("RECIPROCAL", name, reciprocal(divisors).reshape(-1))
        return AverageFields(
            average_row=self.program.add_entries(
                "RECIPROCAL_ROW", name, first + (rows - rows.min()) * divisors.shape[1]
            ),
            average_column=self.program.add_entries("RECIPROCAL_COLUMN", name, cols - cols.min()),
        )

    def share_fields(self, job: Job) -> AverageFields:
        """Of shares, which go into the reciprocals' table; they differ from row to row, or from column to column."""
        node, sizes = job.node, (job.source.height, job.source.width)
        values, found = np.unique(node.shares, return_inverse=True)
        first = self.program.add_entries("RECIPROCAL", job.name, values)
        rows, columns = (found if axis_of(node) == axis else np.zeros(size, np.int64) for axis, size in enumerate(sizes))
        return AverageFields(
            average_row=self.program.add_entries("RECIPROCAL_ROW", job.name, first + rows),
            average_column=self.program.add_entries("RECIPROCAL_COLUMN", job.name, columns),
        )

    # -- what people read ----------------------------------------------------------------------------------------

    def describe(self, job: Job) -> str:
        """One line: operators and shapes."""
        node, shapes = job.node, self.graph.shapes
        (kh, kw), (sh, sw) = node.window.kernel, node.window.stride
        before, after = ("x".join(map(str, shapes[t])) for t in (node.main, node.output))
        text = f"{node.op} {kh}x{kw} stride {sh}x{sw}, {before} -> {after}"
        if node.window.dilation != (1, 1):
            text += f", dilation {'x'.join(map(str, node.window.dilation))}"
        if node.factors != (1, 1):
            text = f"{node.op} {'x'.join(map(str, node.factors))}, {before} -> {after}"
        text += f", {node.activation}" if node.activation != "none" else ""
        text += ", shortcut" if job.shortcut else ""
        text += f", rows {job.band.first} to {job.band.first + job.band.rows - 1}" if job.band else ""
        text += f"; {job.lookup.name}: table of {job.lookup.function}" if job.lookup else ""
        if job.pool:
            pool, (_, *size) = job.pool.node, shapes[job.pool.node.output]
            (kh, kw), stored = pool.window.kernel, (shapes[node.output][0], *size)
            text += f"; {pool.name}: max_pool {kh}x{kw} -> {'x'.join(map(str, stored))}"
        if job.input_pool:
            pool, (kh, kw) = job.reader, job.reader.window.kernel
            text = f"{pool.name}: {pool.op} {kh}x{kw} of {job.source.height}x{job.source.width}; {text}"
        return text
