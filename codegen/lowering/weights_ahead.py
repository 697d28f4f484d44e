"""Which beats of weights each step fetches into the queue: what memory is idle for, of later passes and layers, too."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from codegen.lowering.load_jobs import weights_job, weights_start
from codegen.lowering.queue_check import verify_queue
from codegen.lowering.schedule import Program
from codegen.lowering.walk import Walk
from codegen.lowering.weight_queue import Burst, QueueStep
from codegen.performance.board import Board
from codegen.performance.estimate import step_cycles, weights_cycles
from codegen.performance.steps import StepCounts, program_steps
from codegen.performance.timing import Timing


class Beats:
    """All beats of weights, numbered in the order in which the steps of a run of all layers take them.

    steps: of the walk that such a run takes, by their numbers. taken: how many beats the steps before each of them have
    taken, and all of them.
    """

    def __init__(self, program: Program, walk: Walk) -> None:
        found = enumerate(walk.steps)
        self.steps = [n for n, step in found if not step.enters or step.waits or step.layer == 0]
        self.taken = [0]
        self._firsts: list[int] = []  # of each pass that has weights
        self._passes: list[Burst] = []
        for n in self.steps:
            step, beats = walk.steps[n], 0
            if step.weights is not None and not (step.enters and step.layer > 0):
                fields = walk.layers[step.weights.layer]
                beats = weights_job(fields, step.weights, program.array).weights.weight_beats
                if beats:
                    self._firsts.append(self.taken[-1])
                    self._passes.append(Burst(step.weights.layer, weights_start(fields, step.weights), beats))
            self.taken.append(self.taken[-1] + beats)

    def bursts(self, begin: int, end: int) -> tuple[Burst, ...]:
        """In which beats ``begin`` to before ``end`` are fetched: of each layer, what lies one after the other."""
        found: list[Burst] = []
        at = max(bisect_right(self._firsts, begin) - 1, 0)
        while begin < end:
            one, inside = self._passes[at], begin - self._firsts[at]
            more = Burst(one.layer, one.start + inside, min(one.beats - inside, end - begin))
            if found and found[-1].layer == more.layer and found[-1].start + found[-1].beats == more.start:
                found[-1] = replace(found[-1], beats=found[-1].beats + more.beats)
            else:
                found.append(more)
            begin, at = begin + more.beats, at + 1
        return tuple(found)


def last_beats(program: Program, walk: Walk, beats: Beats) -> list[int]:
    """Of each step that a run of all layers takes, the beat behind the last one that may be fetched in it.

    What another run of the engine begins with is fetched when it begins: of the next network, and of layers that take
    several pictures.
    """
    ends = {end for _, end in program.ranges} | (set(program.shared) if program.options.batch > 1 else set())
    found, last, later = [], beats.taken[-1], len(walk.layers)
    for k in reversed(range(len(beats.steps))):
        layer = walk.steps[beats.steps[k]].layer
        if layer != later and layer + 1 in ends:
            found.append(beats.taken[k + 1])  # where a run goes on, its last step takes what the next layer begins with
            last = beats.taken[k]
        else:
            found.append(last)
        later = layer
    return found[::-1]


def queued(program: Program, board: Board, timing: Timing) -> Program:
    """The program with what its queue of weights does. Raises BfpError where that could go wrong."""
    program.queue = queue_steps(program, board, timing)
    verify_queue(program)
    return program


def queue_steps(program: Program, board: Board, timing: Timing) -> tuple[QueueStep, ...]:
    """What the queue of weights does in each step of the walk; nothing at all where the engine has none.

    Each step fetches what it takes, and as much more of what follows as there is room for and makes it no longer by the
    model.
    """
    words = program.options.weights_ahead
    if not words:
        return ()
    walk, beat_cycles = Walk(program), program.array.lanes / board.bytes_per_cycle
    beats = Beats(program, walk)
    found, pushed = [QueueStep()] * len(walk.steps), [0]  # the latter as ``taken``

    def upto(k: int, end: int) -> QueueStep:
        bursts = beats.bursts(pushed[k], end)
        return QueueStep.of(bursts, beats.taken[k + 1] - beats.taken[k], pushed[k], beats.taken[k], words)

    def cycles(k: int, end: int, counts: StepCounts, others: int) -> int:
        """Of a step that fetches to before ``end``. others: its cycles without those of its weights, see Step.cycles."""
        return max(others, weights_cycles(replace(counts, queue=upto(k, end)), timing))

    for k, (counts, last) in enumerate(zip(program_steps(program), last_beats(program, walk, beats))):
        n, taken = beats.steps[k], beats.taken[k + 1]
        least = max(pushed[k], taken)
        waits = walk.steps[n].enters and walk.steps[n].layer > 0  # one that any run takes fetches nothing
        most = least if waits else max(least, min(last, taken + words))
        others = replace(step_cycles(counts, beat_cycles, timing), weights=0, overhead=0).cycles
        within = partial(cycles, k, counts=counts, others=others)
        pushed.append(least + bisect_right(range(least + 1, most + 1), within(least), key=within))
        found[n] = upto(k, pushed[-1])
    for n, entry in enters(walk, beats, found, words):
        found[n] = entry
    return tuple(found)


def enters(walk: Walk, beats: Beats, queue: list[QueueStep], words: int) -> Iterator[tuple[int, QueueStep]]:
    """Of each step that a run begins with, but of the first layer's: it fetches what lies in the queue then in a run of
    all layers, and what the step in front of it takes, in the bursts of the steps before it.
    """
    bursts = list(queue[0].bursts)
    before, taken = 0, dict(zip(beats.steps, beats.taken))
    for n, step in enumerate(walk.steps[1:], 1):
        if step.enters:
            pops = queue[before].pops
            held = sum(burst.beats for burst in bursts) - taken[before]
            yield n, QueueStep.of(last_of(bursts, held), pops, taken[before], taken[before], words)
        else:
            bursts += queue[n].bursts
            before = n


def last_of(bursts: list[Burst], beats: int) -> tuple[Burst, ...]:
    """The last so many beats of some bursts."""
    found = []
    for burst in reversed(bursts):
        if not beats:
            break
        part = min(burst.beats, beats)
        found.append(Burst(burst.layer, burst.start + burst.beats - part, part))
        beats -= part
    return tuple(reversed(found))
