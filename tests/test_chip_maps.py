"""Maps that stay in on-chip memory between layers: the same bits, counted beats, and no word read before it is there."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from support.boards import BOARD
from support.engines import ENGINES, Engine, engine_options, roomy
from support.random_graphs import random_artifact
from support.several_simulated import simulated_networks

from bfp.artifact import Artifact
from bfp.errors import BfpError
from codegen.features import features
from codegen.generate import generate, readable_tensors
from codegen.lowering import chip_maps, chip_plan, program as lowering
from codegen.lowering.chip_check import verify_chip_maps
from codegen.lowering.chip_maps import Life, placed
from codegen.lowering.layer_fields import MapPlace
from codegen.lowering.program import build
from codegen.lowering.schedule import Program
from codegen.lowering.step_tables import StepTables
from codegen.options import EngineOptions
from codegen.performance.estimate import estimate
from codegen.performance.memories import memory_parts
from codegen.performance.steps import program_counts
from codegen.simulation.csim import run_testbench

SEEDS = 6
# of on-chip memory: less than the maps would take, and more
FEW, MANY = 150, 4000


@lru_cache(maxsize=None)
def networks(lanes: int, widest: int) -> list[Artifact]:
    return [random_artifact(seed, lanes, widest, several=True) for seed in range(100, 100 + SEEDS)]


def options_of(engine: Engine, words: int) -> EngineOptions:
    return replace(engine_options(networks(engine.lanes, engine.widest), engine), chip_words=words)


def simulated(engine: Engine, options: EngineOptions, out: Path, **how) -> tuple[Program, list[Path]]:
    """The program, and the test bench with its arguments but the result's file."""
    return simulated_networks(networks(engine.lanes, engine.widest), options, engine.board, out, **how)


def on_chip(program: Program) -> tuple[int, int]:
    """Layers that read a map on chip, and that store one there."""
    reads = sum(layer.fields.input_map.in_place is MapPlace.CHIP for layer in program.layers)
    return reads, sum(layer.fields.stores_to is MapPlace.CHIP for layer in program.layers)


@pytest.mark.parametrize(("number", "words"), [(1, FEW), (3, MANY), (5, MANY)])
def test_every_tensor_is_equal_and_every_beat_counted(number, words, tmp_path):
    """In one run, and one layer a call: what stays on chip is compared, too, and outlives a call."""
    engine = ENGINES[number]
    program, arguments = simulated(engine, options_of(engine, words), tmp_path)
    assert min(on_chip(program)) > 5 and 0 < program.chip_words <= words
    result = run_testbench(*arguments, tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["tensors_compared"] == len(program.tensors)
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]
    assert sum(counts["read_chip"] for counts in predicted) > 0 < sum(counts["write_chip"] for counts in predicted)
    by_layers = subprocess.run([*map(str, arguments), str(tmp_path / "by_layers.json"), "layers"], capture_output=True)
    assert by_layers.returncode == 0, by_layers.stderr.decode()


def test_no_access_is_beyond_the_memory(tmp_path):
    engine = ENGINES[4]
    sanitize = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program, arguments = simulated(engine, options_of(engine, FEW), tmp_path, optimise=sanitize)
    assert min(on_chip(program)) > 5
    assert run_testbench(*arguments, tmp_path / "result.json")["mismatches"] == 0


def test_processes_in_threads_give_the_same(tmp_path):
    """With streams of their real depths, reads and writes of on-chip memory wait for each other and never for ever."""
    engine = ENGINES[0]
    program, arguments = simulated(engine, roomy(options_of(engine, MANY)), tmp_path, threaded=True)
    assert min(on_chip(program)) > 5
    result = run_testbench(*arguments, tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]


@pytest.mark.parametrize("number", range(len(ENGINES)))
def test_tensors_of_the_same_layers_share_no_word(number):
    """Whatever the host writes or reads, and every shortcut, lies in memory."""
    engine = ENGINES[number]
    artifacts = networks(engine.lanes, engine.widest)
    program = build(artifacts, options_of(engine, FEW), engine.board, with_weights=False)
    assert min(on_chip(program)) > 5
    for index, (begin, end) in enumerate(program.ranges):
        layers = program.layers[begin:end]
        for layer in layers:
            read = layer.chip.read
            words = read.first + np.arange(read.planes * read.plane)
            assert not np.intersect1d(words, layer.chip.own).size
            assert max([0, *words, *layer.chip.own]) < FEW
        stored = {t.name: t.placement for t in program.tensors if t.network == index and t.label == t.name}
        graph = artifacts[index].graph
        assert all(stored[t].place is MapPlace.MEMORY for t in (*graph.inputs, *graph.outputs) if t in stored)
        readable = {t.name for t in readable_tensors(program, index)}
        assert {name for name, place in stored.items() if place.place is MapPlace.MEMORY} <= readable
        assert not {name for name, place in stored.items() if place.place is MapPlace.CHIP} & readable


def test_an_engine_without_them_has_nothing_of_them():
    engine = ENGINES[0]
    artifacts = networks(engine.lanes, engine.widest)
    without, with_them = (
        build(artifacts, options_of(engine, words), BOARD, with_weights=False) for words in (0, MANY)
    )
    assert without.chip_words == 0 and on_chip(without) == (0, 0)
    names = {words: {part.name for part in memory_parts(p, features(p), StepTables(p).tables)} for words, p in ((0, without), (1, with_them))}
    assert {"maps between layers"} <= names[1] - names[0]
    less, more = (estimate(p, BOARD) for p in (without, with_them))
    assert more["ddr_bytes"] < less["ddr_bytes"] and more["cycles"] < less["cycles"]


def test_room_is_taken_again_when_nobody_reads_it():
    first, second, third = (Life(name, at, 10, at, at + 1, 20) for at, name in enumerate("abc"))
    assert [life.start for life in placed([first, second, third], 20)] == [0, 10, 0]
    assert [life.tensor for life in placed([first, second, third], 10)] == ["a", "c"]
    assert placed([replace(first, words=21)], 20) == []


def crowded(found: list[Life], words: int, there=()) -> list[Life]:
    """All tensors at the first word."""
    return [*there, *(replace(life, start=0) for life in found if life.words <= words)]


def test_a_word_that_is_overwritten_too_early_is_refused(monkeypatch, tmp_path):
    """By the program, and where nobody asks that, by the C simulation."""
    engine = ENGINES[1]
    options = options_of(engine, MANY)
    monkeypatch.setattr(chip_plan, "place_on_chip", crowded)
    with pytest.raises(BfpError, match=r"layer \S+ would read word \d+ of on-chip memory before"):
        build(networks(engine.lanes, engine.widest), options, engine.board, with_weights=False)
    monkeypatch.setattr(lowering, "verify_chip_maps", lambda program: None)
    _, arguments = simulated(engine, options, tmp_path)
    with pytest.raises(BfpError, match=r"layer \d+ reads word \d+ of on-chip memory, which holds nothing of its input"):
        run_testbench(*arguments, tmp_path / "result.json")


def test_a_wrong_address_is_refused():
    """Of every layer that reads a map on chip, words behind all maps."""
    engine = ENGINES[4]
    artifacts = networks(engine.lanes, engine.widest)
    program = build(artifacts, options_of(engine, MANY), engine.board, with_weights=False)
    behind = program.chip_words
    program.chip_words *= 2
    verify_chip_maps(program)
    readers = [n for n, x in enumerate(program.layers) if x.fields.input_map.in_place is MapPlace.CHIP]
    assert len(readers) > 5
    for n in readers:
        layer = program.layers[n]
        source = layer.fields.input_map
        moved = replace(layer.fields, input_map=replace(source, in_address=source.in_address + behind))
        program.layers[n] = replace(layer, fields=moved)
        with pytest.raises(BfpError, match=f"layer {layer.name} would read word"):
            verify_chip_maps(program)
        program.layers[n] = layer


def test_the_search_keeps_the_best_of_its_orders():
    found = [Life(f"t{n}", n, int(w), n, n + int(l), int(b)) for n, (w, l, b) in enumerate(
        np.random.default_rng(3).integers((1, 1, 5), (40, 6, 90), (40, 3)))]  # fmt: skip
    best = sum(life.beats for life in chip_maps.place_on_chip(found, 80))
    assert all(best >= sum(life.beats for life in placed(sorted(found, key=o), 80)) for o in chip_maps.ORDERS)
    assert best < sum(life.beats for life in found)
