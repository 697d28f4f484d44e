"""Modelled LUTs of what an engine computes and moves: counted from the widths that the generated constants leave.

On UltraScale+, an adder takes a LUT per bit, with a 2:1 choice of one operand in the same LUT; a 4:1 multiplexer a LUT
per bit, 8:1 two; two 2:1 multiplexers a LUT; a multiplier in logic a LUT per product bit. Those are the device's
figures (AMD UG574); how far synthesis may be off is in codegen/performance/spreads.py.
"""

from __future__ import annotations

from bfp.tables import Table
from codegen.features import Features, Shifts
from codegen.lowering.array import DIGIT_BITS, FIELD_BITS, Array
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.schedule import Program
from codegen.lowering.tiling import ceil_div
from codegen.performance.memories import ACC
from codegen.performance.ranges import Part, Resource, Spread
from codegen.performance.spreads import (
    ADDERS, CHOICES, COMPARISONS, HALVES, MULTIPLIERS, PACKING, PREADDERS, ROUNDING, SHIFTERS,
)  # fmt: skip

ALIGN_BITS = 4  # of a table's shift of an operand


def part(name: str, count: int, spread: Spread) -> Part:
    """A part of so many counted LUTs."""
    return Part(name, Resource.LUT, spread.of(count), spread.reason)


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
        ACC if use.computes("depthwise") else 0,  # bias
        ACC // 2 if use.scaled else 0,  # mean, or share, or sum
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


def leaving_luts(a: Array, use: Features) -> int:
    """Of one lane: every compute stage chooses the next pixel of the block that leaves it (hls/finished.hpp)."""
    widths = {
        "conv": (ACC, a.pixels),
        "depthwise": (use.depthwise_bits, a.depthwise_pixels),
        "max_pool": (use.operand_bits, use.pool_pixels),
        "avg_pool": (use.mean_bits, use.pool_pixels),
        "add": (use.operand_bits, a.pixels),
    }
    chosen = (widths[stage] for stage in sorted({operator.traits.loop for operator in use.operators}))
    return sum(bits * multiplexer(ways) for bits, ways in chosen)


def conv_luts(a: Array, use: Features) -> list[Part]:
    """Of dense convolution."""
    outputs, chains, parts = a.filters * a.pixels, a.lanes // a.chain, a.lanes // a.filters
    # with one product a DSP, a whole word is summed by the DSPs' cascade
    field = FIELD_BITS.get(a.products, 0)
    # what is multiplied at once, sign included: no wider than the network's mantissas, nor than the array's operands
    weight, operand = min(use.weight_bits, a.weight_bits), min(use.operand_bits, a.operand_bits)
    total = field + (chains - 1).bit_length() if field else operand + weight + a.lanes.bit_length()
    pairs = a.lanes * (a.filters // 2) * (weight + 1) if a.products > 1 else 0
    twins = a.lanes * (a.pixels // 2) * (operand + 1) if a.products == 4 else 0
    wide = total + DIGIT_BITS * (use.wide_weights + use.wide_operands)
    digits = [
        # one of two digits, or the mantissa itself: a 4:1 choice; and a 2:1 choice of where their sums go
        part("digits of weights", use.wide_weights * a.lanes * a.filters * weight, CHOICES),
        part("digits of activations", use.wide_operands * a.lanes * a.pixels * operand, CHOICES),
        part("sums of digits", outputs * (use.wide_weights + use.wide_operands) * ceil_div(wide, 2), SHIFTERS),
    ]
    return [
        # a negative mantissa borrows from the one above it
        part("mantissas side by side", pairs + twins, PREADDERS),
        *(digits if wide > total else []),
        part("sums of chains", outputs * added_in_turn(chains, field) if field else 0, ADDERS),
        part("alignment shifters", outputs * shifter(wide, use.align_bits), SHIFTERS),
        # the start value is chosen in the adder; between chunks it may be a partial sum
        part("accumulators", outputs * ACC * (1 + use.chunks) + a.filters * ACC * (parts - 1) // 2, ADDERS),
        # another word of the same beats, and a choice for every column of the buffer
        part("second word of weights", a.lanes * (16 + 8 + 16 + 4 * a.filters) if a.filters > 1 else 0, CHOICES),
    ]


def depthwise_luts(a: Array, use: Features) -> list[Part]:
    """Of depthwise convolution, and of differences, which are such sums."""
    lanes = a.lanes * a.depthwise_pixels
    return [
        part("depthwise multipliers", lanes * use.depthwise_weight_bits * use.depthwise_operand_bits, MULTIPLIERS),
        part("depthwise accumulators", lanes * use.depthwise_bits, ADDERS),
    ]


def max_pool_luts(a: Array, use: Features) -> list[Part]:
    """Of max pooling as a layer."""
    return [part("max pooling", a.lanes * use.pool_pixels * 9, COMPARISONS)]


def avg_pool_luts(a: Array, use: Features) -> list[Part]:
    """Of average pooling as a layer; its multipliers are DSPs."""
    return [part("average pooling", a.lanes * use.pool_pixels * use.mean_bits, ADDERS)]


def add_luts(a: Array, use: Features) -> list[Part]:
    """Of additions and copies: the epilogue does the work."""
    return []


def maximum_luts(a: Array, use: Features) -> list[Part]:
    """Of the larger or the smaller one of two maps: in the epilogue, a comparison and a choice."""
    return [part("element-wise maximum or minimum", a.lanes * ACC, COMPARISONS)]


def multiply_luts(a: Array, use: Features) -> list[Part]:
    """Of products of two maps: in the epilogue, a multiplier in logic, and the choice of its result."""
    bits = use.operand_bits
    return [
        part("element-wise products", a.lanes * bits * bits, MULTIPLIERS),
        part("choice of a product", a.lanes * bits, CHOICES),
    ]


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
        EngineOperator.MINIMUM: maximum_luts,
        EngineOperator.MULTIPLY: multiply_luts,
        EngineOperator.INTERPOLATE: depthwise_luts,
    },
)


def operator_parts(a: Array, use: Features) -> list[Part]:
    """Parts of the operators that the network has."""
    # what two of them share is counted once
    shared = dict.fromkeys(luts for op, luts in OPERATOR_LUTS.items() if op in use.operators)
    return [found for luts in shared for found in luts(a, use)]


def logic_parts(program: Program, use: Features) -> list[Part]:
    """Everything that the engine computes and moves."""
    a = program.array
    word = 8 * a.lanes
    unpack, pack = 30 + 8 + 30, 30 + 8 + 8  # per lane: 8:1 in, sign or mask, 8:1 out
    depthwise = use.computes("depthwise")
    pixels = a.walk_pixels if depthwise else a.pixels
    reads = max(a.reads, ceil_div(pixels, a.banks))
    read = a.banks * reads * word + word * a.filters + ACC * a.lanes + word * (1 + depthwise)
    crossbar = pixels * word * multiplexer(a.banks) + a.banks * reads * 14 * multiplexer(a.banks)
    found = [
        *operator_parts(a, use),
        part("choice of a block's pixel", a.lanes * leaving_luts(a, use), CHOICES),
        part("epilogue", a.lanes * epilogue_luts(program, use), ROUNDING),
        part("bank crossbar", crossbar, CHOICES),
        part("choice between the halves of double buffers", ceil_div(read, 2), HALVES),
        part("packing and unpacking", a.lanes * ((3 if use.shortcut else 2) * unpack + pack), PACKING),
    ]
    if program.chip_words:
        # a tile's beats from memory or from here, and of this memory's block RAMs the one that has them
        found.append(part("maps that stay on chip", word * (1 + multiplexer(ceil_div(program.chip_words, 4096))), CHOICES))
    if program.queue:  # of its block RAMs, the one that has the beat
        found.append(part("weights ahead", word * multiplexer(ceil_div(program.options.weights_ahead, 4096)), CHOICES))
    if use.shortcut_words:
        # a shortcut's beats from memory or from here, and of the two halves the one that is read
        found.append(part("shortcuts from maps on chip", word + ceil_div(word, 2), CHOICES))
    if use.input_pool:
        found.append(part("pooling of inputs", a.lanes * input_pool_luts(use) + 300, ADDERS))
    if use.lookups:
        found.append(part("tables of functions", a.lanes * 8, CHOICES))
    if use.fused_pool:
        found.append(part("fused max pooling", a.lanes * 2 * 9 + 150, COMPARISONS))
    if use.spread:
        # where the next phase begins, the choice of it, and its lines
        found.append(part("maps that grow as they load", 3 * 16 + 2 * 16, CHOICES))
    if use.folded:
        found.append(part("folding of columns", a.lanes * 8 * (multiplexer(a.lanes) + 1), CHOICES))
    return found
