"""Chains of layers by bands of rows: the same bits whatever is cut, and maps that never leave the chip."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.engines import ENGINES, engine_options, roomy
from support.random_graphs import random_artifact
from support.random_inputs import random_input

from bfp.graph import Window
from codegen.generate import generate
from codegen.lowering import bands, chip_plan
from codegen.lowering.bands import ORDERS, in_turns, rows_of_bands
from codegen.lowering.layer_fields import MapPlace
from codegen.lowering.program import build
from codegen.performance.steps import program_counts
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

SEEDS = range(200, 208)


@pytest.fixture
def everything(monkeypatch):
    """Every chain that fits is computed by bands, by as many as are tried."""
    best = bands.best_chains
    worse = lambda graph, linked, jobs, words, cycles, first: best(graph, linked, jobs, words, lambda x, _: -len(x), first)  # noqa: E731
    monkeypatch.setattr(chip_plan, "best_chains", worse)


def program_of(engine, words, out):
    artifacts = [random_artifact(seed, engine.lanes, engine.widest, several=True) for seed in SEEDS]
    options = replace(roomy(engine_options(artifacts, engine)), chip_words=words)
    return artifacts, *generate(artifacts, options, engine.board, out)


@pytest.mark.parametrize(("number", "threaded"), [(1, False), (5, False), (3, True)])
def test_every_tensor_is_equal_and_every_beat_counted(number, threaded, everything, tmp_path):
    """What is only ever on chip in bands is put together and compared as a whole."""
    engine = ENGINES[number]
    artifacts, program, identity = program_of(engine, 3000, tmp_path)
    of_bands = [layer for layer in program.layers if ".rows" in layer.name]
    assert len(of_bands) > 10
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",), threaded=threaded)
    write_golden(tmp_path / "golden.bin", program, identity, [random_input(a, s) for a, s in zip(artifacts, SEEDS)])
    arguments = [bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin"]
    result = run_testbench(*arguments, tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["tensors_compared"] == len(program.tensors)
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]
    command = [*map(str, arguments), str(tmp_path / "by_layers.json"), "layers"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_maps_between_bands_stay_on_chip_and_work_counts_once(everything):
    engine = ENGINES[0]
    artifacts = [random_artifact(seed, engine.lanes, engine.widest) for seed in SEEDS]
    options = replace(roomy(engine_options(artifacts, engine)), chip_words=5000)
    by_bands, whole = (
        build(artifacts, replace(options, chip_words=words), engine.board, with_weights=False) for words in (5000, 0)
    )
    of_bands = [layer for layer in by_bands.layers if ".rows" in layer.name]
    assert any(x.fields.input_map.in_place is MapPlace.CHIP for x in of_bands)
    assert any(x.fields.stores_to is MapPlace.CHIP for x in of_bands)
    assert sum(x.macs for x in by_bands.layers) == sum(x.macs for x in whole.layers)
    # a node's bands share its weights and its tables
    assert by_bands.weight_words <= whole.weight_words * 1.5
    assert {name: by_bands.rows(name) for name in by_bands.tables} == {name: whole.rows(name) for name in whole.tables}


def layer(kernel: int, stride: int, pad: int) -> SimpleNamespace:
    return SimpleNamespace(node=SimpleNamespace(window=Window((kernel, 1), (stride, 1), (pad, 0))))


@pytest.mark.parametrize("kernel, stride, pad", [(3, 1, 1), (3, 2, 1), (5, 2, 2), (1, 2, 0), (2, 3, 0), (7, 1, 3)])
@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_each_band_has_the_rows_that_its_windows_read(kernel, stride, pad, count):
    height = 21
    out = (height + 2 * pad - kernel) // stride + 1
    before, own = rows_of_bands([layer(1, 1, 0), layer(kernel, stride, pad)], [height, out], count)
    assert [row for a, b in own for row in range(a, b)] == list(range(out))
    assert {row for a, b in before for row in range(a, b)} == set(range(height))
    for (first, stop), (a, b) in zip(before, own):
        read = {y * stride - pad + k for y in range(a, b) for k in range(kernel)} & set(range(height))
        assert read <= set(range(first, stop))


@pytest.mark.parametrize("order", [order for orders in ORDERS.values() for order in orders])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_no_layer_reads_what_the_one_before_it_makes(order, count):
    """So that its first tile may load while that one is computed; but for the last two bands."""
    turns = in_turns(order, count)
    assert sorted(turns) == [(n, band) for n in range(len(order)) for band in range(count)]
    for n, band in turns:
        if n:
            apart = turns.index((n, band)) - turns.index((n - 1, band))
            assert apart > 1 or (apart == 1 and band >= count - 2)
