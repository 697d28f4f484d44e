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
from codegen.fusion import MOST_WORDS, Pool, fusible
from codegen.options import EngineOptions
from codegen.placement import Placement, place
from codegen.schedule import EngineLayer, Program, StoredTensor
from codegen.sequence import Stage, choose_tilings, early_pass, load_fields
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
# results that no max pool is fused into: a concatenation computes none, and pools are not pooled again
UNFUSED = ("concat", "max_pool")


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
    """A layer to be, with its operands' places; stored: the tensor that it makes and its label."""

    name: str
    node: Node
    parameters: Parameters
    source: Placement
    target: Placement
    shortcut: Placement | None
    stored: tuple[str, str]
    stage: Stage
    cutter: Cutter
    pool: Pool | None


def pool_fields(pool: Pool | None) -> dict[str, int]:
    """The schedule's constants of a fused max pool; zeros where there is none."""
    names = ("pool", "pool_height", "pool_width", "pool_top", "pool_left")
    if pool is None:
        return dict.fromkeys(names, 0)
    return dict(zip(names, (1, *pool.node.window.kernel, *pool.node.window.padding[:2])))


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
        self.places, program.fmap_words = place(
            self.graph, artifact.formats, program.options.lanes, program.fmap_words, absent=self.pools
        )

    def run(self) -> None:
        self.store(self.graph.input, self.graph.input, -1, self.places[self.graph.input])
        fused = {pool.node.name for pool in self.pools.values()}
        for node in self.graph.nodes:
            if node.op != "concat" and node.name not in fused:
                self.plan(node)
        before: tuple[Job, Tiling] | None = None
        for job, tiling in zip(self.jobs, choose_tilings([(job.stage, job.cutter) for job in self.jobs])):
            early = early_pass(before[0].stage, before[1], job.stage, tiling) if before else None
            loads = load_fields(tiling, early, before[1] if before else None, bool(before and before[0].stage.dense))
            self.emit(job, tiling, loads)
            self.store(*job.stored, len(self.program.layers) - 1, job.target)
            before = job, tiling

    def store(self, tensor: str, label: str, layer: int, placement: Placement) -> None:
        shape, fmt = self.graph.shapes[tensor], self.artifact.formats[tensor]
        self.program.tensors.append(StoredTensor(tensor, label, self.index, layer, shape, fmt, placement))

    def find_pools(self) -> dict[str, Pool]:
        """Max pools that run in the layer before, by the tensor that they read, which is not stored then."""
        found = {}
        for node in self.graph.nodes:
            pool = fusible(self.graph, self.artifact.formats, node.output) if node.op not in UNFUSED else None
            if pool and self.places[node.output].planes * pool.stored[1] <= MOST_WORDS:
                cutter = self.cutter(node, self.places[node.main], self.places[node.output], None, None)
                if cutter.whole_rows():
                    found[node.output] = pool
        return found

    def plan(self, node: Node) -> None:
        """Add the job of one node, and of the copy it needs where layouts differ."""
        p = self.artifact.parameters[node.name]
        pool = self.pools.get(node.output)
        stored = pool.node.output if pool else node.output
        source, target = self.places[node.main], self.places[stored]
        shortcut = self.places[node.shortcut] if node.shortcut else None
        if shortcut and shortcut.splits != target.splits:
            _, height, width = self.graph.shapes[node.shortcut]
            shortcut = self.copy(node, node.shortcut, replace(target, height=height, width=width))
        self.add(node, p, source, target, shortcut, (stored, stored), pool)

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
        self.add(copy, p, self.places[tensor], placement, None, (tensor, f"{tensor} copied for {node.name}"))
        return placement

    def add(
        self,
        node: Node,
        p: Parameters,
        source: Placement,
        target: Placement,
        shortcut: Placement | None,
        stored: tuple[str, str],
        pool: Pool | None = None,
    ) -> None:
        name, op = self.layer_name(node), ENGINE_OPERATOR[node.op]
        (_, in_h, _), (_, out_h, _) = self.graph.shapes[node.main], self.graph.shapes[node.output]
        if op != "CONV" and source.splits != target.splits:
            raise BfpError(f"layer {name}: its input and output have different channel layouts")  # pragma: no cover
        stage = Stage(
            source.address,
            source.plane,
            target.address,
            target.plane,
            target.planes,
            op == "CONV",
            in_h,
            node.window.padding[0],
            out_h,
            pool,
        )
        cutter = self.cutter(node, source, target, shortcut, pool)
        self.jobs.append(Job(name, node, p, source, target, shortcut, stored, stage, cutter, pool))

    def layer_name(self, node: Node) -> str:
        return node.name if len(self.program.artifacts) == 1 else f"{self.graph.name}/{node.name}"

    def cutter(
        self, node: Node, source: Placement, target: Placement, shortcut: Placement | None, pool: Pool | None
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
            pool.stored if pool else None,
        )

    def emit(self, job: Job, tiling: Tiling, loads: dict[str, int]) -> None:
        """Append the row of one layer, its tables and its weights."""
        program, formats, lanes = self.program, self.artifact.formats, self.program.options.lanes
        name, node, p, source, target, shortcut = (
            job.name, job.node, job.parameters, job.source, job.target, job.shortcut
        )
        (in_c, in_h, in_w), (out_c, out_h, out_w) = self.graph.shapes[node.main], self.graph.shapes[node.output]
        fmt, out_fmt = formats[node.main], formats[node.output]
        dense = ENGINE_OPERATOR[node.op] == "CONV"
        buffered = tiling.buffered
        (kh, kw), (sh, sw), (top, left, _, _) = node.window.kernel, node.window.stride, node.window.padding
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
            "in_height": in_h,
            "in_width": in_w,
            "in_line_beats": source.line,
            "in_bits": source.bits,
            "in_unsigned": int(not fmt.signed),
            "out_words": target.planes,
            "out_height": out_h,
            "out_width": out_w,
            "out_address": target.address,
            "out_line_beats": target.line,
            "out_bits": target.bits,
            "stored_height": target.height,
            "stored_width": target.width,
            **pool_fields(job.pool),
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
            "pad_value": -128 if node.op == "max_pool" and fmt.signed else 0,
            "tile_height": tiling.tile_height,
            "tile_width": tiling.tile_width,
            "tiles_down": tiling.tiles_down,
            "tiles_across": tiling.tiles_across,
            "tile_words": tiling.words,
            "word_tiles": tiling.word_tiles,
            **loads,
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
        fields |= self.counting(node, in_h, in_w, name)
        macs = out_c * out_h * out_w * kh * kw * (in_c if node.op == "conv" else node.op == "depthwise")
        describe = (
            f"{node.op} {kh}x{kw} stride {sh}x{sw}, {in_c}x{in_h}x{in_w} -> {out_c}x{out_h}x{out_w}"
            f"{', ' + node.activation if node.activation != 'none' else ''}{', shortcut' if shortcut else ''}"
        )
        if job.pool:
            kernel, (_, *size) = job.pool.node.window.kernel, self.graph.shapes[job.pool.node.output]
            describe += f"; {job.pool.node.name}: max_pool {kernel[0]}x{kernel[1]} -> {out_c}x{size[0]}x{size[1]}"
        program.layers.append(EngineLayer(name, describe, self.index, int(macs), tiling, fields, job.pool))

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
