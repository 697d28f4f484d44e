"""Lays out a layer's weights in the weight image, and says in its row where they are."""

from __future__ import annotations

import numpy as np

from bfp.errors import BfpError
from bfp.format import block_of
from bfp.graph import Graph, Node
from bfp.operators.interpolate import looks_back
from bfp.tables import Table, operator_table
from codegen.lowering.engine_operators import ENGINE_OPERATOR, EngineOperator
from codegen.lowering.job import Job
from codegen.lowering.layer_fields import WeightFields
from codegen.lowering.schedule import Program
from codegen.lowering.tiling import Tiling
from codegen.lowering.weight_image import dense_image, dense_sizes, depthwise_image, fold_columns, one_hot

COPY_BITS = 2  # of the ones that a copy has for weights, and a difference


def weight_fields(program: Program, graph: Graph, job: Job, tiling: Tiling) -> WeightFields:
    """Append what has weights to the weight image. Raises BfpError naming the layer."""
    return LAY_OUT[job.op](program, graph, job, tiling) if job.op.weighted else WeightFields()


def depthwise_fields(program: Program, graph: Graph, job: Job, tiling: Tiling) -> WeightFields:
    """Of one filter a channel."""
    weights = job.parameters.weights
    return _filters(program, job, weights.mantissas, weights.bits)


def difference_fields(program: Program, graph: Graph, job: Job, tiling: Tiling) -> WeightFields:
    """Of what takes the difference of two pixels."""
    return _filters(program, job, differences(job.node, graph.shapes[job.node.main][0]), COPY_BITS)


def differences(node: Node, channels: int) -> np.ndarray:
    """The other pixel less the pixel itself, as one filter a channel: int8 [C, 1, kh, kw]."""
    taps = np.array([1, -1] if looks_back(node) else [-1, 1], np.int8).reshape(node.window.kernel)
    return np.broadcast_to(taps, (channels, 1, *node.window.kernel))


def _filters(program: Program, job: Job, mantissas: np.ndarray, bits: int) -> WeightFields:
    target = job.target
    image = depthwise_image(mantissas, target.to_lanes(job.parameters.bias), target, bits)
    return WeightFields(
        weight_address=program.add_weights(image), weight_bits=bits, word_beats=len(image) // target.planes
    )


def dense_fields(program: Program, graph: Graph, job: Job, tiling: Tiling) -> WeightFields:
    """The same for what the array multiplies."""
    p, source, target, options = job.parameters, job.source, job.target, program.options
    mantissas, align = OPERANDS[job.node.op](graph, job)
    has_align = aligned(program, job.name, int(align.max()))
    program.largest_align = max(program.largest_align, int(align.max()))
    bits = p.weights.bits if p.weights else COPY_BITS
    if program.with_weights:
        folded, shifts = fold_columns(mantissas, tiling.buffered.taps), align if has_align else None
        image, chunk_beats = dense_image(
            folded, shifts, target.to_lanes(p.bias), source, target, tiling.chunk_words, options.filters, bits
        )
    else:
        area = tiling.buffered.kernel[0] * tiling.buffered.kernel[1]
        beats, chunk_beats = dense_sizes(area, has_align, source.planes, tiling.chunk_words, options.lanes, bits)
        image = np.broadcast_to(np.int8(0), (beats * target.planes, options.lanes))
    return WeightFields(
        weight_address=program.add_weights(image),
        weight_bits=bits,
        word_beats=len(image) // target.planes,
        chunk_beats=chunk_beats,
        has_align=has_align,
    )


def aligned(program: Program, layer: str, largest: int) -> bool:
    """Whether a layer's weights come with alignment shifts: if they have any, or if an existing bitstream reads them.

    largest: of the layer's shifts. Raises BfpError, naming the layer, where that bitstream was not built for so much.
    """
    at = len(program.layers)
    if program.built is None or at >= len(program.built.layers):
        return largest > 0
    built = program.built.layers[at].aligned
    most = 2**program.built.align_bits - 1 if built else 0
    if largest > most:
        raise BfpError(
            f"layer {layer}: its weights need alignment shifts up to {largest}, and were built for up to {most}"
        )
    return built


def copy_operands(graph: Graph, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """One-hot mantissas that place channels, in the form of ``dense_operands``."""
    in_c, out_c = graph.shapes[job.node.main][0], graph.shapes[job.node.output][0]
    return one_hot(out_c, in_c, job.node.channel_offset), np.zeros((out_c, job.source.planes), np.int64)


def dense_operands(graph: Graph, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Mantissas [F, C, kh, kw] and the alignment shift of each filter and input word [F, words]."""
    node, p, source = job.node, job.parameters, job.source
    in_c = graph.shapes[node.main][0]
    group = block_of(p.align_splits, tuple(range(in_c + 1)))
    word = source.slots() // source.lanes
    first = np.searchsorted(word, np.arange(source.planes))
    if np.any(group != group[first][word]) and p.align_shift.any():
        raise BfpError(
            f"layer {job.name}: an exponent group of its input or weights ends inside a memory word of "
            f"{source.lanes} channels; make weight_group and activation_group multiples of the engine's lanes"
        )
    return p.weights.mantissas, p.align_shift[:, group[first]]


# how the weights of each of the engine's operators that has any are laid out
LAY_OUT = Table(
    "the weight image",
    "the engine's operator",
    [op for op in EngineOperator if op.weighted],
    {
        EngineOperator.CONV: dense_fields,
        EngineOperator.DEPTHWISE: depthwise_fields,
        EngineOperator.INTERPOLATE: difference_fields,
    },
)
# what the array multiplies: mantissas and alignment shifts of each operator that runs in it
OPERANDS = operator_table(
    "the array",
    {"conv": dense_operands, "slice_pad": copy_operands},
    lambda operator: operator.name in ENGINE_OPERATOR and ENGINE_OPERATOR[operator.name].traits.dense,
)
