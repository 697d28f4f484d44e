"""What of the engine a program needs: the rest is not generated, and takes no logic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.layer_fields import EngineActivation, InputPooling, LayerFields
from codegen.lowering.load_jobs import coming_fields
from codegen.lowering.schedule import Program
from codegen.lowering.walk import Work, passes, tiles


@dataclass(frozen=True)
class Shifts:
    """Rounding shifts: the least of them, and bits of what others have more."""

    least: int
    more: int

    @staticmethod
    def of(table: list[tuple[str, np.ndarray]]) -> Shifts:
        """Of a table of the program; zeros where it is empty."""
        ends = [int(v) for _, values in table for v in (values.min(), values.max())] or [0]
        return Shifts(min(ends), (max(ends) - min(ends)).bit_length())


@dataclass(frozen=True)
class Features:
    """operators: of its layers. align_bits: of the largest alignment shift that there may be.

    pool_pixels: pixel lanes of the pooling stages, one where every pooled map
    is a single pixel. depthwise_steps: weights of the depthwise buffer.
    rounding, mean_rounding: shifts of the epilogue, and of means of inputs that
    are pooled as they load; chunks: whether partial sums
    wait between passes; folded: whether a word holds several columns.
    weight_bits, operand_bits: of the widest mantissas, an operand with the sign
    that an unsigned one has not; depthwise_weight_bits, depthwise_operand_bits: of
    what depthwise convolution multiplies. depthwise_bits, mean_bits: of the widest sums
    of depthwise convolution and of pooling, sign included. input_pool,
    input_mean, input_slides, input_whole: whether an input is pooled as it
    loads, averaged, by windows of three rows, by one over the whole map;
    input_pool_columns: columns of which rows wait for that. pooled_queue:
    words of a pooled row that wait while the map's own row is stored. lookups: tables of functions; lookup_bits: of their
    index. shortcut_words: beats of a pass's shortcut that are read from on-chip memory a step ahead, 0: none ever is.
    spread: whether a map grows as it loads. wide_weights, wide_operands: whether any of the array's go as digits.
    """

    operators: frozenset[EngineOperator]
    shortcut: bool
    relu6: bool
    fused_pool: bool
    input_pool: bool
    input_mean: bool
    input_slides: bool
    input_whole: bool
    input_pool_columns: int
    pooled_queue: int
    rounding: Shifts
    mean_rounding: Shifts
    chunks: bool
    align_bits: int
    pool_pixels: int
    depthwise_steps: int
    folded: bool
    weight_bits: int
    operand_bits: int
    depthwise_weight_bits: int
    depthwise_operand_bits: int
    depthwise_bits: int
    mean_bits: int
    lookups: int
    lookup_bits: int
    shortcut_words: int
    spread: bool
    wide_weights: bool
    wide_operands: bool

    def computes(self, loop: str) -> bool:
        """Whether one of the network's operators runs in this loop of the engine."""
        return any(op.traits.loop == loop for op in self.operators)

    @property
    def scaled(self) -> bool:
        """Whether the epilogue multiplies sums by numbers that may differ from pixel to pixel."""
        return any(op.traits.scaled for op in self.operators)


LEAST_QUEUE = 4  # words


def sum_bits(fields: LayerFields) -> int:
    """Bits, sign included, of the largest sum of a depthwise convolution, or of a pooled window."""
    pool, source = fields.input_pool, fields.input_map
    if pool.in_pool is InputPooling.LARGEST:
        window = 1
    elif pool.in_pool is InputPooling.MEAN:
        window = pool.in_pool_height * pool.in_pool_width
    else:
        window = fields.window.kernel_height * fields.window.kernel_width
    weight = 2 ** (fields.weights.weight_bits - 1) - 1 if fields.op.traits.loop == "depthwise" else 1
    activation = 2 ** (source.in_bits - (0 if source.in_unsigned else 1)) - 1
    return (window * weight * activation).bit_length() + 1


def operand_bits(fields: LayerFields) -> int:
    """Bits of the widest operand of a layer, with the sign that an unsigned one has not."""
    source, shortcut = fields.input_map, fields.shortcut
    found = [source.in_bits + source.in_unsigned, fields.input_pool.in_pool_high.bit_length() + 1]
    if shortcut.has_shortcut:
        found.append(shortcut.shortcut_bits + shortcut.shortcut_unsigned)
    return max(found)


def shortcut_words(fields: LayerFields) -> int:
    """The most beats of on-chip memory that are the shortcut of a pass of a layer."""
    works = (Work(0, 0, tile, 0, out) for tile in tiles(fields) for out in passes(fields, tile))
    return max(coming_fields(fields, work).coming_beats for work in works)


def features(program: Program) -> Features:
    """What the layers of a program use."""
    rows = [layer.fields for layer in program.layers]
    pools = [f for f in rows if f.op in (EngineOperator.MAX_POOL, EngineOperator.AVG_POOL)]
    depthwise = [layer for layer in program.layers if layer.fields.op.traits.loop == "depthwise"]
    inputs = [layer for layer in program.layers if layer.input_pool]
    averages = [f for f in rows if f.op.traits.scaled or f.input_pool.in_pool is InputPooling.MEAN]
    sliding = [x.input_pool.columns(x.fields.tiles.tile_width) for x in inputs if not x.input_pool.whole]
    kept = [f.fused_pool.pooled_width for f in rows if f.fused_pool.pool and f.output_map.keeps_map]
    single = all(f.output_map.out_height * f.output_map.out_width == 1 for f in pools)
    return Features(
        operators=frozenset(f.op for f in rows),
        shortcut=any(f.shortcut.has_shortcut for f in rows),
        relu6=any(f.epilogue.activation is EngineActivation.RELU6 for f in rows),
        fused_pool=any(f.fused_pool.pool for f in rows),
        input_pool=bool(inputs),
        input_mean=any(f.input_pool.in_pool is InputPooling.MEAN for f in rows),
        input_slides=bool(sliding),
        input_whole=any(layer.input_pool.whole for layer in inputs),
        input_pool_columns=max(sliding, default=1),
        pooled_queue=max([LEAST_QUEUE, *kept]),
        rounding=Shifts.of(program.tables["REQUANTISATION_SHIFT"]),
        mean_rounding=Shifts.of(program.tables["INPUT_POOL_SHIFT"]),
        chunks=any(f.passes.chunks > 1 for f in rows),
        align_bits=program.align_bits,
        pool_pixels=1 if single else program.array.pixels,
        depthwise_steps=max((layer.tiling.weight_steps for layer in depthwise), default=1),
        folded=any(f.buffer.taps > 1 for f in rows),
        weight_bits=max((f.weights.weight_bits for f in rows), default=2),
        operand_bits=max([2, *map(operand_bits, rows)]),
        depthwise_weight_bits=max((layer.fields.weights.weight_bits for layer in depthwise), default=2),
        depthwise_operand_bits=max((x.fields.input_map.in_bits + x.fields.input_map.in_unsigned for x in depthwise), default=2),
        depthwise_bits=max((sum_bits(layer.fields) for layer in depthwise), default=2),
        # the largest of an input's mantissas, too, pass as sums
        mean_bits=max(map(sum_bits, [*averages, *(layer.fields for layer in inputs)]), default=2),
        lookups=len(program.lookups),
        lookup_bits=program.lookup_bits,
        shortcut_words=max((shortcut_words(layer.fields) for layer in program.layers if layer.joins_chip), default=0),
        spread=any(f.spread.grows for f in rows),
        wide_weights=any(f.digits.wide_weights for f in rows),
        wide_operands=any(f.digits.wide_operands for f in rows),
    )
