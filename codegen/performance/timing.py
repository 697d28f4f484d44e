"""Latencies in cycles that no C simulation can know: the assumptions of every modelled figure, with their ranges.

To change one, change its default in Timing, which is the likely figure, and its ends in TIMINGS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from codegen.performance.ranges import Range


@dataclass(frozen=True)
class Timing:
    """Latencies in cycles.

    memory_latency: from the request of a read burst to its first word, and from the last word of a written one to its
    answer. Assumed, and what the interface pragmas state; UG1085 names no figure. The loops around bursts wait for each
    of them, so that every burst takes this once more.
    pipeline_depth: fill and drain of the pipelined stages from compute to store: multiplier cascade of 8, adder tree,
    shifter. Assumed.
    loop_overhead: entering a pipelined loop, and filling it: the loop of a burst, each of the three of a word of
    load_weights. A published report has 12,498 cycles for an iteration whose two pipelined loops take 128 and 12,365
    (docs/performance.md): 2 to 3 for entering each. Filling a short one takes as many again.
    step_overhead: start and stop of a step's thirteen processes and of what calls them, and the rows of the next step's
    jobs: two reads of constants, one after the other. Nothing is computed of them, so that a step takes 36 cycles less than
    with a division: 164 to 194 with the drain and the last write's answer, besides its work. Assumed.
    """

    memory_latency: int = 64
    pipeline_depth: int = 40
    loop_overhead: int = 6
    step_overhead: int = 75


@dataclass(frozen=True)
class Timings:
    """What is likely, and the least and the most that everything may well take."""

    fast: Timing
    likely: Timing
    slow: Timing

    def __iter__(self) -> Iterator[Timing]:
        return iter((self.fast, self.likely, self.slow))

    def range_of(self, figure: Callable[[Timing], int]) -> Range:
        """The range of what takes the longer, the slower everything is."""
        return Range(*(figure(timing) for timing in self))


TIMINGS = Timings(
    fast=Timing(memory_latency=48, loop_overhead=5, step_overhead=60),
    likely=Timing(),
    slow=Timing(memory_latency=96, loop_overhead=7, step_overhead=90),
)
