"""Modelled control of an engine: its stages' loops and addresses, its ports and registers, queues and schedule.

What is published of each is in docs/performance.md, with sources. Divisions and products at run time are not modelled:
a control that has any takes 238 LUTs for a divider, and 2 to 4 DSPs for a product of 32 bits.
"""

from __future__ import annotations

from codegen.features import Features
from codegen.lowering.schedule import Program
from codegen.lowering.step_tables import StepTables
from codegen.lowering.tiling import ceil_div
from codegen.performance.memories import PORTS
from codegen.performance.ranges import Part, Range, Resource
from codegen.performance.spreads import HALVES

STAGES, QUEUES = 13, 13  # processes of a step and the streams between them (hls/engine.cpp)
STAGE_LUTS = Range(185, 454, 700)  # loops, addresses and handshakes of one
WALK_LUTS = Range(150, 300, 600)  # of a window walk
WALK_PIXEL_LUTS = Range(54, 122, 349)  # of one of its pixels: two moves of 14 bits and their choices
QUEUE_LUTS = Range(10, 20, 40)  # flags and pointers of one
PORT_LUTS = Range(823, 1200, 1700)  # of an m_axi adapter of 128 bits
REGISTER_LUTS = Range(424, 490, 936)  # of the s_axi_lite adapter
PRODUCT_DSPS = Range(0, 0, 8)  # of the control


def job_parts(program: Program) -> list[Part]:
    """LUTs of a step's jobs, which wait in registers for it: a choice between a row and nothing to do."""
    bits = sum(table.bits for table in StepTables(program).tables)
    return [Part("choices of a step's jobs", Resource.LUT, HALVES.of(ceil_div(bits, 2)), HALVES.reason)]


def control_parts(program: Program, use: Features) -> list[Part]:
    """All of the engine's control."""
    walks = len({op.traits.loop for op in use.operators})
    found = [
        ("control of the stages", STAGE_LUTS.times(STAGES),
         "published load and store processes take 185 LUTs and more; likely and most are assumed"),
        ("window walks", WALK_LUTS.times(walks), "assumed, within a factor of two"),
        ("pixels of window walks", WALK_PIXEL_LUTS.times(walks * program.array.pixels),
         "by Yosys 349 with 32 bits of state, as the source has them, 122 with the bits that the bounds need; the "
         "moves alone are 54"),
        ("control of the queues", QUEUE_LUTS.times(QUEUES), "assumed; csynth counts 66 for one with its data"),
        ("memory ports", PORT_LUTS.times(PORTS),
         "csynth counts 580 to 1052 by width; two of 32 bits took 1196 each when routed; most is that and what 512 "
         "bits are counted more"),
        ("registers", REGISTER_LUTS, "csynth counts 232 to 936, by the number of registers"),
    ]  # fmt: skip
    parts = [Part(name, Resource.LUT, luts, reason) for name, luts, reason in found]
    products = Part("products of the control", Resource.DSP, PRODUCT_DSPS, "meant to be counters and adders")
    return [*parts, products, *job_parts(program)]
