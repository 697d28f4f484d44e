"""Weights that are fetched ahead of their pass into a queue on chip: the same bits, counted beats, and none read before it is there."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from support.engines import ENGINES, Engine, engine_options, roomy
from support.random_graphs import random_artifact
from support.random_heads import random_classifier
from support.several_simulated import simulated_networks

from bfp.artifact import Artifact
from bfp.errors import BfpError
from codegen.lowering import weights_ahead as lowering
from codegen.lowering.program import build
from codegen.lowering.queue_check import verify_queue
from codegen.lowering.schedule import Program
from codegen.lowering.walk import Walk
from codegen.lowering.weight_queue import DISTANCE, LEAST_WORDS, Burst, QueueStep
from codegen.options import EngineOptions
from codegen.performance.estimate import cycles, step_cycles
from codegen.performance.resources import area
from codegen.performance.steps import program_counts, program_steps
from codegen.performance.timing import Timing
from codegen.simulation.csim import run_testbench

SEEDS = 2
FEW, MANY = 40, 3000  # words of the queue: less than most passes take, and more than all of a network's
# of each test, the engine's number and the words
BOTH = [(1, FEW), *(pytest.param(*one, marks=pytest.mark.heavy) for one in ((3, LEAST_WORDS), (5, MANY)))]


@lru_cache(maxsize=None)
def networks(lanes: int, widest: int) -> list[Artifact]:
    return [random_artifact(seed, lanes, widest, several=True) for seed in range(100, 100 + SEEDS)]


@lru_cache(maxsize=None)
def without_queue(engine: Engine) -> EngineOptions:
    return engine_options(networks(engine.lanes, engine.widest), engine)


def options_of(engine: Engine, words: int, **others: int) -> EngineOptions:
    return replace(without_queue(engine), weights_ahead=words, **others)


@lru_cache(maxsize=None)
def program_of(number: int, words: int, **others: int) -> Program:
    engine = ENGINES[number]
    return build(networks(engine.lanes, engine.widest), options_of(engine, words, **others), engine.board, with_weights=False)


def simulated(engine: Engine, options: EngineOptions, out: Path, **how) -> tuple[Program, list[Path]]:
    """The program, and the test bench with its arguments but the result's file."""
    return simulated_networks(networks(engine.lanes, engine.widest), options, engine.board, out, **how)


def far_ahead(program: Program) -> int:
    """Bursts of weights of other layers than that which the step loads weights for."""
    return sum(b.layer != s.weighed_layer for s in program_steps(program) for b in s.queue.bursts)


@pytest.mark.parametrize(("number", "words"), BOTH)
def test_every_tensor_is_equal_and_every_beat_counted(number, words, tmp_path):
    """In one run, and one layer a call, of which each begins with the queue as it is in one run."""
    engine = ENGINES[number]
    program, arguments = simulated(engine, options_of(engine, words), tmp_path)
    assert far_ahead(program) > 5
    result = run_testbench(*arguments, tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]
    assert sum(counts["queue_weights"] for counts in predicted) > 0
    by_layers = subprocess.run([*map(str, arguments), str(tmp_path / "by_layers.json"), "layers"], capture_output=True)
    assert by_layers.returncode == 0, by_layers.stderr.decode()


@pytest.mark.heavy
def test_it_works_beside_maps_on_chip_without_access_beyond_the_queue(tmp_path):
    engine = ENGINES[4]
    sanitize = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program, arguments = simulated(engine, roomy(options_of(engine, FEW, chip_words=500)), tmp_path, optimise=sanitize)
    assert far_ahead(program) > 5 and program.chip_words > 0
    assert run_testbench(*arguments, tmp_path / "result.json")["mismatches"] == 0


@pytest.mark.heavy
@pytest.mark.parametrize("words", [LEAST_WORDS, MANY])
def test_processes_in_threads_give_the_same(words, tmp_path):
    """With streams of their real depths, what fetches, queues and lays out weights waits for each other and never for ever."""
    engine = ENGINES[0]
    program, arguments = simulated(engine, roomy(options_of(engine, words)), tmp_path, threaded=True)
    assert far_ahead(program) > 5
    result = run_testbench(*arguments, tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]


@pytest.mark.parametrize(("number", "words"), [(0, MANY), (1, LEAST_WORDS), (2, FEW)])
def test_all_weights_are_fetched_once(number, words):
    """As many beats of each layer as without the queue: only their bursts differ."""
    program, without = program_of(number, words), program_of(number, 0)
    counts, before = program_counts(program), program_counts(without)
    assert sum(s.queue.pushes for s in program_steps(program)) == sum(c["fetch_weights"] for c in counts) > 0
    for after, old in zip(counts, before):
        assert after["queue_weights"] >= old["queue_weights"] == 0
        assert {name for name in old if after[name] != old[name]} <= {"bursts_weights", "queue_weights"}


def first_beats(bursts: tuple[Burst, ...], beats: int) -> tuple[Burst, ...]:
    """The first so many beats of some bursts."""
    found = []
    for burst in bursts:
        if beats > 0:
            found.append(replace(burst, beats=min(burst.beats, beats)))
        beats -= burst.beats
    return tuple(found)


def test_no_step_is_longer_for_what_it_fetches_ahead():
    """By the model; and a run of all layers is shorter."""
    engine, timing = ENGINES[1], Timing()
    program, without = program_of(1, MANY), program_of(1, 0)
    assert cycles(program, engine.board, timing) < cycles(without, engine.board, timing)
    beat = program.array.lanes / engine.board.bytes_per_cycle
    pushed = taken = ahead = 0
    for step in program_steps(program):
        needed = first_beats(step.queue.bursts, max(0, taken + step.queue.pops - pushed))
        least = replace(step, queue=QueueStep.of(needed, step.queue.pops, pushed, taken, MANY))
        assert step_cycles(step, beat, timing).cycles == step_cycles(least, beat, timing).cycles
        ahead += step.queue.pushes - least.queue.pushes
        pushed, taken = pushed + step.queue.pushes, taken + step.queue.pops
    assert pushed == taken and ahead > taken // 4


def test_what_another_run_begins_with_is_not_fetched_ahead():
    """Of the next network: but for what the last step takes, which a run that ends there leaves out."""
    program = program_of(1, MANY)
    assert len(program.ranges) > 1
    for begin, end in program.ranges:
        for step in program_steps(program, begin, end):
            assert all(burst.layer < end for burst in step.queue.bursts)


def test_a_batch_fetches_no_weights_in_vain():
    """The layers that take several pictures begin a run of their own: what is theirs is fetched in that alone, and once."""
    engine = ENGINES[1]
    artifacts = [random_classifier(seed, engine.lanes, engine.widest, nodes=4) for seed in (6, 7)]
    options = replace(engine_options(artifacts, engine), batch=3, weights_ahead=MANY)
    program = build(artifacts, options, engine.board, with_weights=False)
    beats: Counter[int] = Counter()
    for begin, end, count in program.calls:
        for step in program_steps(program, begin, end):
            for burst in step.queue.bursts:
                beats[burst.layer] += burst.beats * count
    times = {n: count for begin, end, count in program.calls for n in range(begin, end)}
    counts = program_counts(program)
    assert set(times.values()) == {1, 3}
    assert beats == Counter({n: times[n] * c["fetch_weights"] for n, c in enumerate(counts) if c["fetch_weights"]})


def test_an_engine_without_it_has_nothing_of_it():
    without, with_it = program_of(0, 0), program_of(0, MANY)
    assert without.queue == () and all(s.queue is None for s in program_steps(without))
    names = [{part.name for part in area(p, ENGINES[0].board).parts} for p in (without, with_it)]
    assert {"queue of weights", "table QUEUES", "table FETCHES"} <= names[1] - names[0] and names[0] <= names[1]


def test_the_option_is_refused_with_fewer_words_than_a_beat_waits():
    with pytest.raises(BfpError, match=f"weights_ahead is {LEAST_WORDS - 1}; give 0, for no queue of weights, or at least {LEAST_WORDS}"):
        EngineOptions(weights_ahead=LEAST_WORDS - 1)


def spoilt(queue: tuple[QueueStep, ...], **changes) -> list[tuple[QueueStep, ...]]:
    """The queue with one step changed: each of those that the change is for."""
    found = []
    for n, step in enumerate(queue):
        new = replace(step, **{name: change(step) for name, change in changes.items()})
        if new != step:
            found.append((*queue[:n], new, *queue[n + 1 :]))
    return found


CHANGES = {
    "another word is written": dict(push_at=lambda s: (s.push_at + 1) % FEW if s.bursts else s.push_at),
    "another word is read": dict(pop_at=lambda s: (s.pop_at + 1) % FEW if s.pops else s.pop_at),
    "another beat is fetched": dict(bursts=lambda s: tuple(replace(b, start=b.start + 1) for b in s.bursts)),
    "a burst is left out": dict(bursts=lambda s: s.bursts[1:]),
    "a beat is read before it is there": dict(
        push_from=lambda s: s.push_from + DISTANCE if s.bursts and s.pop_from == DISTANCE else s.push_from
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_check_of_a_program_finds_every_single_change(change):
    program = program_of(2, FEW)
    verify_queue(program)
    queues = spoilt(program.queue, **CHANGES[change])
    assert len(queues) > 5
    for queue in queues[:: max(1, len(queues) // 20)]:
        with pytest.raises(BfpError, match="layer .* would (take weights from|overwrite weights in|begin a run with)"):
            verify_queue(replace(program, queue=queue))


def test_c_simulation_refuses_what_the_check_of_a_program_would(tmp_path, monkeypatch):
    """A word of the queue that is read as other weights than its own."""
    engine, original = ENGINES[1], lowering.queue_steps

    def wrong(program: Program, *others) -> tuple[QueueStep, ...]:
        queue = original(program, *others)
        n = next(n for n, step in enumerate(Walk(program).steps) if not step.enters and queue[n].pops)
        return (*queue[:n], replace(queue[n], pop_at=(queue[n].pop_at + 1) % FEW), *queue[n + 1 :])

    monkeypatch.setattr(lowering, "queue_steps", wrong)
    with pytest.raises(BfpError, match="take weights from the queue that are not there"):
        build(networks(engine.lanes, engine.widest), options_of(engine, FEW), engine.board)
    monkeypatch.setattr(lowering, "verify_queue", lambda program: None)
    _, arguments = simulated(engine, options_of(engine, FEW), tmp_path)
    with pytest.raises(BfpError, match=r"step \d+ reads word \d+ of the queue of weights, which holds none of its weights"):
        run_testbench(*arguments, tmp_path / "result.json")
