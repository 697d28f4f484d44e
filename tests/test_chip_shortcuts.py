"""Residual maps in on-chip memory for all their readers: the same bits, counted beats, and nothing of it where nothing profits."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.boards import BOARD
from support.chip_shortcuts import keep_all
from support.engines import ENGINES, Engine, engine_options, roomy
from support.quantised import quantised
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.small_modules import Fn, conv

from bfp.artifact import Artifact
from bfp.errors import BfpError
from codegen.features import features
from codegen.generate import generate
from codegen.lowering import chip_maps, program as lowering
from codegen.lowering.chip_check import verify_chip_maps
from codegen.lowering.program import build
from codegen.lowering.schedule import Program
from codegen.lowering.tiling import MOST_SHORTCUT
from codegen.options import EngineOptions
from codegen.performance.resources import area
from codegen.performance.steps import program_counts
from codegen.reuse import kernel_of
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

SEEDS = (302, 304, 307, 308, 312, 317, 324, 326)
WORDS = 4000


@lru_cache(maxsize=None)
def networks(lanes: int, widest: int) -> list[Artifact]:
    return [random_artifact(seed, lanes, widest, several=True) for seed in SEEDS]


def options_of(engine: Engine, words: int = WORDS):
    return replace(engine_options(networks(engine.lanes, engine.widest), engine), chip_words=words)


def layers_that_join(program: Program) -> list[int]:
    """Whose shortcut is on chip."""
    return [n for n, layer in enumerate(program.layers) if layer.joins_chip]


@pytest.fixture
def everything(monkeypatch):
    keep_all(monkeypatch)


def simulated(engine: Engine, options, out: Path, **how) -> tuple[Program, list[Path]]:
    """The program, and the test bench with its arguments but the result's file."""
    artifacts = networks(engine.lanes, engine.widest)
    program, identity = generate(artifacts, options, engine.board, out)
    bench, _ = compile_engine(out / "generated", out / "csim", **{"optimise": ("-O1",), **how})
    write_golden(out / "golden.bin", program, identity, [random_input(a, s) for a, s in zip(artifacts, SEEDS)])
    return program, [bench, out / "deploy" / "weights.bin", out / "golden.bin"]


def check_equal(engine: Engine, out: Path, **how) -> None:
    """In one run, and one layer a call, where each begins with the shortcut of its first pass."""
    program, arguments = simulated(engine, options_of(engine), out, **how)
    assert len(layers_that_join(program)) >= 5
    result = run_testbench(*arguments, out / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["tensors_compared"] == len(program.tensors)
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]
    assert {x.name for x, c in zip(program.layers, predicted) if c["join_chip"]} == {x.name for x in program.layers if x.joins_chip}
    by_layers = subprocess.run([*map(str, arguments), str(out / "by_layers.json"), "layers"], capture_output=True)
    assert by_layers.returncode == 0, by_layers.stderr.decode()


def test_every_tensor_is_equal_and_every_beat_counted(everything, tmp_path):
    check_equal(ENGINES[1], tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("number", [0, 2, 4, 5])
def test_so_they_are_on_other_arrays(number, everything, tmp_path):
    check_equal(ENGINES[number], tmp_path)


@pytest.mark.heavy
def test_no_access_is_beyond_the_memories(everything, tmp_path):
    sanitize = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    check_equal(ENGINES[5], tmp_path, optimise=sanitize)


@pytest.mark.heavy
def test_processes_in_threads_give_the_same(everything, tmp_path):
    """With streams of their real depths: what is stored never waits for a shortcut that is read behind it."""
    check_equal(ENGINES[0], tmp_path, threaded=True)


@pytest.mark.parametrize("number", range(len(ENGINES)))
def test_a_shortcut_comes_a_step_ahead_of_its_pass(number, everything):
    """So that nothing of it is written by the layer just before; a pass has as many beats as wait for it, at most."""
    engine = ENGINES[number]
    program = build(networks(engine.lanes, engine.widest), options_of(engine), engine.board, with_weights=False)
    readers = layers_that_join(program)
    assert readers and 0 < features(program).shortcut_words <= MOST_SHORTCUT
    for n in readers:
        joined = program.layers[n].chip.joined
        words = joined.first + np.arange(joined.planes * joined.plane)
        assert joined.planes and max(words) < program.chip_words
        assert not np.intersect1d(words, program.layers[n].chip.own).size
        before = program.layers[n - 1].chip
        assert not np.intersect1d(words, before.own).size or before.written.home != joined.home
    in_memory = [x.fields.shortcut for x in program.layers if x.fields.shortcut.has_shortcut and not x.joins_chip]
    assert all(shortcut.shortcut_address < program.fmap_words for shortcut in in_memory)


def pool_behind(m, x):
    """A sum whose layer stores only what a pool makes of it."""
    first = F.relu(m[0](x))
    return m[3](F.max_pool2d(F.relu(m[2](F.relu(m[1](first))) + first), 2))


@pytest.mark.parametrize("width", [400, 1200])
def test_where_a_pool_takes_whole_rows_they_come_from_chip_only_if_a_row_may_wait(width, monkeypatch):
    keep_all(monkeypatch, bands=False)
    torch.manual_seed(0)
    layers = (conv(padding=1), conv(4, 4, 1), conv(4, 4, 1), conv(4, 2, 1))
    artifact, _, _ = quantised(Fn(pool_behind, *layers), (3, 4, width))
    program = build([artifact], EngineOptions(chip_words=30_000), BOARD, with_weights=False)
    summed = next(layer for layer in program.layers if layer.name == "l2")
    assert summed.fields.fused_pool.pool
    assert summed.tiling.tile_width == summed.fields.output_map.out_width == width
    assert summed.joins_chip == (width <= MOST_SHORTCUT)


def test_a_wrong_address_is_refused(everything):
    """Of every layer whose shortcut is on chip, words behind all maps."""
    engine = ENGINES[5]
    program = build(networks(engine.lanes, engine.widest), options_of(engine), engine.board, with_weights=False)
    behind = program.chip_words
    program.chip_words *= 2
    verify_chip_maps(program)
    for n in layers_that_join(program):
        layer = program.layers[n]
        shortcut = layer.fields.shortcut
        moved = replace(layer.fields, shortcut=replace(shortcut, shortcut_address=shortcut.shortcut_address + behind))
        program.layers[n] = replace(layer, fields=moved)
        with pytest.raises(BfpError, match=f"layer {layer.name} would read word .* before its shortcut is there"):
            verify_chip_maps(program)
        program.layers[n] = layer


def ready_or_not(monkeypatch) -> None:
    """Shortcuts stay on chip whatever makes them."""
    monkeypatch.setattr(chip_maps, "joins_ahead", lambda job, before, home: job.shortcut.height * job.shortcut.width > 1)


def test_a_shortcut_that_the_step_before_still_writes_is_refused(everything, monkeypatch):
    engine = ENGINES[1]
    ready_or_not(monkeypatch)
    with pytest.raises(BfpError, match="before its shortcut is there"):
        build(networks(engine.lanes, engine.widest), options_of(engine), engine.board, with_weights=False)


@pytest.mark.heavy
def test_so_it_is_by_the_simulation_where_nobody_asks(everything, monkeypatch, tmp_path):
    engine = ENGINES[1]
    ready_or_not(monkeypatch)
    monkeypatch.setattr(lowering, "verify_chip_maps", lambda program: None)
    _, arguments = simulated(engine, options_of(engine), tmp_path)
    with pytest.raises(BfpError, match=r"layer \d+ reads word \d+ of on-chip memory, which holds nothing of its shortcut"):
        run_testbench(*arguments, tmp_path / "result.json")


def test_where_none_stays_nothing_of_it_is_built(monkeypatch):
    """With maps on chip and without: no memory, no logic, no bit of a job."""
    engine = ENGINES[1]
    monkeypatch.setattr(chip_maps, "joins_ahead", lambda job, before, home: False)
    program = build(networks(engine.lanes, engine.widest), options_of(engine), BOARD, with_weights=False)
    assert program.chip_words and not layers_that_join(program)
    assert features(program).shortcut_words == 0
    assert not [part for part in area(program, BOARD).parts if "shortcuts from maps on chip" in part.name]
    assert not sum(counts["join_chip"] for counts in program_counts(program))


@pytest.mark.parametrize(("number", "seed"), [(2, 302), (5, 317)])
def test_a_bitstream_with_them_is_taken_again_for_what_it_was_built_for(number, seed, everything):
    """Though a program without any has other bands, so that its layers are none that the bitstream says anything of."""
    engine = ENGINES[number]
    artifact = random_artifact(seed, engine.lanes, engine.widest, several=True)
    options = replace(engine_options([artifact], engine), chip_words=WORDS)
    program = build([artifact], options, engine.board, with_weights=False)
    kernel = kernel_of(program)
    assert layers_that_join(program) and 0 < sum(layer.aligned for layer in kernel.layers) < len(kernel.layers)
    assert kernel_of(build([artifact], options, engine.board, with_weights=False, built=kernel)) == kernel


@pytest.mark.parametrize("fewer", [True, False])
def test_the_exact_model_has_the_last_word(fewer, everything, monkeypatch):
    """What a shorter one has found stays where the whole program takes fewer cycles, and only there."""
    engine = ENGINES[1]
    monkeypatch.setattr(lowering, "fits", lambda program, board: True)
    monkeypatch.setattr(lowering, "cycles", lambda program, *_: 9 if fewer and layers_that_join(program) else 10)
    program = build(networks(engine.lanes, engine.widest), options_of(engine), engine.board, with_weights=False)
    assert bool(layers_that_join(program)) == fewer
