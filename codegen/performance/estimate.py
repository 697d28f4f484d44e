"""Modelled cycles, frames per second and resources of a program on a board.

Loop iterations and bursts come from codegen.performance.counts, which the C simulation
confirms exactly. What only hardware can tell is in codegen.performance.timing:
named parameters with their source. Everything derived here is a model's figure, and says so.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from codegen.lowering.array import Array
from codegen.lowering.schedule import Program
from codegen.lowering.weight_queue import BEHIND_QUEUE
from codegen.performance.board import Board
from codegen.performance.counts import BEATS
from codegen.performance.ranges import Area, Range, Ranges, Resource
from codegen.performance.resources import area, warnings
from codegen.performance.steps import ProgramCounts, StepCounts, program_steps
from codegen.performance.timing import TIMINGS, Timing, Timings


@dataclass(frozen=True)
class Step:
    """Modelled cycles of one step by what takes them; see hls/engine.cpp. The processes of a step overlap.

    layer: index of the layer that is computed, or loaded where nothing is.
    load, weights, compute: of the stages that load the next tile and the next
    weights, and of the array or the epilogue. memory: of all beats.
    """

    layer: int
    load: int
    weights: int
    compute: int
    memory: int
    overhead: int

    @property
    def cycles(self) -> int:
        return max(self.load, self.weights, self.compute, self.memory) + self.overhead


@dataclass(frozen=True)
class LayerEstimate:
    """One run of a layer, modelled, for so many ``pictures``. bound: what takes longest: compute, weights or feature maps.

    least_cycles: that no schedule of its own goes below, those of its
    multiply-accumulates or of its bytes, whichever are more.
    """

    name: str
    cycles: int
    compute_cycles: int
    least_cycles: int
    ddr_bytes: int
    weight_bytes: int
    macs: int
    mac_efficiency: float
    bound: str
    pictures: int


def steps(program: Program, board: Board, timing: Timing, begin: int = 0, end: int | None = None) -> list[Step]:
    """All steps of a run of a program's layers ``begin`` to before ``end``, of all of them for None, in order."""
    return timed(program_steps(program, begin, end), program.array, board, timing)


def timed(counted: list[StepCounts], array: Array, board: Board, timing: Timing) -> list[Step]:
    """Steps that are counted, with their modelled cycles."""
    beat_cycles = array.lanes / board.bytes_per_cycle
    return [step_cycles(step, beat_cycles, timing) for step in counted]


def step_cycles(step: StepCounts, beat_cycles: float, timing: Timing) -> Step:
    """One step. beat_cycles: in which memory moves a beat."""
    load, load_beats, compute, beats = 0, 0, 0, step.weight_beats
    joined = step.weights.joined_beats if step.weights is not None else 0
    burst = timing.memory_latency + timing.loop_overhead  # until its first beat
    if step.count and step.coming is not None:
        tile, part = step.coming, step.count / step.coming.units
        load_beats = math.ceil(tile.load_beats * part)
        # on-chip memory gives a beat a cycle, as the ports do, and waits for nothing
        begins = timing.loop_overhead if tile.chip_beats else timing.memory_latency
        load = max(step.bursts_in * burst + load_beats, begins + math.ceil(max(tile.load, tile.chip_beats) * part))
        if tile.chip_beats:  # on-chip memory is read for the tile, then for the shortcut of the pass after
            load += joined
    load = max(load, timing.loop_overhead + joined if joined else 0)
    if (now := step.now) is not None:
        compute = max(
            now.compute,
            now.pixels,
            now.packed,
            now.shortcut_bursts * burst + now.shortcut_beats,
            now.stored_bursts * burst + now.stored_beats,
            now.chip_beats,
        )
        # the answer to the last write to memory comes after everything else
        compute += timing.pipeline_depth + (timing.memory_latency if now.stored_bursts else 0)
        beats += now.shortcut_beats + now.stored_beats
    memory = math.ceil((beats + load_beats) * beat_cycles)
    return Step(step.layer, load, weights_cycles(step, timing), compute, memory, timing.step_overhead)


def weights_cycles(step: StepCounts, timing: Timing) -> int:
    """Cycles until a step's weights are laid out, and its beats are in the queue, where there is one.

    The queue's one loop stands still for the first beat of every burst that is not there yet, and where its weights are laid
    out more slowly than it gives them, as soon as no more of these may wait: both are added up.
    """
    laid_out = 0
    if step.weights is not None and step.weights.weights:
        laid_out = step.weights.weights + 3 * timing.loop_overhead * step.weights.outputs
    queue = step.queue
    if queue is None:
        return timing.memory_latency + laid_out if laid_out else 0
    if not queue.cycles:
        return 0
    burst, bursts = timing.memory_latency + timing.loop_overhead, len(queue.bursts)
    late = max(0, burst - queue.push_from) + (bursts - 1) * burst if bursts else 0
    stands = max(0, laid_out - queue.pops - BEHIND_QUEUE)
    return timing.loop_overhead + late + max(queue.cycles + stands, queue.pop_from + laid_out)


def estimate_layers(program: Program, counted: ProgramCounts, board: Board, timing: Timing) -> list[LayerEstimate]:
    """Cycles of every layer: those of the steps that compute it, and of those in which only it loads.

    counted: of the program. Layers run one after the other, for one picture alone: layers that take several do so for places of others as well.
    """
    array, run = program.array, counted.steps()
    own: list[list[Step]] = [[] for _ in program.layers]
    for step in timed(run, array, board, timing):
        own[step.layer].append(step)
    found = []
    for layer, mine, counts in zip(program.layers, own, counted.layers(run)):
        beats = sum(counts[n] for n in BEATS)
        cycles, compute = sum(s.cycles for s in mine), sum(s.compute for s in mine)
        if compute >= max(sum(s.memory for s in mine), 0.9 * sum(s.cycles - s.overhead for s in mine)):
            bound = "compute"
        else:
            bound = "weights" if 2 * counts["fetch_weights"] > beats else "feature maps"
        pictures = layer.fields.pictures.count
        macs = pictures * layer.macs
        least = max(math.ceil(macs / array.macs), math.ceil(beats * array.lanes / board.bytes_per_cycle))
        found.append(
            LayerEstimate(
                layer.name,
                cycles,
                compute,
                least,
                beats * array.lanes,
                counts["fetch_weights"] * array.lanes,
                macs,
                round(macs / (cycles * array.macs), 4),
                bound,
                pictures,
            )
        )
    return found


def cycles(program: Program, board: Board, timing: Timing, begin: int = 0, end: int | None = None) -> int:
    """Cycles of all steps. begin, end: of the layers that are run, as ``steps`` takes them."""
    return sum(step.cycles for step in steps(program, board, timing, begin, end))


def cycle_range(
    counted: ProgramCounts, board: Board, timings: Timings, begin: int = 0, end: int | None = None
) -> Range:
    """Cycles of all steps: with all latencies and the memory at their best, as is likely, and at their worst.

    begin, end: as of ``cycles``.
    """
    run, array = counted.steps(begin, end), counted.program.array
    machines = zip(board.memories, timings)
    return Range(*(sum(step.cycles for step in timed(run, array, at, timing)) for at, timing in machines))


def batch_range(counted: ProgramCounts, board: Board, timings: Timings) -> Range:
    """Cycles of all runs of the engine that a full batch of pictures takes; what the host does between them is not in it."""
    return Range.total(
        cycle_range(counted, board, timings, begin, end).times(count) for begin, end, count in counted.program.calls
    )


def latency_range(cycles: Range, board: Board) -> Range:
    """Milliseconds of a range of cycles."""
    return Range(*(round(count / board.clock_mhz / 1e3, 3) for count in (cycles.low, cycles.likely, cycles.high)))


def frame_range(cycles: Range, board: Board, pictures: int = 1) -> Range:
    """Frames per second of a range of cycles for so many pictures: the fewest cycles make the most."""
    clock = board.clock_mhz * 1e6 * pictures
    return Range(*(round(clock / count, 2) for count in (cycles.high, cycles.likely, cycles.low)))


def estimate(program: Program, board: Board, timings: Timings = TIMINGS, built: Area | None = None) -> dict:
    """Everything as a dictionary for estimate.json. All figures are modelled, none is measured on hardware.

    Single figures are the likely ones; "ranges" and "parts" have their low and high ends as well. "cycles" are those of one
    picture alone, "latency_ms" its time; with the engine option ``batch`` frames per second, bytes and shares of the
    array are those of full batches, of "batch_cycles" each. built: the program's area, where that is known.
    """
    counted = ProgramCounts(program)
    layers = estimate_layers(program, counted, board, timings.likely)
    total = sum(layer.cycles for layer in layers)
    spans = cycle_range(counted, board, timings)
    batch, latency = program.options.batch, latency_range(spans, board)
    full = batch_range(counted, board, timings) if batch > 1 else spans
    frames = frame_range(full, board, batch)
    ddr_bytes = sum(layer.ddr_bytes // layer.pictures for layer in layers)
    macs = sum(layer.macs for layer in program.layers)
    built, network = built or area(program, board), program.title
    totals = {resource.value: built.total(resource) for resource in Resource}
    return {
        "modelled": True,
        "network": network,
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "memory_gb_s": board.memory_gb_s,
        "memory_gb_s_low": board.memory_gb_s_low,
        "memory_gb_s_high": board.memory_gb_s_high,
        "array": {**asdict(program.array), "macs_per_cycle": program.array.macs},
        "timing": asdict(timings),
        "cycles": total,
        "latency_ms": latency.likely,
        "batch": batch,
        "batch_cycles": full.likely,
        "frames_per_second": frames.likely,
        "mac_efficiency": round(batch * macs / (full.likely * program.array.macs), 4),
        "macs": macs,
        "ddr_bytes": ddr_bytes,
        # what no schedule goes below: all products, and all bytes
        "least_cycles_array": math.ceil(macs / program.array.macs),
        "least_cycles_memory": math.ceil(ddr_bytes / board.bytes_per_cycle),
        **{word: total.likely for word, total in totals.items()},
        "ranges": asdict(Ranges(spans, latency, frames, **totals)),
        "warnings": warnings(built, network, board),
        "parts": [
            {
                "name": part.name,
                "resource": part.resource.value,
                **asdict(part.range),
                "around_the_engine": part.around,
                "reason": part.reason,
            }
            for part in built.parts
        ],
        "layers": [asdict(layer) for layer in layers],
    }
