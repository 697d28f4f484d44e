"""The model of area: every part has a range and a reason, also around the engine; likely refuses, high warns."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact

from bfp import BfpError
from bfp.artifact_file import load, save
from codegen.__main__ import main
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance import board as boards
from codegen.performance.board import board_names, load_board
from codegen.performance.fitting import check_fit
from codegen.performance.memories import PORTS, Memory, block_memory, block_rams
from codegen.performance.ranges import Area, Part, Range, Resource, Spread
from codegen.performance.resources import area, refuse_what_does_not_fit, warnings
from codegen.performance.surroundings import CONVERTER_LUTS, converters


def built(seed: int = 3, board=BOARD, **options: int) -> Area:
    return area(build([random_artifact(seed, options.get("lanes", 16))], EngineOptions(**options), board), board)


@pytest.mark.parametrize("seed", range(12))
def test_every_part_has_a_range_and_a_reason(seed):
    found = built(seed)
    assert len({(p.name, p.resource) for p in found.parts}) == len(found.parts)
    for part in found.parts:
        assert 0 <= part.range.low <= part.range.likely <= part.range.high and len(part.reason) > 10, part
    for resource in Resource:
        total = found.total(resource)
        assert total.low <= total.likely <= total.high
    assert found.total(Resource.LUT).low < found.total(Resource.LUT).likely < found.total(Resource.LUT).high


def test_ranges_add_up_and_hold_their_figures():
    one, two = Range(1, 2, 4), Range(10, 20, 40)
    assert Range.total([one, two]) == Range(11, 22, 44) and one.times(3) == Range(3, 6, 12)
    assert 1 in one and 4 in one and 0 not in one and 5 not in one
    assert str(one) == "2 (1 to 4)" and str(Range.exactly(7)) == "7"
    assert Spread(0.5, 1.25, "judged").of(10) == Range(5, 10, 13)
    with pytest.raises(BfpError, match="a range from 3 to 4 does not hold its likely figure 2"):
        Range(3, 2, 4)
    with pytest.raises(KeyError):
        Area((Part("array", Resource.DSP, one, "known"),)).of(Resource.LUT, "array")


def test_a_memory_may_take_what_its_depth_rounded_up_takes():
    part = block_memory(Memory("map", 1, 64, 1089))
    assert part.range == Range(3, 3, 4) and 2 * part.range.high == 8  # BRAM18 of a published report
    assert block_memory(Memory("map", 2, 16, 1089)).range == Range(2, 2, 2)
    assert block_memory(Memory("few", 4, 1024, 32)).range == Range(0, 0, 0)
    assert 2 * block_rams(512, 256) == 16 and 2 * block_rams(128, 128) == 4  # queues and ports, as published


@pytest.mark.parametrize("name", board_names())
def test_a_port_as_wide_as_the_boards_needs_no_converter(name):
    board = load_board(name)
    assert converters(board, 16) == (0 if board.processing_system == "zynq_ultra_ps_e" else PORTS)
    assert converters(board, 8) == converters(board, 32) == PORTS  # words of 64 and 256 bits
    wide, narrow = built(board=BOARD).engine(), built(board=BOARD)
    assert len(wide.parts) < len(narrow.parts) and all(not p.around for p in wide.parts)


def test_what_is_around_the_engine_counts():
    """PYNQ-Z2's AXI3 ports take four converters, whatever the engine."""
    boards_of_both = (BOARD, load_board("pynq_z2"))
    here, there = (built(board=b).of(Resource.LUT, "converters of the memory ports") for b in boards_of_both)
    assert here == Range(0, 0, 0) and there == CONVERTER_LUTS.times(4)
    with pytest.raises(BfpError, match="processing_system 'versal_cips' of Ultra96-V2 is not known to the model"):
        built(board=replace(BOARD, processing_system="versal_cips"))


def test_likely_refuses_and_high_warns():
    program = build([random_artifact(3, 16)], EngineOptions(), BOARD)
    lut = area(program, BOARD).total(Resource.LUT)
    enough, tight, little = (replace(BOARD, lut=n) for n in (lut.high, lut.likely, lut.likely - 1))
    assert warnings(area(program, enough), "net", enough) == []
    refuse_what_does_not_fit(program, tight)
    (sentence,) = warnings(area(program, tight), "net", tight)
    assert f"may need up to {lut.high} lut where Ultra96-V2 has {lut.likely} (modelled)" in sentence
    with pytest.raises(BfpError, match=f"needs {lut.likely} lut .modelled., Ultra96-V2 has {lut.likely - 1}"):
        refuse_what_does_not_fit(program, little)
    assert check_fit(random_artifact(3, 16), EngineOptions(), enough) == []
    assert len(check_fit(random_artifact(3, 16), EngineOptions(), replace(tight, dsp=352))) == 1


def test_the_command_line_warns_once_and_goes_on(tmp_path, monkeypatch, capsys):
    text = (boards.FOLDER / "ultra96v2.toml").read_text()
    save(random_artifact(3, 16), tmp_path / "artifact.npz")
    program = build([load(tmp_path / "artifact.npz")], EngineOptions(), BOARD)
    likely = area(program, BOARD).total(Resource.LUT).likely
    (tmp_path / "small.toml").write_text(text.replace("lut = 70560", f"lut = {likely}"))
    monkeypatch.setattr(boards, "FOLDER", tmp_path)
    assert main(["generate", str(tmp_path), "--board", "small"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("warning: the engine for ") and error.count("\n") == 1
    assert main(["estimate", str(tmp_path), "--board", "small"]) == 0
    streams, result = capsys.readouterr(), json.loads((tmp_path / "estimate.json").read_text())
    assert f"warning: {result['warnings'][0]}\n" == streams.err and len(result["warnings"]) == 1
    ends = result["ranges"]["lut"]
    assert ends["likely"] == result["lut"] == likely
    assert f"{likely} ({ends['low']} to {ends['high']}) LUT" in streams.out
    for resource in ("dsp", "bram36", "lut"):
        for end in ("low", "likely", "high"):
            assert result["ranges"][resource][end] == sum(p[end] for p in result["parts"] if p["resource"] == resource)
    assert any(p["around_the_engine"] for p in result["parts"]) and all(p["reason"] for p in result["parts"])
