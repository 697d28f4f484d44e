"""Modelled memories of an engine: block RAM by the device's shapes, LUTs where a memory is too shallow for it."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.features import Features
from codegen.lowering.schedule import Program
from codegen.lowering.step_tables import Table
from codegen.lowering.tiling import ceil_div
from codegen.lowering.weight_queue import BEHIND_QUEUE
from codegen.performance.ranges import Part, Range, Resource, Spread
from codegen.performance.spreads import BLOCK_SHAPES, LUT_CONSTANTS, LUT_MEMORIES

ACC = 32  # bits of an accumulator
PORTS = 4
PORT_WORDS = 16 * 64  # that wait in a port: its outstanding bursts and their length (hls/engine.cpp)
SHALLOW = 64  # words up to which a memory is built of LUTs
SHAPES = ((72, 512), (36, 1024), (18, 2048), (9, 4096))  # of a BRAM36 of simple dual-port words: bits, depth


@dataclass(frozen=True)
class Memory:
    """copies: of the same size, two for a double buffer. constant: a table that is never written."""

    name: str
    copies: int
    width_bits: int
    depth: int
    constant: bool = False


def block_rams(width_bits: int, depth: int) -> int:
    """BRAM36 of one memory of simple dual-port words (UltraScale+); memories of up to 64 words are distributed RAM."""
    if depth <= SHALLOW:
        return 0
    return min(ceil_div(width_bits, w) * ceil_div(depth, d) for w, d in SHAPES)


def power_of_two(count: int) -> int:
    """The power of two at or above a count."""
    return 1 << max(count - 1, 0).bit_length()


def lut_ram(width_bits: int, depth: int) -> int:
    """LUTs of a memory that is too shallow for block RAM; a single word is a register."""
    return 0 if depth > SHALLOW or depth < 2 else ceil_div(width_bits * ceil_div(depth, 32), 2)


def lut_rom(width_bits: int, depth: int) -> int:
    """LUTs of constants that are too few for block RAM: 64 of one bit each."""
    return 0 if depth > SHALLOW or depth < 2 else width_bits


def memories(program: Program, use: Features) -> tuple[Memory, ...]:
    """Every on-chip memory; those of what the network does not have are a single word or none."""
    a = program.array
    word, wide = 8 * a.lanes, ACC * a.lanes
    steps = program.limit("weight_steps").size
    tables = (
        Memory(f"table {table}", 1, wide if table == "CLAMP_HIGH" else word, program.rows(table), constant=True)
        for table in program.tables
    )
    looked_up = (Memory("tables of functions", a.lanes // 2, 8, use.lookups << use.lookup_bits, constant=True),)
    return (
        Memory("input tiles", 2 * a.banks, word, ceil_div(program.limit("input_words").size, a.banks)),
        Memory("weights", 2, word * a.filters, steps * (a.lanes // a.filters)),
        Memory("biases", 2, wide, program.limit("bias_words").size),
        Memory("alignment", 2 * (use.align_bits > 0), word, steps),
        Memory("depthwise weights", 2, word, use.depthwise_steps),
        Memory("partial sums", a.pixels, wide, program.limit("blocks").size),
        Memory("rows of inputs that are pooled", 1, 2 * word, use.input_pool_columns if use.input_pool else 1),
        Memory("queue of pooled rows", 1, word, use.pooled_queue if use.fused_pool else 1),
        Memory("running maxima of fused pools", 1, word, program.limit("pool_words").size),
        *((Memory("maps between layers", 1, word, program.chip_words),) if program.chip_words else ()),
        *((Memory("queues of maps on chip", 2, word, 64),) if program.chip_words else ()),
        *((Memory("queue of weights", 1, word, program.options.weights_ahead),) if program.queue else ()),
        *((Memory("weights on their way out of the queue", 1, word, BEHIND_QUEUE),) if program.queue else ()),
        *((Memory("shortcuts from maps on chip", 2, word, use.shortcut_words),) if use.shortcut_words else ()),
        Memory("memory ports", PORTS, word, PORT_WORDS),
        Memory("queues behind and before the ports", PORTS - 1, word, 128),
        Memory("queue of the shortcut", 1, word, 64),
        Memory("queue of sums", 1, wide, 16),
        *tables,
        *(looked_up if use.lookups else ()),
    )


def block_memory(memory: Memory) -> Part:
    """The block RAMs of a memory."""
    likely = memory.copies * block_rams(memory.width_bits, memory.depth)
    most = memory.copies * block_rams(memory.width_bits, power_of_two(memory.depth)) if likely else 0
    return Part(memory.name, Resource.BRAM36, Range(likely, likely, max(likely, most)), BLOCK_SHAPES)


def job_memories(tables: list[Table]) -> tuple[Memory, ...]:
    """The tables of jobs and steps."""
    return tuple(Memory(f"table {t.name}", 1, t.bits, len(t.rows), constant=True) for t in tables)


def shallow(found: tuple[Memory, ...], name: str, constant: bool, spread: Spread) -> Part:
    """The LUTs of all memories that are too shallow for block RAM."""
    luts = lut_rom if constant else lut_ram
    count = sum(m.copies * luts(m.width_bits, m.depth) for m in found if m.constant == constant)
    return Part(name, Resource.LUT, spread.of(count), spread.reason)


def memory_parts(program: Program, use: Features, tables: list[Table]) -> list[Part]:
    """Block RAMs of all memories, and LUTs of the shallow ones. tables: of the program's jobs and steps."""
    found = (*memories(program, use), *job_memories(tables))
    return [
        *(block_memory(memory) for memory in found),
        shallow(found, "shallow memories", constant=False, spread=LUT_MEMORIES),
        shallow(found, "shallow tables", constant=True, spread=LUT_CONSTANTS),
    ]
