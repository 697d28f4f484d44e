"""Emits a layer: its row of the schedule, its tables and its weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.graph import Node
from bfp.format import block_of
from bfp.parameters import Parameters, reciprocal
from codegen.lowering.fusion import InputPool, Pool, input_pool_fields, pool_fields
from codegen.lowering.placement import Placement
from codegen.lowering.schedule import EngineLayer, Program
from codegen.lowering.tiling import Tiling
from codegen.lowering.weight_image import dense_image, dense_sizes, depthwise_image, fold_columns, one_hot

ENGINE_OPERATOR = {
    "conv": "CONV",
    "slice_pad": "CONV",
    "depthwise": "DEPTHWISE",
    "max_pool": "MAX_POOL",
    "avg_pool": "AVG_POOL",
    "add": "ADD",
    "identity": "ADD",
}
# sums of average pooling have no more bits, sign included: they are multiplied in two DSPs (hls/epilogue.hpp,
# hls/input_pool.hpp)
MOST_MEAN_BITS = 25
# of the schedule's fields; hls/layer.hpp has 32 bits for these, 16 for the others
WIDE_FIELDS = (
    "in_address", "out_address", "pooled_address", "shortcut_address", "slice_lines", "early_lines", "weight_address",
    "word_beats", "chunk_beats",
)


@dataclass(frozen=True)
class Job:
    """A layer to be, with its operands' places; stored: the tensors that are complete then, their labels and places.

    target: of what it computes, or, where only its max pool is stored, of that; pooled: of that, if there is one.
    """

    name: str
    node: Node
    parameters: Parameters
    source: Placement
    target: Placement
    pooled: Placement | None
    shortcut: Placement | None
    stored: list[tuple[str, str, Placement]]
    pool: Pool | None = None
    input_pool: InputPool | None = None


def check_range(layer: str, fields: dict[str, int | str]) -> None:
    """Raise BfpError, naming the layer, where a constant of the schedule has more bits than its field."""
    for name, value in fields.items():
        bits = 32 if name in WIDE_FIELDS else 16
        if isinstance(value, int) and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise BfpError(
                f"layer {layer}: its {name} is {value}, and the schedule has {bits} bits for it; use more lanes, or a "
                "smaller network or input"
            )


class Emitter:
    """Appends the layers of one network to a program."""

    def __init__(self, program: Program, index: int, artifact: Artifact) -> None:
        self.program, self.index, self.artifact, self.graph = program, index, artifact, artifact.graph

    def emit(self, job: Job, tiling: Tiling, shares: dict[str, int]) -> None:
        """Append the row of one layer, its tables and its weights."""
        program, formats, lanes = self.program, self.artifact.formats, self.program.options.lanes
        name, node, p, source, target, shortcut = (
            job.name, job.node, job.parameters, job.source, job.target, job.shortcut
        )
        loads = job.input_pool.node if job.input_pool else node  # whose window goes over the map in memory
        (in_c, in_h, in_w), (out_c, out_h, out_w) = self.graph.shapes[node.main], self.graph.shapes[node.output]
        keeps_map = not job.pool or job.pool.keeps_map
        fmt, out_fmt = formats[node.main], formats[node.output]
        dense = ENGINE_OPERATOR[node.op] == "CONV"
        buffered = tiling.buffered
        (kh, kw), (sh, sw), (top, left, _, _) = node.window.kernel, loads.window.stride, loads.window.padding
        weight_address, has_align, weight_bits, word_beats, chunk_beats = 0, 0, 8, 0, 0
        if dense:
            bias = target.spread(p.bias)
            mantissas, align = self.dense_operands(node, p, source, name)
            has_align = int(align.any())
            program.largest_align = max(program.largest_align, int(align.max()))
            align = align if has_align else None
            weight_bits = p.weights.bits if p.weights else 2
            if program.with_weights:
                image, chunk_beats = dense_image(
                    fold_columns(mantissas, buffered.taps),
                    align,
                    bias,
                    source,
                    target,
                    tiling.chunk_words,
                    program.options.filters,
                    weight_bits,
                )
            else:
                area = buffered.kernel[0] * buffered.kernel[1]
                beats, chunk_beats = dense_sizes(
                    area, bool(has_align), source.planes, tiling.chunk_words, lanes, weight_bits
                )
                image = np.broadcast_to(np.int8(0), (beats * target.planes, lanes))
            word_beats = len(image) // target.planes
            weight_address = program.add_weights(image)
        elif node.op == "depthwise":
            weight_bits = p.weights.bits
            image = depthwise_image(p.weights.mantissas, target.spread(p.bias), target, weight_bits)
            word_beats = len(image) // target.planes
            weight_address = program.add_weights(image)
        fields: dict[str, int | str] = {
            "op": ENGINE_OPERATOR[node.op],
            "number": len(program.layers),
            "in_address": source.address,
            "in_words": source.planes,
            "in_height": source.height,
            "in_width": source.width,
            "in_line_beats": source.line,
            "in_bits": source.bits,
            "in_unsigned": int(not fmt.signed),
            **input_pool_fields(job.input_pool, fmt, self.input_pool_row(job)),
            "out_words": target.planes,
            "out_height": out_h,
            "out_width": out_w,
            "keeps_map": int(keeps_map),
            "out_address": target.address if keeps_map else 0,
            "out_line_beats": target.line if keeps_map else 0,
            "out_bits": target.bits,
            **pool_fields(job.pool),
            "pooled_address": job.pooled.address if job.pooled else 0,
            "pooled_line_beats": job.pooled.line if job.pooled else 0,
            "pooled_height": job.pooled.height if job.pooled else 0,
            "pooled_width": job.pooled.width if job.pooled else 0,
            "has_shortcut": int(shortcut is not None),
            "shortcut_address": shortcut.address if shortcut else 0,
            "shortcut_line_beats": shortcut.line if shortcut else 0,
            "shortcut_bits": shortcut.bits if shortcut else 8,
            "shortcut_unsigned": int(not formats[node.shortcut].signed) if shortcut else 0,
            "kernel_height": buffered.kernel[0],
            "kernel_width": buffered.kernel[1],
            "stride_height": sh,
            "stride_width": sw,
            "pad_top": top,
            "pad_left": left,
            # below every mantissa of a signed tensor; an unsigned one has nothing below zero
            "pad_value": -128 if loads.op == "max_pool" and fmt.signed else 0,
            "tile_height": tiling.tile_height,
            "tile_width": tiling.tile_width,
            "tiles_down": tiling.tiles_down,
            "tiles_across": tiling.tiles_across,
            "tile_words": tiling.words,
            "word_tiles": tiling.word_tiles,
            **shares,
            "pitch": tiling.pitch,
            "edge_pitch": tiling.edge_pitch,
            "block_pixels": tiling.block_pixels,
            "row_step": buffered.row_step,
            "col_step": buffered.col_step,
            "down": buffered.stride[0],
            "across": buffered.stride[1],
            "taps": buffered.taps,
            "tap_channels": in_c if buffered.taps > 1 else lanes,
            "group_words": tiling.group_words,
            "chunk_words": tiling.chunk_words,
            "chunks": tiling.chunks,
            "tile_passes": tiling.tile_passes,
            "edge_passes": tiling.edge_passes,
            "weight_address": weight_address,
            "weight_bits": weight_bits,
            "word_beats": word_beats,
            "chunk_beats": chunk_beats,
            "has_align": has_align,
            "activation": node.activation.upper(),
            "low": out_fmt.low,
            "high": out_fmt.high,
            "round_row": self.add_shifts("ROUND_SHIFT", name, target, p),
            "main_row": -1,
            "shortcut_row": 0,
            "clamp_row": 0,
        }
        if p.main_shift.any():
            fields["main_row"] = program.add_rows("MAIN_SHIFT", name, target.spread(p.main_shift))
        if shortcut:
            fields["shortcut_row"] = program.add_rows("SHORTCUT_SHIFT", name, target.spread(p.shortcut_shift))
        if node.activation == "relu6":
            fields["clamp_row"] = program.add_rows("CLAMP_HIGH", name, target.spread(p.clamp_high))
        fields |= self.counting(loads, source.height, source.width, loads.name if job.input_pool else name)
        check_range(name, fields)
        macs = out_c * out_h * out_w * kh * kw * (in_c if node.op == "conv" else node.op == "depthwise")
        describe = (
            f"{node.op} {kh}x{kw} stride {node.window.stride[0]}x{node.window.stride[1]}, "
            f"{in_c}x{in_h}x{in_w} -> {out_c}x{out_h}x{out_w}"
            f"{', ' + node.activation if node.activation != 'none' else ''}{', shortcut' if shortcut else ''}"
        )
        if job.pool:
            kernel, (_, *size) = job.pool.node.window.kernel, self.graph.shapes[job.pool.node.output]
            describe += f"; {job.pool.node.name}: max_pool {kernel[0]}x{kernel[1]} -> {out_c}x{size[0]}x{size[1]}"
        if job.input_pool:
            kernel = loads.window.kernel
            describe = f"{loads.name}: {loads.op} {kernel[0]}x{kernel[1]} of {source.height}x{source.width}; {describe}"
        program.layers.append(EngineLayer(name, describe, self.index, int(macs), tiling, fields, job.pool, job.input_pool))

    def input_pool_row(self, job: Job) -> int:
        """Add the rounding shifts of an input's means to their table, where it has them; returns their first row."""
        if not job.input_pool or job.input_pool.node.op != "avg_pool":
            return 0
        p = self.artifact.parameters[job.input_pool.node.name]
        return self.add_shifts("INPUT_POOL_SHIFT", job.name, job.source, p)

    def add_shifts(self, table: str, layer: str, placement: Placement, p: Parameters) -> int:
        """Add rounding shifts to a table; lanes without a channel, too, get one that occurs. Returns the first row."""
        fill = int(p.round_shift.max())
        return self.program.add_rows(table, layer, placement.spread(p.round_shift, fill))

    def dense_operands(
        self, node: Node, p: Parameters, source: Placement, name: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mantissas [F, C, kh, kw] and the alignment shift of each filter and input word [F, words]."""
        in_c, out_c = self.graph.shapes[node.main][0], self.graph.shapes[node.output][0]
        if node.op == "slice_pad":
            return one_hot(out_c, in_c, node.channel_offset), np.zeros((out_c, source.planes), np.int64)
        group = block_of(p.align_splits, tuple(range(in_c + 1)))
        word = source.slots() // source.lanes
        first = np.searchsorted(word, np.arange(source.planes))
        if np.any(group != group[first][word]) and p.align_shift.any():
            raise BfpError(
                f"layer {name}: an exponent group of its input or weights ends inside a memory word of "
                f"{source.lanes} channels; make weight_group and activation_group multiples of the engine's lanes"
            )
        return p.weights.mantissas, p.align_shift[:, group[first]]

    def counting(self, node: Node, in_h: int, in_w: int, name: str) -> dict[str, int]:
        """Bounds of what an average counts, and its reciprocals; zeros for other operators."""
        names = ("count_top", "count_left", "count_bottom", "count_right", "rows_min", "cols_min", "cols_span")
        if node.op != "avg_pool":
            return dict.fromkeys((*names, "reciprocal_row"), 0)
        top, left, bottom, right = node.counted_padding
        rows, cols = node.divisors(in_h, in_w)
        largest = max(abs(self.artifact.formats[node.main].low), self.artifact.formats[node.main].high)
        if node.window.kernel[0] * node.window.kernel[1] * largest >= 2 ** (MOST_MEAN_BITS - 1):
            raise BfpError(
                f"layer {name}: sums of its {node.window.kernel[0]}x{node.window.kernel[1]} average may need more than "
                f"{MOST_MEAN_BITS} bits; pool in two steps, or use narrower activations"
            )
        divisors = np.multiply.outer(np.arange(min(rows), max(rows) + 1), np.arange(min(cols), max(cols) + 1))
        at = sum(len(values) for _, values in self.program.reciprocals)
        self.program.reciprocals.append((name, reciprocal(divisors).reshape(-1)))
        return {
            **dict(zip(names, (-top, -left, in_h + bottom, in_w + right, min(rows), min(cols), divisors.shape[1]))),
            "reciprocal_row": at,
        }
