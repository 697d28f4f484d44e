"""Modelled DSPs, block RAM and LUTs of a program's engine, part by part.

LUTs are counted from the widths of the operators that the generated constants
leave (codegen/features.py): on UltraScale+, an adder takes a LUT per bit, with a
2:1 choice of one operand in the same LUT; a 4:1 multiplexer a LUT per bit, 8:1
two; two 2:1 multiplexers a LUT; a shift register of up to 16 words half a LUT
per bit, a memory of up to 32 words as well; a multiplier in logic a LUT per
product bit. Those are the device's figures (AMD UG574); how much control and
address arithmetic comes on top is assumed. Nothing has been checked against
synthesis.
"""

from __future__ import annotations

import math

from bfp.errors import BfpError
from bfp.tables import Table
from codegen.features import Features, Shifts, features
from codegen.lowering.array import FIELD_BITS, Array
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.schedule import Program
from codegen.lowering.step_tables import StepTables
from codegen.lowering.tiling import ceil_div
from codegen.performance.board import Board

ACC = 32  # bits of an accumulator
ALIGN_BITS = 4  # of a table's shift of an operand
PORTS = 4
PORT_LUTS = 800  # of an m_axi adapter of 128 bits (assumed)
# loops, addresses and handshakes of the thirteen stages (assumed); their products are taken to be in logic, and shared
CONTROL_LUTS = 5900
WALK_LUTS, WALK_PIXEL_LUTS = 300, 54  # of a window walk; per pixel two moves of 14 bits and their choices (assumed)
PORT_WORDS = 16 * 64  # that wait in a port: its outstanding bursts and their length (hls/engine.cpp)
SHALLOW = 64  # words up to which a memory is built of LUTs


def block_rams(width_bits: int, depth: int) -> int:
    """BRAM36 of one memory of simple dual-port words (UltraScale+: 72 x 512, 36 x 1k, 18 x 2k, 9 x 4k).

    Memories of up to 64 words are distributed RAM.
    """
    if depth <= SHALLOW:
        return 0
    return min(ceil_div(width_bits, w) * ceil_div(depth, d) for w, d in ((72, 512), (36, 1024), (18, 2048), (9, 4096)))


def lut_ram(width_bits: int, depth: int) -> int:
    """LUTs of a memory that is too shallow for block RAM; a single word is a register."""
    return 0 if depth > SHALLOW or depth < 2 else ceil_div(width_bits * ceil_div(depth, 32), 2)


def lut_rom(width_bits: int, depth: int) -> int:
    """LUTs of constants that are too few for block RAM: 64 of one bit each."""
    return 0 if depth > SHALLOW or depth < 2 else width_bits


def added_in_turn(operands: int, bits: int) -> int:
    """LUTs that add so many operands of so many bits one after the other, each sum as wide as its range.

    Not two by two: the array's chains of DSPs are kept by switching the compiler's balancing of sums off
    (hls/conv.hpp), which keeps the order of these additions as well. Adders are as many, some a little wider.
    """
    return sum(bits + (number - 1).bit_length() for number in range(2, operands + 1))


def shifter(bits: int, by_bits: int) -> int:
    """LUTs of a left shift of ``bits`` by up to 2**by_bits - 1: a level of 4:1 multiplexers per two bits of that."""
    total, reach = 0, 0
    for level in range(0, by_bits, 2):
        step = min(2, by_bits - level)
        reach += (2**step - 1) << level
        total += bits + reach if step == 2 else ceil_div(bits + reach, 2)
    return total


def multiplexer(ways: int) -> int:
    """LUTs per bit."""
    return 0 if ways < 2 else ceil_div(ways, 4)


def memories(program: Program, use: Features) -> dict[str, tuple[int, int, int]]:
    """Number, width in bits and depth of every on-chip memory; the halves of double buffers are two."""
    a = program.array
    word, wide = 8 * a.lanes, ACC * a.lanes
    steps = program.limit("weight_steps").size
    found = {
        "input tiles": (2 * a.banks, word, ceil_div(program.limit("input_words").size, a.banks)),
        "weights": (2, word * a.filters, steps * (a.lanes // a.filters)),
        "biases": (2, wide, program.limit("bias_words").size),
        "alignment": (2 * (use.align_bits > 0), word, steps),
        "depthwise weights": (2, word, use.depthwise_steps),
        "partial sums": (a.pixels, wide, program.limit("blocks").size),
        "rows of inputs that are pooled": (1, 2 * word, use.input_pool_columns if use.input_pool else 1),
        "queue of pooled rows": (1, word, use.pooled_queue if use.fused_pool else 1),
        "running maxima of fused pools": (1, word, program.limit("pool_words").size),
        "memory ports": (PORTS, word, PORT_WORDS),
        "queues behind and before the ports": (PORTS - 1, word, 128),
        "queue of the shortcut": (1, word, 64),
        "queue of sums": (1, wide, 16),
    }
    for table in program.tables:
        found[f"table {table}"] = (1, ACC * a.lanes if table == "CLAMP_HIGH" else word, program.rows(table))
    return found


def rounding_luts(shifts: Shifts) -> int:
    """Addition of the half, shift and saturation of one lane, by what the shifts leave of them."""
    if shifts.least > 0:
        left = ACC - shifts.least
        return ACC + shifter(left, shifts.more) + 2 * left // 2 + 8
    right = ACC + ACC + ACC // 2  # 32:1
    return ACC + ACC + right + (right + ACC // 2 if shifts.least < 0 else 0) + 2 * ACC // 2 + 8


def epilogue_luts(program: Program, use: Features) -> int:
    """Of one lane of the epilogue."""
    main = any(layer.fields.epilogue.main_row >= 0 for layer in program.layers)
    operand = max(use.depthwise_bits, use.operand_bits)
    parts = [
        shifter(operand, ALIGN_BITS) if main else 0,
        ACC if EngineOperator.DEPTHWISE in use.operators else 0,  # bias
        ACC // 2 if EngineOperator.AVG_POOL in use.operators else 0,  # mean or sum
        shifter(use.operand_bits, ALIGN_BITS) + ACC if use.shortcut else 0,
        ACC // 2,  # ReLU
        ACC if use.relu6 else 0,  # comparison and choice
        rounding_luts(use.rounding),
    ]
    return sum(parts)


def input_pool_luts(use: Features) -> int:
    """Of one lane: two sums or maxima over rows and two over columns, one over the map; of a mean, its mantissa."""
    total = 0
    if use.input_slides:
        column = use.operand_bits + 2
        total += 2 * column + 2 * (column + 2)
    if use.input_whole:
        total += use.mean_bits
    if use.input_slides and use.input_whole:
        total += use.mean_bits // 2  # choice
    return total + (rounding_luts(use.mean_rounding) if use.input_mean else 0)


def leaving_luts(pixels: int, use: Features) -> int:
    """Of one lane: every compute stage chooses the next pixel of the block that leaves it (hls/finished.hpp)."""
    widths = {
        "conv": (ACC, pixels),
        "depthwise": (use.depthwise_bits, pixels),
        "max_pool": (use.operand_bits, use.pool_pixels),
        "avg_pool": (use.mean_bits, use.pool_pixels),
        "add": (use.operand_bits, pixels),
    }
    chosen = (widths[stage] for stage in sorted({operator.traits.loop for operator in use.operators}))
    return sum(bits * multiplexer(ways) for bits, ways in chosen)


def conv_luts(a: Array, use: Features) -> dict[str, int]:
    """Of dense convolution."""
    outputs, chains, parts = a.filters * a.pixels, a.lanes // a.chain, a.lanes // a.filters
    # with one product a DSP, a whole word is summed by the DSPs' cascade
    field = FIELD_BITS.get(a.products, 0)
    total = field + (chains - 1).bit_length() if field else use.operand_bits + use.weight_bits + a.lanes.bit_length()
    pairs = a.lanes * (a.filters // 2) * (use.weight_bits + 1) if a.products > 1 else 0
    twins = a.lanes * (a.pixels // 2) * (use.operand_bits + 1) if a.products == 4 else 0
    return {
        # a negative mantissa borrows from the one above it
        "mantissas side by side": pairs + twins,
        "sums of chains": outputs * added_in_turn(chains, field) if field else 0,
        "alignment shifters": outputs * shifter(total, use.align_bits),
        # the start value is chosen in the adder; between chunks it may be a partial sum
        "accumulators": outputs * ACC * (1 + use.chunks) + a.filters * ACC * (parts - 1) // 2,
        # another word of the same beats, and a choice for every column of the buffer
        "second word of weights": a.lanes * (16 + 8 + 16 + 4 * a.filters) if a.filters > 1 else 0,
    }


def depthwise_luts(a: Array, use: Features) -> dict[str, int]:
    """Of depthwise convolution."""
    lane = use.depthwise_weight_bits * use.operand_bits + use.depthwise_bits
    return {"depthwise multipliers and accumulators": a.lanes * a.pixels * lane}


def max_pool_luts(a: Array, use: Features) -> dict[str, int]:
    """Of max pooling as a layer."""
    return {"max pooling": a.lanes * use.pool_pixels * 9}


def avg_pool_luts(a: Array, use: Features) -> dict[str, int]:
    """Of average pooling as a layer; its multipliers are DSPs."""
    return {"average pooling": a.lanes * use.pool_pixels * use.mean_bits}


def add_luts(a: Array, use: Features) -> dict[str, int]:
    """Of additions and copies: the epilogue does the work."""
    return {}


def maximum_luts(a: Array, use: Features) -> dict[str, int]:
    """Of the larger one of two maps: in the epilogue, a comparison and a choice."""
    return {"element-wise maximum": a.lanes * ACC}


# LUTs of each of the engine's operators by part, beside its walk over windows and what leaves it
OPERATOR_LUTS = Table(
    "the model of area",
    "the engine's operator",
    EngineOperator,
    {
        EngineOperator.CONV: conv_luts,
        EngineOperator.DEPTHWISE: depthwise_luts,
        EngineOperator.MAX_POOL: max_pool_luts,
        EngineOperator.AVG_POOL: avg_pool_luts,
        EngineOperator.ADD: add_luts,
        EngineOperator.MAXIMUM: maximum_luts,
    },
)


def operator_luts(a: Array, use: Features) -> dict[str, int]:
    """LUTs by part of all operators; zero of those that the network does not have."""
    found = {}
    for op, luts in OPERATOR_LUTS.items():
        found |= {part: n * (op in use.operators) for part, n in luts(a, use).items()}
    return found


def lut_parts(program: Program, use: Features) -> dict[str, int]:
    """LUTs by part."""
    a = program.array
    word = 8 * a.lanes
    found = memories(program, use)
    shallow = sum(n * lut_ram(width, depth) for name, (n, width, depth) in found.items() if "table" not in name)
    roms = sum(lut_rom(width, depth) for name, (_, width, depth) in found.items() if "table" in name)
    tables = StepTables(program).tables
    job_bits = sum(table.bits for table in tables)
    unpack, pack = 30 + 8 + 30, 30 + 8 + 8  # per lane: 8:1 in, sign or mask, 8:1 out
    depthwise = EngineOperator.DEPTHWISE in use.operators
    read = a.banks * a.reads * word + word * a.filters + ACC * a.lanes + word * (1 + depthwise)
    return {
        **operator_luts(a, use),
        "choice of a block's pixel": a.lanes * leaving_luts(a.pixels, use),
        "pooling of inputs": a.lanes * input_pool_luts(use) + 300 if use.input_pool else 0,
        "fused max pooling": a.lanes * 2 * 9 + 150 if use.fused_pool else 0,
        "epilogue": a.lanes * epilogue_luts(program, use),
        "bank crossbar": a.pixels * word * multiplexer(a.banks) + a.banks * a.reads * 14 * multiplexer(a.banks),
        "choice between the halves of double buffers": ceil_div(read, 2),
        "packing and unpacking": a.lanes * ((3 if use.shortcut else 2) * unpack + pack),
        "folding of columns": a.lanes * 8 * (multiplexer(a.lanes) + 1) if use.folded else 0,
        "window walks": len({op.traits.loop for op in use.operators}) * (WALK_LUTS + WALK_PIXEL_LUTS * a.pixels),
        "shallow memories": shallow,
        "shallow tables": roms,
        "shallow tables of jobs": sum(lut_rom(table.bits, len(table.rows)) for table in tables),
        "registers' enables and choices of a step's jobs": ceil_div(job_bits, 2),
        "memory ports and control": PORTS * PORT_LUTS + CONTROL_LUTS,
    }


def resources(program: Program) -> dict:
    """Modelled DSP, BRAM36 and LUT of the engine, in all and by part."""
    a, use = program.array, features(program)
    brams = {name: n * block_rams(width, depth) for name, (n, width, depth) in memories(program, use).items()}
    for table in StepTables(program).tables:
        brams[f"table {table.name} of jobs"] = block_rams(table.bits, len(table.rows))
    dsps = {"array": math.ceil(a.lanes * a.filters * a.pixels / a.products)}
    # mean of average pooling: a sum by a reciprocal of 23 bits, in two parts
    dsps["means"] = 2 * a.lanes if EngineOperator.AVG_POOL in use.operators or use.input_mean else 0
    luts = lut_parts(program, use)
    return {
        "dsp": sum(dsps.values()),
        "bram36": sum(brams.values()),
        "lut": sum(luts.values()),
        "dsp_parts": dsps,
        "bram36_parts": brams,
        "lut_parts": luts,
    }


class ChipTooSmall(BfpError):
    """The modelled engine takes more of a chip than there is; another engine may fit."""


def refuse_what_does_not_fit(program: Program, board: Board) -> None:
    """Raise BfpError, with what to change, where the program exceeds the board: ChipTooSmall where the engine does."""
    used = resources(program)
    advice = {
        "dsp": "lower the engine options pixels or filters",
        "bram36": "lower the engine options input_words, weight_steps or tile_blocks",
        "lut": "lower the engine options pixels or filters",
    }
    for what, limit in (("dsp", board.dsp), ("bram36", board.bram36), ("lut", board.lut)):
        if used[what] > limit:
            raise ChipTooSmall(
                f"the engine for {program.artifacts[0].graph.name} needs {used[what]} {what} (modelled), {board.name} "
                f"has {limit}; {advice[what]}"
            )
    size = (program.fmap_words + program.weight_words) * program.array.lanes / 2**20
    if size > board.memory_mb / 2:
        raise BfpError(
            f"weights and feature maps of {program.artifacts[0].graph.name} take {size:.0f} MB, {board.name} has "
            f"{board.memory_mb} MB in all; use a smaller input or narrower weights"
        )
