"""The board is an argument: of tiling, of what is refused, of the manifest; and its file is checked."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact

from bfp.artifact_file import save
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from codegen.__main__ import main
from codegen.lowering.cost import Machine
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance import board as boards
from codegen.performance.board import DEFAULT_BOARD, board_names, load_board
from codegen.performance.estimate import estimate
from codegen.performance.fitting import check_fit, fitting_engine
from codegen.performance.resources import refuse_what_does_not_fit
from codegen.performance.timing import Timing


def test_the_machine_is_the_boards_and_the_timings():
    timing = Timing(memory_latency=50, pipeline_depth=30, loop_overhead=2, step_overhead=20)
    assert Machine.of(BOARD, Timing(), 16) == Machine(0.8, 64, 6, 179)
    assert Machine.of(BOARD, timing, 8) == Machine(1.6, 50, 2, 100)
    kv260 = load_board("kv260")
    assert Machine.of(kv260, Timing(), 16).words_per_cycle == pytest.approx(14.4e9 / 250e6 / 16)


def test_layers_are_cut_for_the_board():
    """On a fast memory other tilings are best than on a slow one, and each board's own are the better ones there."""
    fast, slow = load_board("kv260"), replace(BOARD, memory_gb_s_low=0.7, memory_gb_s=0.8, memory_gb_s_high=0.9)
    options = EngineOptions(input_words=400, weight_steps=64)
    own, others, differ = 0, 0, 0
    for seed in range(20):
        artifact = random_artifact(seed, 16)
        try:
            here, there = (build([artifact], options, board, with_weights=False) for board in (fast, slow))
        except BfpError:  # a layer that these buffers do not hold
            continue
        differ += [x.tiling for x in here.layers] != [x.tiling for x in there.layers]
        own += estimate(here, fast)["cycles"] + estimate(there, slow)["cycles"]
        others += estimate(there, fast)["cycles"] + estimate(here, slow)["cycles"]
    assert differ > 10 and own < others


@pytest.mark.parametrize("word", board_names())
def test_a_board_is_named_by_its_file(word):
    board = load_board(word)
    assert board.word == word and board.processing_system in ("zynq_ultra_ps_e", "processing_system7")
    assert not re.search(r":\d[\d.]*$", board.board_part)  # the version is the installation's
    assert board.memory_ports >= 4 and board.memory_port_bits in (64, 128) and board.multiplier_bits in (25, 27)
    assert board.narrow_multiplier_bits == 18


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("dsp = 360\n", "", "must have exactly the keys .*dsp"),
        ("dsp = 360", 'dsp = "many"', "dsp is 'many'; it must be of type int"),
        ("memory_gb_s = 3.2", "memory_gb_s = 3", "memory_gb_s is 3; it must be of type float"),
        ("memory_gb_s = 3.2", "memory_gb_s = 4.2", "memory_gb_s is 4.2; it must lie between its ends 3.0 and 3.95"),
        ("dsp = 360", "dsp = 360\nvolts = 5", "must have exactly the keys"),
    ],
)
def test_wrong_board_files_are_refused(old, new, sentence, tmp_path, monkeypatch):
    text = (boards.FOLDER / "ultra96v2.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    monkeypatch.setattr(boards, "FOLDER", tmp_path)
    with pytest.raises(BfpError, match=f"board file .*mine.toml.*{sentence}"):
        load_board("mine")


@pytest.mark.parametrize(
    "asked, board",
    [
        (EngineOptions(pixels=16, filters=16), BOARD),
        (EngineOptions(lanes=32, filters=32, pixels=4), BOARD),
        (EngineOptions(), replace(BOARD, bram36=20)),
        (EngineOptions(), load_board("pynq_z2")),
        (EngineOptions(), replace(BOARD, lut=24000)),
    ],
)
def test_a_chip_too_small_is_refused_with_an_engine_that_fits(asked, board):
    artifact = random_artifact(3, asked.lanes)
    refused = rf"needs \d+ \w+ \(modelled\), {board.name} has \d+; lower .*; an engine with"
    with pytest.raises(BfpError, match=refused) as error:
        check_fit(artifact, asked, board)
    sentence = str(error.value)
    found = re.fullmatch(r".*; an engine with (.*) fits \(modelled\)", sentence).group(1)
    words = [word.replace(" = ", "=") for word in found.split(", ")]
    offered = EngineOptions.from_words([*(f"{k}={v}" for k, v in vars(asked).items() if k not in found), *words])
    assert offered == fitting_engine(artifact, asked, board) and "\n" not in sentence and len(sentence) < 300
    refuse_what_does_not_fit(build([artifact], offered, board), board)


def test_the_offered_engine_keeps_the_lanes_where_it_can():
    artifact = random_artifact(3, 16)
    assert fitting_engine(artifact, EngineOptions(pixels=16, filters=16), BOARD).lanes == 16
    fewer = fitting_engine(artifact, EngineOptions(), replace(BOARD, lut=24000))
    assert fewer.lanes < 16


def test_a_chip_that_holds_no_engine_is_refused_as_such():
    with pytest.raises(BfpError, match="has 100; lower .*; but no engine that was tried fits this board"):
        check_fit(random_artifact(3, 16), EngineOptions(), replace(BOARD, lut=100))


def test_too_little_memory_is_not_the_engines_fault():
    with pytest.raises(BfpError, match="has 0 MB in all; use a smaller input or narrower weights$"):
        check_fit(random_artifact(3, 16), EngineOptions(), replace(BOARD, memory_mb=0))


def test_the_command_line_takes_the_board(tmp_path, capsys):
    save(random_artifact(3, 16), tmp_path / "artifact.npz")
    assert main(["generate", str(tmp_path), "--board", "zcu104", "--engine", "pixels=16"]) == 0
    deployment = read_deployment(tmp_path / "deploy")
    assert (deployment.board, deployment.clock_mhz) == ("ZCU104", 250)
    assert main(["generate", str(tmp_path), "--engine", "pixels=16"]) == 2
    assert "Ultra96-V2 has" in capsys.readouterr().err and DEFAULT_BOARD == "ultra96v2"
    assert read_deployment(tmp_path / "deploy").board == "ZCU104"  # nothing was written
    assert main(["estimate", str(tmp_path), "--board", "kv260"]) == 0
    assert json.loads((tmp_path / "estimate.json").read_text())["board"] == "KV260"
    capsys.readouterr()
    for command in ("generate", "csim", "estimate"):
        assert main([command, str(tmp_path), "--board", "zcu99"]) == 2
        assert capsys.readouterr().err == (
            "error: board 'zcu99' is not known; give one of kv260, pynq_z2, ultra96v2, zcu104\n"
        )
