"""Layers that take several pictures at once: golden model against C simulation, and what the model says of them.

A failure names the seed: `random_classifier(seed, lanes)` makes the network again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support.boards import BOARD
from support.engines import ENGINES, Engine, engine_options
from support.one_layer import SMALL
from support.random_graphs import random_artifact
from support.random_heads import random_classifier
from support.random_inputs import random_input

from bfp import BfpError
from codegen.generate import generate
from codegen.lowering.layer_fields import InputPooling
from codegen.lowering.pictures import placed_apart
from codegen.lowering.program import build
from codegen.lowering.schedule import EngineLayer, Program
from codegen.performance.counts import BEATS
from codegen.performance.estimate import estimate, steps
from codegen.performance.steps import program_counts, program_steps
from codegen.performance.timing import Timing
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

PER_PROGRAM, FIRST = 4, 2  # networks of a program, and the first one's seed
# by the number of an engine: pictures of a batch, more than its lanes of pixels, as many and fewer
BATCHES = {0: 5, 1: 4, 2: 3, 3: 2, 4: 7, 5: 6}
QUICK = (1, 2, 5)
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# what the layers that take several pictures have between them in the default suite
CORNERS = (
    "CONV", "DEPTHWISE", "ADD", "a joined operand", "a value a pixel", "table", "rows of pictures", "LARGEST", "MEAN",
    "chunks", "alignment", "tiles of pictures", "first tile early", "first tile in slices", "no other layer",
    "no such layer",
)  # fmt: skip


def classifiers(number: int, first: int = FIRST, count: int = PER_PROGRAM) -> tuple[list, range]:
    """Random networks for an engine, by its number, and their seeds; one of them without such layers."""
    engine, seeds = ENGINES[number], range(first + count * number, first + count * (number + 1))
    others = [random_artifact(first + 1000 + number, engine.lanes, engine.widest)]
    found = [random_classifier(seed, engine.lanes, engine.widest, nodes=4 if seed % count else 0) for seed in seeds]
    return found + others, range(seeds[0], seeds[-1] + 2)


def program_of(number: int, artifacts: list, out=None) -> tuple[Program, str | None]:
    """The program of these networks with batches, written to ``out``, and its identity."""
    engine: Engine = ENGINES[number]
    options = replace(engine_options(artifacts, engine), batch=BATCHES[number])
    return (build(artifacts, options, engine.board), None) if out is None else generate(artifacts, options, engine.board, out)


def simulated(program: Program, identity: str, artifacts: list, seeds: range, images: int, out, **compiled) -> dict:
    """What C simulation finds for so many random images. compiled: see ``compile_engine``."""
    bench, _ = compile_engine(out / "generated", out / "csim", **compiled)
    inputs = [np.concatenate([random_input(a, 100 * s + n) for n in range(images)]) for a, s in zip(artifacts, seeds)]
    write_golden(out / "golden.bin", program, identity, inputs)
    return run_testbench(bench, out / "deploy" / "weights.bin", out / "golden.bin", out / "result.json")


def check(number: int, out, first: int = FIRST, count: int = PER_PROGRAM, left: int = 1, **compiled) -> None:
    """left: pictures of the last batch, which is not full. compiled: see ``compile_engine``."""
    artifacts, seeds = classifiers(number, first, count)
    program, identity = program_of(number, artifacts, out)
    result = simulated(program, identity, artifacts, seeds, BATCHES[number] + left, out, **compiled)
    assert result["mismatches"] == 0, f"engine {number}: {result['first_mismatch']}"
    assert result["images"] == BATCHES[number] + left
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]


@pytest.mark.parametrize("number, left", zip(QUICK, (3, 1, 2)))
def test_batches_are_bit_equal(number, left, tmp_path):
    """Every tensor of each picture; a last batch of one is a single run, one of several is not full."""
    check(number, tmp_path, left=left, optimise=("-O1",))


@pytest.mark.heavy
@pytest.mark.parametrize("turn", range(24))
def test_many_batches(turn, tmp_path):
    number = turn % len(ENGINES)
    left = 1 + turn % (BATCHES[number] - 1)
    ways = ({}, {"optimise": SANITIZED}, {}, {"threaded": True})  # the latter with each process in a thread of its own
    check(number, tmp_path, 2000 + 100 * turn, count=10, left=left, **ways[turn % 4])


def corners_of(layer: EngineLayer) -> Counter:
    f = layer.fields
    return Counter({
        f.op.name: 1,
        "a joined operand": f.shortcut.has_shortcut,
        "a value a pixel": f.shortcut.shortcut_spread,
        "table": f.epilogue.table >= 0,
        "rows of pictures": f.picture_rows > 1 and f.input_pool.in_pool is InputPooling.UNPOOLED,
        f.input_pool.in_pool.name: 1,
        "chunks": f.passes.chunks > 1,
        "alignment": f.weights.has_align,
        "tiles of pictures": f.tiles.tiles_down > 1,
        "first tile early": f.loads.early_lines > 0,
        "first tile in slices": 0 < f.loads.early_lines < f.tiles.tile_words * f.tiles.tile_height,
    })  # fmt: skip


def test_batches_reach_every_corner():
    seen = Counter()
    for number in QUICK:
        program, _ = program_of(number, classifiers(number)[0])
        for layer in program.layers:
            seen += corners_of(layer) if layer.fields.pictures.several else Counter()
        for (begin, end), shared in zip(program.ranges, program.shared):
            seen["no other layer"] += shared == begin
            seen["no such layer"] += shared == end
            assert all(layer.fields.pictures.several == (n >= shared) for n, layer in enumerate(program.layers[begin:end], begin))
    assert [c for c in CORNERS if not seen[c]] == []


def test_pictures_that_lie_elsewhere_show(tmp_path, monkeypatch):
    """The comparison can fail: the arenas of pictures are where the engine is told that they are."""
    monkeypatch.setattr("codegen.lowering.program.placed_apart", lambda layer, words: placed_apart(layer, words - 1))
    artifacts, seeds = classifiers(1)
    program, identity = program_of(1, artifacts, tmp_path)
    assert simulated(program, identity, artifacts, seeds, BATCHES[1], tmp_path, optimise=("-O1",))["mismatches"] > 0


def test_a_network_without_such_a_layer_is_refused_with_the_option():
    artifact = next(a for a in (random_artifact(seed, 4) for seed in range(100)) if a.graph.shapes[a.graph.outputs[0]][1] > 1)
    options = replace(engine_options([artifact], ENGINES[1]), batch=2)
    with pytest.raises(BfpError, match="batch is 2, and no layer of .* can take several pictures: .*; leave the option out"):
        build([artifact], options, BOARD)


def test_only_the_last_layers_take_several_and_read_their_weights_once():
    artifacts, _ = classifiers(2)
    one, several = (replace(engine_options(artifacts, ENGINES[2]), batch=n) for n in (1, 3))
    alone, together = (build(artifacts, options, BOARD) for options in (one, several))
    assert alone.calls == [(0, len(alone.layers), 1)]
    for before, after, counts, more in zip(alone.layers, together.layers, program_counts(alone), program_counts(together)):
        assert after.name == before.name
        shares = after.fields.pictures.several
        if not shares:  # the very same layer, but for when the next one's first tile loads
            assert replace(after.fields, loads=before.fields.loads, tiles=before.fields.tiles) == before.fields or counts != more
        elif after.fields.tiles.tiles_down == 1 and before.fields.tiles == after.fields.tiles:
            assert more["fetch_weights"] == counts["fetch_weights"]
            assert more["store"] == 3 * counts["store"]
    timing = Timing()
    frames, batch = estimate(alone, BOARD), estimate(together, BOARD)
    assert frames["batch"] == 1 and frames["batch_cycles"] == frames["cycles"]
    runs = [(count, steps(together, BOARD, timing, begin, end)) for begin, end, count in together.calls]
    assert batch["batch_cycles"] == sum(count * sum(s.cycles for s in run) for count, run in runs)
    assert batch["frames_per_second"] == round(3 * BOARD.clock_mhz * 1e6 / batch["batch_cycles"], 2)
    assert batch["latency_ms"] == round(batch["cycles"] / BOARD.clock_mhz / 1e3, 3)
    assert batch["ddr_bytes"] < frames["ddr_bytes"]


def test_the_runs_of_a_batch_move_the_beats_of_all_layers():
    """What the steps of the runs of a full batch load, layer by layer, is what is counted of each run of a layer."""
    artifacts, _ = classifiers(5)
    program, _ = program_of(5, artifacts)
    found = Counter()
    for begin, end, count in program.calls:
        for step in program_steps(program, begin, end):
            found["fetch_weights"] += count * (step.weights.weight_beats if step.weights else 0)
            found["store"] += count * (step.now.stored_beats if step.now else 0)
            found["bursts_in"] += count * step.bursts_in
    times = {n: count for begin, end, count in program.calls for n in range(begin, end)}
    counts = program_counts(program)
    assert sorted(times) == list(range(len(program.layers))) and set(BEATS) > {"fetch_weights", "store"}
    for name, total in found.items():
        assert total == sum(times[n] * counts[n][name] for n in times), name


def test_an_engine_without_the_option_is_what_it_was():
    artifacts = [random_classifier(4, 4)]
    options = engine_options(artifacts, ENGINES[1])
    assert options.batch == SMALL.batch == 1
    program = build(artifacts, options, BOARD)
    assert not any(layer.fields.pictures.several for layer in program.layers)
    assert program.map_words == program.fmap_words and program.shared == [len(program.layers)]
