"""Depthwise convolution on more pixel lanes than the array has: the same integers in fewer cycles, for more logic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.boards import BOARD
from support.engines import ENGINES, engine_options
from support.random_graphs import random_artifact
from support.random_inputs import random_input

from bfp.errors import BfpError
from codegen.features import features
from codegen.generate import generate
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.program import build
from codegen.lowering.step_tables import StepTables
from codegen.options import EngineOptions
from codegen.performance.control import control_parts
from codegen.performance.estimate import estimate
from codegen.performance.logic import logic_parts
from codegen.performance.steps import program_counts
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

SEEDS = range(400, 408)


def networks(engine):
    return [random_artifact(seed, engine.lanes, engine.widest, several=True) for seed in SEEDS]


@pytest.mark.parametrize(("number", "pixels", "threaded"), [(0, 9, False), (0, 3, False), (1, 5, False), (4, 6, True)])
def test_random_graphs_are_bit_equal_and_every_cycle_counted(number, pixels, threaded, tmp_path):
    """More lanes than others have, and fewer; with maps on chip, too."""
    engine = ENGINES[number]
    artifacts = networks(engine)
    options = replace(engine_options(artifacts, engine), depthwise_pixels=pixels, chip_words=1000)
    program, identity = generate(artifacts, options, engine.board, tmp_path)
    depthwise = [x.fields for x in program.layers if x.fields.op is EngineOperator.DEPTHWISE]
    assert pixels != program.array.pixels and any(f.buffer.block_pixels == pixels for f in depthwise)
    assert not any(f.buffer.block_pixels > program.array.pixels for f in (x.fields for x in program.layers) if f.op is EngineOperator.CONV)
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",), threaded=threaded)
    write_golden(tmp_path / "golden.bin", program, identity, [random_input(a, s) for a, s in zip(artifacts, SEEDS)])
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]


def test_more_lanes_take_fewer_cycles_and_more_logic():
    engine = ENGINES[0]
    artifacts = networks(engine)
    options = engine_options(artifacts, engine)
    programs = [build(artifacts, replace(options, depthwise_pixels=n), engine.board, with_weights=False) for n in (0, 5, 9)]
    assert [p.array.depthwise_pixels for p in programs] == [5, 5, 9]
    same, own, more = (estimate(p, engine.board) for p in programs)
    assert same == own and more["cycles"] < own["cycles"] and more["lut"] > own["lut"]
    assert more["dsp"] == own["dsp"] and more["ranges"]["bram36"] == own["ranges"]["bram36"]
    parts = [{x.name: x.range for x in (*logic_parts(p, features(p)), *control_parts(p, features(p), StepTables(p).tables))} for p in programs]
    grown = {name for name, found in parts[2].items() if found.likely > parts[1][name].likely}
    assert grown >= {"depthwise multipliers", "depthwise accumulators", "bank crossbar", "pixels of window walks"}


def test_a_bank_has_two_ports():
    artifacts = networks(ENGINES[0])
    with pytest.raises(BfpError, match=r"depthwise_pixels is 11; the input buffer has 5 banks with 2 ports, so that 10 is the most"):
        build(artifacts, EngineOptions(depthwise_pixels=11), BOARD, with_weights=False)
