"""Modelled control of an engine: its stages' loops and addresses, its ports and registers, queues and schedule.

Counters, address walks and window walks are counted from the bits that the generated bounds give them, by what Yosys
needs for these functions (`doit benchmark:control`; docs/performance.md has the table). Nothing is divided or multiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from codegen.features import Features
from codegen.lowering.schedule import Program
from codegen.lowering.step_tables import Table
from codegen.lowering.tiling import ceil_div
from codegen.performance.memories import PORTS
from codegen.performance.ranges import Part, Range, Resource
from codegen.performance.spreads import HALVES

QUEUES = 13  # streams between the processes of a step (hls/engine.cpp), but for
CHIP_QUEUES = 2  # those of maps that stay on chip
WEIGHT_QUEUES = 1  # and that behind the queue of weights
HANDSHAKE_LUTS = Range(40, 100, 250)  # states, start and end of one process, and of the loop over steps
COUNTER_LUTS = Range(1.0, 1.5, 2.5)  # of a bit of a counter: an adder, and half a LUT to compare it with its end
BURST_BITS = 32  # of the counter of a burst's words, which the compiler keeps as wide as it is written
BURST_WALK_LUTS = Range(63, 72, 120)  # from one burst to the next
ADDRESS_LUTS = Range(20, 34, 64)  # the word's address of a port: a sum
WALK_LUTS = Range(250, 315, 600)  # of a window walk, besides its pixels
WALK_PIXEL_LUTS = Range(90, 121, 234)  # of one of its pixels: two moves of 14 bits, and the rows of the banks
QUEUE_LUTS = Range(10, 20, 40)  # flags and pointers of one
PORT_LUTS = Range(823, 1200, 1700)  # of an m_axi adapter of 128 bits
REGISTER_LUTS = Range(424, 490, 936)  # of the s_axi_lite adapter
PRODUCT_DSPS = Range(0, 0, 8)  # of the control


@dataclass(frozen=True)
class StageControl:
    """What one stage counts. table: of its jobs; counters: the numbers of a job that its counters go up to.

    bursts: walks from burst to burst.
    """

    table: str
    counters: tuple[str, ...]
    bursts: int = 0


# the processes of a step; window walks are counted by themselves
STAGES = {
    "fetch_tile": StageControl("LOADS", ("fetch_bursts",), bursts=1),
    "unpack_tile": StageControl("LOADS", ("unpack_cycles", "rows", "columns", "columns", "in_bits")),
    "input_pool": StageControl("LOADS", ("pool_words", "rows", "columns", "in_pool_height", "in_pool_width")),
    "load_tile": StageControl("LOADS", ("load_words", "line_columns", "column_step")),
    "fetch_weights": StageControl("WEIGHTS", (), bursts=1),
    "load_weights": StageControl(
        "WEIGHTS", ("weight_outputs", "weight_takes", "weight_words", "weight_rows", "align_rows", "align_rows")
    ),
    "fetch_shortcut": StageControl("COMPUTES", ("shortcut_bursts",), bursts=1),
    "load_shortcut": StageControl("COMPUTES", ("shortcut_cycles", "width", "shortcut_bits")),
    "compute": StageControl("COMPUTES", ("cycles", "block_pixels", "block_pixels")),
    "epilogue": StageControl("COMPUTES", ("results", "pixels", "width", "outputs")),
    "fused_pool": StageControl("COMPUTES", ("results", "width", "height", "pooled_width")),
    "pack": StageControl("COMPUTES", ("pack_cycles", "width", "height", "out_bits")),
    "store": StageControl("COMPUTES", ("store_turns", "height"), bursts=2),
}
# and the one that is only there where maps stay on chip; its two walks are counted from burst to burst, too
CHIP_STAGE = {"chip_maps": StageControl("LOADS", ("chip_beats",) * 3, bursts=2)}
# where weights come out of a queue: its iterations and their two ends, and its two words; and the bursts that go into it
QUEUE_STAGES = {
    "fetch_weights": StageControl("QUEUES", ("bursts",), bursts=1),
    "queue_weights": StageControl("QUEUES", ("pushes",) * 3 + ("push_at", "pop_at")),
}
# what it, and load_shortcut, count besides where these maps are shortcuts, too
CHIP_SHORTCUT = StageControl("WEIGHTS", ("coming_beats", "coming_beats", "coming_length"), bursts=1)


def stages_of(program: Program) -> dict[str, StageControl]:
    """The processes of a step that a program's engine has."""
    return STAGES | (CHIP_STAGE if program.chip_words else {}) | (QUEUE_STAGES if program.queue else {})


def stage_parts(program: Program, use: Features, tables: list[Table]) -> list[Part]:
    """LUTs of what the stages count, and of the bursts that they walk through."""
    bounds = {table.name: table.packing.bounds for table in tables}
    built = stages_of(program)
    counted = [*built.values(), *([CHIP_SHORTCUT] if use.shortcut_words else [])]
    bits = sum(bounds[stage.table][name].bit_length() for stage in counted for name in stage.counters)
    walks = sum(stage.bursts for stage in counted)
    wide = COUNTER_LUTS.times(bits + BURST_BITS * PORTS)
    counters = Range(math.floor(wide.low), math.ceil(wide.likely), math.ceil(wide.high))
    return [
        Part("counters of the stages", Resource.LUT, counters, "an adder and a comparison; at least the adder"),
        Part(
            "walks through bursts", Resource.LUT, Range.total([BURST_WALK_LUTS.times(walks), ADDRESS_LUTS.times(PORTS)]),
            "by Yosys 63 to 72 each, and an address",
        ),
        Part("handshakes of the processes", Resource.LUT, HANDSHAKE_LUTS.times(len(built) + 1),
             "assumed; published processes that load or store take 185 LUTs with their counters"),
    ]  # fmt: skip


def job_parts(tables: list[Table]) -> list[Part]:
    """LUTs of a step's jobs, which wait in registers for it: a choice between a row and nothing to do."""
    # but for the bursts of weights, which are read one after the other
    bits = sum(table.bits for table in tables if table.name != "FETCHES")
    return [Part("choices of a step's jobs", Resource.LUT, HALVES.of(ceil_div(bits, 2)), HALVES.reason)]


def copy_luts(program: Program) -> Range:
    """Of the loop that copies on-chip memory where that is asked for."""
    counter = COUNTER_LUTS.times(program.chip_words.bit_length())
    rounded = Range(math.floor(counter.low), math.ceil(counter.likely), math.ceil(counter.high))
    return Range.total([HANDSHAKE_LUTS, rounded, ADDRESS_LUTS])


def control_parts(program: Program, use: Features, tables: list[Table]) -> list[Part]:
    """All of the engine's control. tables: of the program's jobs and steps."""
    walks = len({op.traits.loop for op in use.operators})
    pixels = sum({op.traits.loop: program.array.pixels_of(op) for op in use.operators}.values())
    queues = QUEUES + CHIP_QUEUES * (program.chip_words > 0) + WEIGHT_QUEUES * (program.queue != ())
    found = [
        ("window walks", WALK_LUTS.times(walks), "by Yosys 315 with the bits that the bounds need; most is judged"),
        ("pixels of window walks", WALK_PIXEL_LUTS.times(pixels),
         "by Yosys 121 with the bits that the bounds need, 234 with 32 bits of state"),
        ("control of the queues", QUEUE_LUTS.times(queues), "assumed; csynth counts 66 for one with its data"),
        ("memory ports", PORT_LUTS.times(PORTS),
         "csynth counts 580 to 1052 by width; two of 32 bits took 1196 each when routed; most is that and what 512 "
         "bits are counted more"),
        ("registers", REGISTER_LUTS, "csynth counts 232 to 936, by the number of registers"),
    ]  # fmt: skip
    if program.chip_words:
        found.append(("copy of the maps on chip", copy_luts(program), "a process that stores, its counter, and an address"))
    parts = [Part(name, Resource.LUT, luts, reason) for name, luts, reason in found]
    products = Part("products of the control", Resource.DSP, PRODUCT_DSPS, "meant to be counters and adders")
    return [*parts, products, *stage_parts(program, use, tables), *job_parts(tables)]
