"""The model: its counts are checked against C simulation in test_random_graphs; here what is made of them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact

from bfp import BfpError
from bfp.artifact_file import save
from bfp.graph import Window
from codegen.__main__ import main
from codegen.lowering.array import build_array, longest_chain
from codegen.performance.board import FOLDER, load_board
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.layer_fields import InputPooling
from codegen.performance.estimate import estimate, steps
from codegen.features import features
from codegen.options import EngineOptions
from codegen.lowering.program import build
from codegen.identity import HLS
from codegen.render import render
from codegen.performance.logic import added_in_turn, shifter
from codegen.performance.memories import block_rams
from codegen.performance.ranges import Resource
from codegen.performance.resources import area, refuse_what_does_not_fit
from codegen.lowering.tiling import Cutter, LayerShape
from codegen.performance.timing import TIMINGS, Timing, Timings


def test_estimate_adds_up():
    program = build([random_artifact(3, 16)], EngineOptions(), BOARD)
    result = estimate(program, BOARD)
    assert result["modelled"] is True
    assert result["cycles"] == sum(layer["cycles"] for layer in result["layers"]) > 0
    assert result["ddr_bytes"] == sum(layer["ddr_bytes"] for layer in result["layers"])
    assert result["frames_per_second"] == pytest.approx(250e6 / result["cycles"], abs=0.01)
    assert len(result["layers"]) == len(program.layers)
    for layer in result["layers"]:
        assert layer["bound"] in ("compute", "weights", "feature maps")
        assert layer["cycles"] >= layer["macs"] / result["array"]["macs_per_cycle"]
    # the first tile and weights of a layer may have come while the one before was computed
    assert result["cycles"] >= max(result["least_cycles_memory"], result["least_cycles_array"])
    assert result["least_cycles_memory"] == pytest.approx(result["ddr_bytes"] / BOARD.bytes_per_cycle, abs=1)
    in_steps = sum(step.memory for step in steps(program, BOARD, Timing()))
    assert in_steps >= result["least_cycles_memory"]


def test_no_layer_is_faster_than_memory_or_array_on_a_slow_board():
    program = build([random_artifact(3, 16)], EngineOptions(), BOARD)
    fast, slow = (estimate(program, load_board(b)) for b in ("zcu104", "pynq_z2"))
    assert slow["frames_per_second"] < fast["frames_per_second"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_boards_are_complete(path):
    board = load_board(path.stem)
    assert board.dsp > 0 and board.bram36 > 0 and board.lut > 0 and 0 < board.memory_gb_s < 100
    assert 50 <= board.clock_mhz <= 400 and board.part.startswith("xc")


def test_unknown_board_lists_the_known():
    with pytest.raises(BfpError, match="'ultra97' is not known; give one of kv260, pynq_z2, ultra96v2, zcu104"):
        load_board("ultra97")


@pytest.mark.parametrize(
    ("options", "what", "advice"),
    [
        (EngineOptions(pixels=16, filters=16), "dsp", "lower the engine options pixels or filters"),
        (EngineOptions(lanes=32, filters=32, pixels=1, products=1), "dsp", "pixels or filters"),
    ],
)
def test_an_engine_too_large_is_refused_with_what_to_change(options, what, advice):
    program = build([random_artifact(3, options.lanes)], options, BOARD)
    with pytest.raises(BfpError, match=rf"needs \d+ {what} \(modelled\), Ultra96-V2 has \d+; .*{advice}"):
        refuse_what_does_not_fit(program, BOARD)


def test_array_follows_the_widths():
    options = EngineOptions()
    eight = build_array(options, 127, 127, 27, 18)
    assert (eight.products, eight.chain, eight.macs) == (2, 8, 640)
    assert build_array(options, 127, 255, 27, 18).chain == 4  # unsigned activations take a bit more of the lane
    five = build_array(options, 15, 15, 27, 18)
    assert (five.products, five.chain, five.macs) == (4, 4, 1280)
    assert build_array(options, 15, 31, 27, 18).chain == 2
    assert build_array(options, 15, 63, 27, 18).products == 2  # four would have to be split after every product
    assert build_array(EngineOptions(products=4), 15, 63, 27, 18).chain == 1
    with pytest.raises(BfpError, match="allow 2 per DSP"):
        build_array(EngineOptions(products=4), 127, 127, 27, 18)
    for limit, weight, activation in ((2**17, 127, 127), (2**10, 15, 15), (2**17, 127, 255)):
        chain = longest_chain(16, limit, weight, activation)
        assert chain * weight * activation < limit <= 2 * chain * weight * activation


def test_array_follows_the_multiplier():
    """With 25 bits two weights of more than 7 bits do not lie beside each other, nor four of more than 3."""
    options = EngineOptions()
    assert [build_array(options, weight, 15, 25, 18).products for weight in (3, 7, 63, 127)] == [4, 2, 2, 1]
    assert [build_array(options, weight, 15, 27, 18).products for weight in (3, 7, 15, 31, 127)] == [4, 4, 4, 2, 2]
    with pytest.raises(BfpError, match="allow 1 per DSP"):
        board = load_board("pynq_z2")
        build_array(EngineOptions(products=2), 127, 127, board.multiplier_bits, board.narrow_multiplier_bits)


def test_two_activations_beside_each_other_fit_the_narrow_operand():
    """Weights so narrow that chains of four products would do, with activations of 63 and more: 18 bits hold no more."""
    options = EngineOptions()
    assert [build_array(options, 3, activation, 27, 18).products for activation in (63, 64, 127)] == [4, 2, 2]
    assert build_array(options, 3, 64, 27, 19).products == 4
    assert 63 * 2049 < 2**17 <= 64 * 2049
    with pytest.raises(BfpError, match="products is 4; .* 3 .weights. and 64 .activations. allow 2 per DSP"):
        build_array(EngineOptions(products=4), 3, 64, 27, 18)


def test_latency_is_what_the_interface_pragmas_state():
    stated = re.findall(r"mode=m_axi .*?\blatency=(\d+)", (HLS / "engine.cpp").read_text())
    assert len(stated) == 4 and {int(cycles) for cycles in stated} == {Timing().memory_latency}


def test_block_ram_shapes():
    assert block_rams(72, 512) == 1 and block_rams(128, 512) == 2 and block_rams(128, 1024) == 4
    assert block_rams(128, 2048) == 8 and block_rams(1024, 32) == 0
    built = area(build([random_artifact(3, 16)], EngineOptions(), BOARD), BOARD)
    for resource in Resource:
        mine = [part.range for part in built.parts if part.resource is resource]
        for end in ("low", "likely", "high"):
            assert getattr(built.total(resource), end) == sum(getattr(r, end) for r in mine) > 0
    assert built.of(Resource.DSP, "array").likely == 320


def test_logic_is_counted_by_widths():
    assert [added_in_turn(n, 11) for n in (1, 2, 3, 8)] == [0, 12, 25, 12 + 2 * 13 + 4 * 14]
    # a level of 4:1 multiplexers moves by up to three, the next by up to twelve more
    assert [shifter(14, n) for n in range(5)] == [0, 8, 17, 17 + 11, 17 + 29]


def test_what_a_network_does_not_have_is_not_built():
    """Fewer operators, fewer LUTs and memories; and the kernel's constants say the same."""
    programs = [build([random_artifact(seed, 16)], EngineOptions(), BOARD) for seed in range(24)]
    for program in programs:
        use, built = features(program), area(program, BOARD)
        parts = {part.name for part in built.parts}
        operators = {layer.fields.op for layer in program.layers}
        assert use.operators == operators
        by_channel = {EngineOperator.DEPTHWISE, EngineOperator.INTERPOLATE}
        assert ("depthwise multipliers" in parts) == bool(by_channel & operators)
        on_load = any(layer.fields.input_pool.in_pool is InputPooling.MEAN for layer in program.layers)
        in_epilogue = bool(operators & {EngineOperator.AVG_POOL, EngineOperator.INTERPOLATE})
        assert (built.of(Resource.DSP, "means").likely > 0) == (on_load or in_epilogue) and not (on_load and in_epilogue)
        assert ("pooling of inputs" in parts) == any(layer.input_pool for layer in program.layers)
        config = render(program, "test")[0]["config.hpp"]
        for op in (*by_channel, EngineOperator.MAX_POOL, EngineOperator.AVG_POOL, EngineOperator.ADD):
            assert f"constexpr bool HAS_{op.name} = {str(op in operators).lower()};" in config
    assert len({features(program).operators for program in programs}) > 2
    assert {features(program).pool_pixels for program in programs} >= {1, 5}


def test_command_line_writes_numbers_and_a_picture(tmp_path, capsys):
    artifact = random_artifact(3, 16)
    save(artifact, tmp_path / "artifact.npz")
    assert main(["estimate", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "estimate.json").read_text())
    for key in ("cycles", "frames_per_second", "mac_efficiency", "dsp", "bram36", "lut", "ddr_bytes", "layers"):
        assert key in result
    assert "modelled" in capsys.readouterr().out
    picture = ElementTree.parse(tmp_path / "roofline.svg").getroot()
    assert "modelled" in "".join(picture.itertext())
    circles = [e for e in picture.iter() if e.tag.endswith("circle") and len(e)]
    assert len(circles) == sum(1 for layer in result["layers"] if layer["macs"])


def test_partial_sums_that_do_not_fit_are_refused_by_name():
    options = EngineOptions(lanes=4, pixels=1, weight_steps=9, tile_blocks=2)
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    layer = LayerShape(
        "layer9", EngineOperator.CONV, 64, 16, 2, 8, 20, window, in_bits=8, out_bits=5, weight_bits=8
    )
    cutter = Cutter(layer, options, build_array(options, 15, 15, 27, 18))
    with pytest.raises(BfpError, match=r"layer9: its weights come in 16 chunks, and 8 partial .* tile_blocks \(2\)"):
        cutter.candidates()


def test_cycles_and_frames_have_ranges():
    """Their ends are those of the machine at its best and at its worst, memory included."""
    program = build([random_artifact(3, 16)], EngineOptions(), BOARD)
    result = estimate(program, BOARD)
    cycles, frames = (result["ranges"][name] for name in ("cycles", "frames_per_second"))
    fast = replace(BOARD, memory_gb_s=BOARD.memory_gb_s_high)
    slow = replace(BOARD, memory_gb_s=BOARD.memory_gb_s_low)
    for end, at, timing in (("low", fast, TIMINGS.fast), ("likely", BOARD, Timing()), ("high", slow, TIMINGS.slow)):
        assert cycles[end] == sum(step.cycles for step in steps(program, at, timing))
    assert cycles["low"] < cycles["likely"] == result["cycles"] < cycles["high"]
    assert frames["low"] < frames["likely"] == result["frames_per_second"] < frames["high"]
    assert frames["low"] == pytest.approx(250e6 / cycles["high"], abs=0.01)
    certain = estimate(program, replace(BOARD, memory_gb_s_low=3.2, memory_gb_s_high=3.2), Timings(*3 * [Timing()]))
    assert len(set(certain["ranges"]["cycles"].values())) == 1


def test_overheads_are_in_order_and_as_documented():
    for field in fields(Timing):
        low, likely, high = (getattr(timing, field.name) for timing in TIMINGS)
        assert 0 < low <= likely <= high, field.name
    drained = TIMINGS.likely.memory_latency + TIMINGS.likely.pipeline_depth
    assert [drained + timing.step_overhead for timing in TIMINGS] == [164, 179, 194]
