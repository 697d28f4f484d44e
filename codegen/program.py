"""Lowers artifacts to the engine's program: layers, tables, and the weight image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.format import mantissa_range
from bfp.graph import Node
from bfp.parameters import Parameters, block_of, reciprocal
from codegen.array import build_array
from codegen.fusion import (
    MOST_QUEUED,
    MOST_WORDS,
    InputPool,
    Pool,
    fusible,
    input_pool_fields,
    input_pools,
    pool_fields,
)
from codegen.options import EngineOptions
from codegen.placement import Placement, place
from codegen.schedule import EngineLayer, Program, StoredTensor
from codegen.sequence import Stage, Target, choose_tilings, early_pass, load_fields
from codegen.tiling import Cutter, Tiling
from codegen.weight_image import dense_image, dense_sizes, depthwise_image, fold_columns, one_hot

ENGINE_OPERATOR = {
    "conv": "CONV",
    "slice_pad": "CONV",
    "depthwise": "DEPTHWISE",
    "max_pool": "MAX_POOL",
    "avg_pool": "AVG_POOL",
    "add": "ADD",
    "identity": "ADD",
}


# sums of average pooling have no more bits, sign included (hls/epilogue.hpp)
MEAN_BITS = 25


def build(artifacts: list[Artifact], options: EngineOptions, with_weights: bool = True) -> Program:
    """One program that runs the networks one after the other. Raises BfpError naming the layer.

    with_weights: see :class:`Program`.
    """
    program = Program(options, build_array(options, *widest_operands(artifacts)), artifacts, with_weights)
    for index, artifact in enumerate(artifacts):
        Lowering(program, index, artifact).run()
    return program


def widest_operands(artifacts: list[Artifact]) -> tuple[int, int]:
    """Largest magnitudes that meet in the array: of weights, and of activations (1 where there is none)."""
    weight, activation = 1, 1
    for artifact in artifacts:
        for node in artifact.graph.nodes:
            if node.op == "conv":
                weight = max(weight, mantissa_range(artifact.parameters[node.name].weights.bits, True)[1])
            if ENGINE_OPERATOR.get(node.op) == "CONV":
                activation = max(activation, artifact.formats[node.main].high)
            if node.shortcut:  # it may have to be copied through the array
                activation = max(activation, artifact.formats[node.shortcut].high)
    return weight, activation


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
    stage: Stage
    cutter: Cutter
    pool: Pool | None
    input_pool: InputPool | None


class Lowering:
    """Lowers one network into a program: places tensors, chooses tilings, then emits layer after layer."""

    def __init__(self, program: Program, index: int, artifact: Artifact) -> None:
        self.program = program
        self.index = index
        self.artifact = artifact
        self.graph = artifact.graph
        self.jobs: list[Job] = []
        self.places, _ = place(self.graph, artifact.formats, program.options.lanes, program.fmap_words)
        self.pools = self.find_pools()
        fused = {pool.node.name for pool in self.pools.values()}
        self.input_pools = input_pools(self.graph, artifact.formats, fused, self.pools_on_load)
        # of each pool, the tensor with which its result is complete
        self.last_parts = {
            self.pools[node.output].node.name: node.output for node in self.graph.nodes if node.output in self.pools
        }
        # what is not stored
        self.absent = {pool.node.main for pool in self.pools.values() if not pool.keeps_map} | set(self.input_pools)
        self.fused = fused | {pool.node.name for pool in self.input_pools.values()}
        self.places, program.fmap_words = place(
            self.graph, artifact.formats, program.options.lanes, program.fmap_words, absent=self.absent
        )

    def run(self) -> None:
        self.store(self.graph.input, self.graph.input, -1, self.places[self.graph.input])
        for node in self.graph.nodes:
            if node.op != "concat" and node.name not in self.fused:
                self.plan(node)
        before: tuple[Job, Tiling] | None = None
        for job, tiling in zip(self.jobs, choose_tilings([(job.stage, job.cutter) for job in self.jobs])):
            early = early_pass(before[0].stage, before[1], job.stage, tiling) if before else None
            loads = load_fields(
                tiling,
                early,
                before[1] if before else None,
                bool(before and before[0].stage.dense),
                job.input_pool is not None,
            )
            self.emit(job, tiling, loads)
            for tensor, label, placement in job.stored:
                self.store(tensor, label, len(self.program.layers) - 1, placement)
            before = job, tiling

    def store(self, tensor: str, label: str, layer: int, placement: Placement) -> None:
        shape, fmt = self.graph.shapes[tensor], self.artifact.formats[tensor]
        self.program.tensors.append(StoredTensor(tensor, label, self.index, layer, shape, fmt, placement))

    def find_pools(self) -> dict[str, Pool]:
        """Max pools that run in the layers that make their input, by what these make."""
        found: dict[str, Pool] = {}
        for node in self.graph.nodes:
            parts = fusible(self.graph, self.artifact.formats, node)
            if not found.keys() & parts.keys() and all(self.pools_on_store(t, pool) for t, pool in parts.items()):
                found |= parts
        return found

    def pools_on_store(self, tensor: str, pool: Pool) -> bool:
        """Whether running maxima fit, and tiles of whole rows, in the layer that makes ``tensor``."""
        node = self.graph.producer(tensor)
        fits = self.places[tensor].planes * pool.stored[1] <= MOST_WORDS
        fits &= not pool.keeps_map or pool.stored[1] <= MOST_QUEUED
        return fits and self.cutter(node, self.places[node.main], self.places[tensor]).whole_rows()

    def pools_on_load(self, node: Node, pool: InputPool) -> bool:
        """Whether tiles of whole rows fit a convolution whose input is pooled as it loads."""
        return self.cutter(node, self.places[pool.node.main], self.places[node.output]).whole_rows()

    def pooled_part(self, tensor: str, pool: Pool) -> Placement:
        """Where the layer that makes ``tensor`` stores what its max pool makes of it: a part of the pool's result."""
        like, whole = self.places[pool.node.output], self.graph.segments()[tensor]
        first = int(like.slots()[pool.first_channel]) // like.lanes
        return replace(like, splits=whole, address=like.address + first * like.plane)

    def plan(self, node: Node) -> None:
        """Add the job of one node, and of the copy it needs where layouts differ."""
        p = self.artifact.parameters[node.name]
        pool, input_pool = self.pools.get(node.output), self.input_pools.get(node.main)
        source = self.places[input_pool.node.main if input_pool else node.main]
        pooled = self.pooled_part(node.output, pool) if pool else None
        target = pooled if pooled and not pool.keeps_map else self.places[node.output]
        shortcut = self.places[node.shortcut] if node.shortcut else None
        if shortcut and shortcut.splits != target.splits:
            _, height, width = self.graph.shapes[node.shortcut]
            shortcut = self.copy(node, node.shortcut, replace(target, height=height, width=width))
        stored = [] if pool and not pool.keeps_map else [(node.output, node.output, target)]
        if pool and self.last_parts[pool.node.name] == node.output:
            stored.append((pool.node.output, pool.node.output, self.places[pool.node.output]))
        self.add(node, p, source, target, pooled, shortcut, stored, pool, input_pool)

    def copy(self, node: Node, tensor: str, like: Placement) -> Placement:
        """Copy ``tensor`` into the channel layout of another placement, through the multipliers."""
        program, fmt = self.program, self.artifact.formats[tensor]
        placement = Placement(like.splits, program.fmap_words, like.height, like.width, fmt.bits, like.lanes)
        program.fmap_words += placement.words
        zeros = np.zeros(fmt.channels, np.int64)
        p = Parameters(
            fmt.channel_exponents(), zeros, zeros, None, zeros, None, fmt.splits, np.zeros((fmt.channels, 0)), None
        )
        copy = Node(f"{node.name}.copy", "slice_pad", (tensor,), tensor)
        stored = [(tensor, f"{tensor} copied for {node.name}", placement)]
        self.add(copy, p, self.places[tensor], placement, None, None, stored)
        return placement

    def add(
        self,
        node: Node,
        p: Parameters,
        source: Placement,
        target: Placement,
        pooled: Placement | None,
        shortcut: Placement | None,
        stored: list[tuple[str, str, Placement]],
        pool: Pool | None = None,
        input_pool: InputPool | None = None,
    ) -> None:
        name, op = self.layer_name(node), ENGINE_OPERATOR[node.op]
        if op != "CONV" and source.splits != target.splits:
            raise BfpError(f"layer {name}: its input and output have different channel layouts")  # pragma: no cover
        loads = input_pool.node if input_pool else node
        targets = [Target(target.address, target.plane, target.planes)] if not pool or pool.keeps_map else []
        if pooled:
            targets.append(Target(pooled.address, pooled.plane, pooled.planes, pool))
        stage = Stage(
            source.address,
            source.plane,
            tuple(targets),
            op == "CONV",
            source.height,
            loads.window.padding[0],
            self.graph.shapes[node.output][1],
            input_pool,
        )
        cutter = self.cutter(node, source, target, shortcut, pool, input_pool)
        self.jobs.append(
            Job(name, node, p, source, target, pooled, shortcut, stored, stage, cutter, pool, input_pool)
        )

    def layer_name(self, node: Node) -> str:
        return node.name if len(self.program.artifacts) == 1 else f"{self.graph.name}/{node.name}"

    def cutter(
        self,
        node: Node,
        source: Placement,
        target: Placement,
        shortcut: Placement | None = None,
        pool: Pool | None = None,
        input_pool: InputPool | None = None,
    ) -> Cutter:
        parameters = self.artifact.parameters.get(node.name)  # a copy has none
        weights = parameters.weights if parameters else None
        return Cutter(
            self.layer_name(node),
            ENGINE_OPERATOR[node.op],
            self.graph.shapes[node.main][0],
            source.planes,
            (target.planes, *self.graph.shapes[node.output][1:]),
            node.window,
            self.program.options,
            self.program.array,
            target.bits,
            source.bits,
            weights.bits if weights else 2,
            shortcut.bits if shortcut else 0,
            pool,
            input_pool,
        )

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
            "round_row": program.add_rows("ROUND_SHIFT", name, target.spread(p.round_shift)),
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
        fields |= self.counting(loads, source.height, source.width, name)
        macs = out_c * out_h * out_w * kh * kw * (in_c if node.op == "conv" else node.op == "depthwise")
        describe = (
            f"{node.op} {kh}x{kw} stride {node.window.stride[0]}x{node.window.stride[1]}, {in_c}x{in_h}x{in_w} -> {out_c}x{out_h}x{out_w}"
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
        return self.program.add_rows("INPUT_POOL_SHIFT", job.name, job.source.spread(p.round_shift))

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
        if node.window.kernel[0] * node.window.kernel[1] * largest >= 2 ** (MEAN_BITS - 1):
            raise BfpError(
                f"layer {name}: sums of its {node.window.kernel[0]}x{node.window.kernel[1]} average may need more than "
                f"{MEAN_BITS} bits; pool in two steps, or use narrower activations"
            )
        divisors = np.multiply.outer(np.arange(min(rows), max(rows) + 1), np.arange(min(cols), max(cols) + 1))
        at = sum(len(values) for _, values in self.program.reciprocals)
        self.program.reciprocals.append((name, reciprocal(divisors).reshape(-1)))
        return {
            **dict(zip(names, (-top, -left, in_h + bottom, in_w + right, min(rows), min(cols), divisors.shape[1]))),
            "reciprocal_row": at,
        }
