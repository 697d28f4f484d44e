"""Modelled cycles, frames per second and resources of a program on a board.

Loop iterations and bursts come from codegen.counts, which the C simulation
confirms exactly. What only hardware can tell is in Timing: named parameters
with their source. Everything derived here is a model's figure, and says so.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from bfp.errors import BfpError
from codegen.board import Board
from codegen.counts import BEATS, TileCounts, layer_counts, layer_tiles
from codegen.program import EngineLayer, Program


@dataclass(frozen=True)
class Timing:
    """Latencies in cycles that no C simulation can know.

    memory_latency: first word of a read burst (measured through Zynq
    UltraScale+ HP ports at 250 MHz: 40 to 80 cycles, AMD UG1085 names no
    figure; 64 is also what the interface pragmas state). pipeline_depth: fill
    and drain of a pipelined stage (multiplier cascade of 8, adder tree,
    shifter; assumed). line_overhead: entering the three short loops of one
    line of load_tile (assumed; Vitis HLS reports 1 to 2 cycles per loop entry).
    call_overhead: start and stop of a dataflow process (assumed).
    """

    memory_latency: int = 64
    pipeline_depth: int = 40
    line_overhead: int = 4
    call_overhead: int = 4


@dataclass(frozen=True)
class LayerEstimate:
    """One layer, modelled. bound: what takes longest: compute, weights or feature maps."""

    name: str
    cycles: int
    compute_cycles: int
    ddr_bytes: int
    weight_bytes: int
    macs: int
    mac_efficiency: float
    bound: str


def tile_cycles(tile: TileCounts, timing: Timing) -> tuple[int, int, int]:
    """(load stage, compute of all passes, passes with their weight loads overlapped) of one tile."""
    load = tile.load + tile.lines * timing.line_overhead + timing.memory_latency
    pass_cost = timing.pipeline_depth + timing.call_overhead
    compute = sum(max(c, pixels) + pass_cost for _, c, pixels in tile.passes)
    # weights of a pass load while the one before computes
    loads = [w + (timing.memory_latency if w else 0) for w, _, _ in tile.passes]
    busy = [max(c, pixels) + pass_cost for _, c, pixels in tile.passes]
    overlapped = loads[0] + sum(max(b, n) for b, n in zip(busy, loads[1:] + [0]))
    return load, compute, overlapped


def estimate_layer(layer: EngineLayer, program: Program, board: Board, timing: Timing) -> LayerEstimate:
    """Cycles of one layer: the dataflow's own time or the memory's, whichever is longer, plus what cannot overlap."""
    array, lanes = program.array, program.array.lanes
    tiles = layer_tiles(layer, array)
    counts = layer_counts(layer, array)
    costs = [tile_cycles(t, timing) for t in tiles]
    # a tile loads while the one before is processed
    dataflow = costs[0][0] + sum(max(c[2], n) for c, n in zip(costs, [c[0] for c in costs[1:]] + [0]))
    weight_beats, beats = counts["fetch_weights"], sum(counts[n] for n in BEATS)
    ddr = math.ceil(beats * lanes / board.bytes_per_cycle)
    # the last stores end after the last compute; then the next layer may start
    tail = timing.memory_latency + timing.pipeline_depth
    cycles = max(dataflow, ddr) + tail
    compute = sum(c[1] for c in costs)
    if compute >= max(ddr, 0.9 * cycles - tail):
        bound = "compute"
    else:
        bound = "weights" if 2 * weight_beats > beats else "feature maps"
    efficiency = layer.macs / (cycles * array.macs)
    return LayerEstimate(
        layer.name, cycles, compute, beats * lanes, weight_beats * lanes, layer.macs, round(efficiency, 4), bound
    )


def block_rams(width_bits: int, depth: int) -> int:
    """BRAM36 of one memory of simple dual-port words (UltraScale+: 72 x 512, 36 x 1k, 18 x 2k, 9 x 4k).

    Memories of up to 64 words are distributed RAM.
    """
    if depth <= 64:
        return 0
    return min(
        math.ceil(width_bits / w) * math.ceil(depth / d) for w, d in ((72, 512), (36, 1024), (18, 2048), (9, 4096))
    )


def resources(program: Program) -> dict[str, int]:
    """Modelled DSP, BRAM36 and LUT of the engine.

    DSPs: the array, lanes x filters x pixels / products. Memories: the
    buffers of hls/engine.cpp, those between dataflow processes twice. LUTs:
    per part, from the widths of its operators: one per bit of an adder or of a
    4:1 multiplexer, one per product bit of a multiplier in logic; an assumption,
    not checked against synthesis.
    """
    a, o = program.array, program.options
    word = 8 * a.lanes
    bank_depth = -(-program.limit("input_words") // a.banks)
    steps = program.limit("weight_steps")
    brams = {
        "input tiles": 2 * a.banks * block_rams(word, bank_depth),
        "weights": 2 * block_rams(word * a.filters, steps * (a.lanes // a.filters)),
        "alignment": 2 * block_rams(word, steps),
        "depthwise weights": 2 * block_rams(word, steps),
        "partial sums": block_rams(32 * a.lanes * a.pixels, program.limit("blocks")),
        "tables": sum(
            block_rams((32 if table == "CLAMP_HIGH" else 6) * a.lanes, program.rows(table)) for table in program.tables
        ),
        "schedule": block_rams(32 * 50, len(program.layers)),
        "memory ports": 4 * block_rams(word, 512),
    }
    dsp = math.ceil(a.lanes * a.filters * a.pixels / a.products)
    outputs = a.filters * a.pixels  # accumulators updated per cycle
    chains = a.lanes // a.chain
    field_bits = {1: 0, 2: 18, 4: 11}[a.products]
    weight_bits = max([layer.fields["weight_bits"] for layer in program.layers], default=8)
    operand_bits = max([layer.fields["in_bits"] + layer.fields["in_unsigned"] for layer in program.layers], default=9)
    window_lanes = a.lanes * a.pixels
    luts = {
        "splitting fields (a borrow for all but the lowest)": outputs // a.products * chains * (a.products - 1) * field_bits,
        "sums of chains": outputs * (chains - 1) * (field_bits + 3),
        "alignment shifters (16:1 of 28 bits)": outputs * 56,
        "accumulators and their start values": outputs * 64,
        "depthwise multipliers and accumulators": window_lanes * (weight_bits * operand_bits + 24),
        "pooling": window_lanes * (2 * operand_bits + 16),
        # mean (16 x 23 bits), shortcut shifter, activation, rounding shifter, saturation
        "epilogue": a.lanes * (368 + 56 + 64 + 128 + 20),
        "bank crossbar": a.pixels * word * math.ceil(a.banks / 3),
        "packing and unpacking": 4 * a.lanes * 40,
        "window walks": 5 * 800,
        "memory ports and control": 4 * 800 + 5000,
    }
    return {
        "dsp": dsp,
        "bram36": sum(brams.values()),
        "lut": sum(luts.values()),
        "bram36_parts": brams,
        "lut_parts": luts,
    }


def estimate(program: Program, board: Board, timing: Timing = Timing()) -> dict:
    """Everything as a dictionary for estimate.json. All figures are modelled, none is measured on hardware."""
    layers = [estimate_layer(layer, program, board, timing) for layer in program.layers]
    cycles = sum(layer.cycles for layer in layers)
    macs = sum(layer.macs for layer in layers)
    used = resources(program)
    return {
        "modelled": True,
        "network": program.artifacts[0].graph.name,
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "memory_gb_s": board.memory_gb_s,
        "array": {**asdict(program.array), "macs_per_cycle": program.array.macs},
        "timing": asdict(timing),
        "cycles": cycles,
        "frames_per_second": round(board.clock_mhz * 1e6 / cycles, 2),
        "mac_efficiency": round(macs / (cycles * program.array.macs), 4),
        "macs": macs,
        "ddr_bytes": sum(layer.ddr_bytes for layer in layers),
        **used,
        "layers": [asdict(layer) for layer in layers],
    }


def refuse_what_does_not_fit(program: Program, board: Board) -> None:
    """Raise BfpError, with what to change, where the modelled engine exceeds the board."""
    used = resources(program)
    advice = {
        "dsp": "lower the engine options pixels or filters",
        "bram36": "lower the engine options input_words, weight_steps or tile_blocks",
        "lut": "lower the engine options pixels or filters",
    }
    for what, limit in (("dsp", board.dsp), ("bram36", board.bram36), ("lut", board.lut)):
        if used[what] > limit:
            raise BfpError(
                f"the engine for {program.artifacts[0].graph.name} needs {used[what]} {what} (modelled), {board.name} "
                f"has {limit}; {advice[what]}"
            )
    size = (program.fmap_words + program.weight_words) * program.array.lanes / 2**20
    if size > board.memory_mb / 2:
        raise BfpError(
            f"weights and feature maps of {program.artifacts[0].graph.name} take {size:.0f} MB, {board.name} has "
            f"{board.memory_mb} MB in all; use a smaller input or narrower weights"
        )
