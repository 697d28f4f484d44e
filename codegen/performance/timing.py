"""Latencies in cycles that no C simulation can know: the assumptions of every modelled figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Latencies in cycles.

    memory_latency: from the request of a read burst to its first word, and from
    the last word of a written one to its answer (assumed, and what the interface
    pragmas state; UG1085 names no figure). The loops around bursts wait for each
    of them, so that every burst takes this once more.
    pipeline_depth: fill and drain of the pipelined stages from compute to store
    (multiplier cascade of 8, adder tree, shifter; assumed). line_overhead:
    entering the three short loops of one line of unpack_tile, or the loops of one
    word of load_weights each (assumed; Vitis HLS reports 1 to 2 cycles per loop
    entry). step_overhead: constants of the next step, among them a division
    that says where its lines go, start and stop of its processes (assumed).
    """

    memory_latency: int = 64
    pipeline_depth: int = 40
    line_overhead: int = 4
    step_overhead: int = 40
