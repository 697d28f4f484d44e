"""Proof, for one program, that the queue of weights gives every pass its own beats, and overwrites none before that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from codegen.lowering.load_jobs import weights_job, weights_start
from codegen.lowering.schedule import Program
from codegen.lowering.walk import Step, Walk
from codegen.lowering.weight_queue import DISTANCE, QueueStep


@dataclass(frozen=True)
class Accesses:
    """Writes to the queue, or reads of it, in the order in which they happen, int64 [n] each.

    word: of the queue; time: iteration of its loop, counted through all steps; beat: word of the weight image that is
    written, or that must be read; layer: that computes, or loads where nothing is computed.
    """

    word: np.ndarray
    time: np.ndarray
    beat: np.ndarray
    layer: np.ndarray

    @staticmethod
    def of(parts: Iterable[tuple[int, int, np.ndarray, int]], words: int) -> Accesses:
        """Of the parts of steps: first word and iteration, beats, layer."""
        found = [np.zeros((4, 0), np.int64)]
        for at, time, beats, layer in parts:
            n = np.arange(len(beats))
            found.append(np.stack([(at + n) % words, time + n, beats, np.full(len(n), layer)]))
        return Accesses(*np.concatenate(found, axis=1))


def run_accesses(program: Program, walk: Walk, numbers: Iterable[int]) -> tuple[Accesses, Accesses]:
    """Writes and reads of the steps with these numbers, with the first of which a run begins."""
    words, time = program.options.weights_ahead, 0
    writes, reads = [], []
    for place, n in enumerate(numbers):
        step, queue = walk.steps[n], program.queue[n]
        if step.enters and place > 0:
            continue
        begin, count = wanted(program, walk, step)
        pushed = [np.arange(b.start, b.start + b.beats) for b in queue.bursts] or [np.zeros(0, np.int64)]
        writes.append((queue.push_at, time + queue.push_from, np.concatenate(pushed), step.layer))
        reads.append((queue.pop_at, time + queue.pop_from, np.arange(begin, begin + count), step.layer))
        time += end_of(queue, count) + DISTANCE  # a step ends before the next one begins
    return Accesses.of(writes, words), Accesses.of(reads, words)


def end_of(queue: QueueStep, pops: int) -> int:
    """The iteration behind the last one of a step."""
    return max(queue.push_from + queue.pushes, queue.pop_from + pops)


def wanted(program: Program, walk: Walk, step: Step) -> tuple[int, int]:
    """The word of the weight image with which the weights that load in a step begin, and how many words they have."""
    if step.weights is None:
        return 0, 0
    fields = walk.layers[step.weights.layer]
    return weights_start(fields, step.weights), weights_job(fields, step.weights, program.array).weights.weight_beats


def verify_run(program: Program, writes: Accesses, reads: Accesses) -> None:
    """Raise BfpError naming the first layer in which a read finds no beat of its own, or in which one is overwritten.

    What is written first is read first, so that the n-th read must be of the n-th write.
    """

    def refuse(layers: np.ndarray, wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            raise BfpError(f"layer {program.layers[layers[wrong.argmax()]].name} would {what}")

    count = min(len(reads.word), len(writes.word))
    wrong = np.ones(len(reads.word), bool)
    wrong[:count] = (reads.word[:count] != writes.word[:count]) | (reads.beat[:count] != writes.beat[:count])
    wrong[:count] |= reads.time[:count] < writes.time[:count] + DISTANCE
    refuse(reads.layer, wrong, "take weights from the queue that are not there")
    # when each write's beat has gone: never, of those that nobody reads
    gone = np.full(len(writes.word), np.iinfo(np.int64).max)
    gone[:count] = reads.time[:count] + DISTANCE
    order = np.argsort(writes.word, kind="stable")
    before, after = order[:-1], order[1:]
    wrong = np.zeros(len(writes.word), bool)
    wrong[after] = (writes.word[before] == writes.word[after]) & (writes.time[after] < gone[before])
    refuse(writes.layer, wrong, "overwrite weights in the queue that no pass has taken")


def verify_queue(program: Program) -> None:
    """Go through all steps, and all runs that begin with a later layer. Raises BfpError naming the layer that is wrong.

    A run that begins with a layer must find the queue as a run of all layers has it there.
    """
    if not program.queue:
        return
    walk = Walk(program)
    writes, reads = run_accesses(program, walk, range(len(walk.steps)))
    verify_run(program, writes, reads)
    for n, step in enumerate(walk.steps):
        if not step.enters or step.layer == 0:
            continue
        first, taken = run_accesses(program, walk, [n])
        verify_run(program, first, taken)
        # what the layers before have written and taken in a run of all of them
        pushed, popped = (int(np.searchsorted(x.layer, step.layer)) for x in (writes, reads))
        left = slice(len(taken.word), None)
        same = (
            np.array_equal(first.word[left], writes.word[popped:pushed])
            and np.array_equal(first.beat[left], writes.beat[popped:pushed])
        )
        if not same:
            name = program.layers[step.layer].name
            raise BfpError(f"layer {name} would begin a run with other weights in the queue than it finds within one")
