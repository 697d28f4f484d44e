"""Dilated convolutions whose windows reach too far for all of the input's words: parts of these, for each output word again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.boards import BOARD
from support.quantised import quantised
from support.small_modules import conv
from torch import nn

from bfp import BfpError, golden
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.steps import program_counts
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

torch.manual_seed(0)
DEEP = nn.Sequential(
    conv(3, 42, 1), nn.ReLU(), conv(42, 22, dilation=5, padding=5), nn.ReLU(), conv(22, 9, dilation=(3, 6), padding=(3, 6), stride=2)
)


@pytest.mark.parametrize("words", [100, 250, 520])
def test_parts_are_bit_equal(words, tmp_path):
    artifact, _, images = quantised(DEEP, (3, 11, 13))
    artifact = replace(artifact, digest=f"{words:064x}")
    options = EngineOptions(lanes=4, filters=2, pixels=3, input_words=words, weight_steps=90, tile_blocks=64)
    program, identity = generate([artifact], options, BOARD, tmp_path)
    assert any(layer.fields.loads_in_parts for layer in program.layers)
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    write_golden(tmp_path / "golden.bin", program, identity, [golden.quantise_input(artifact, images.numpy())[:1]])
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]


def test_a_window_of_one_word_must_fit():
    artifact, _, _ = quantised(DEEP, (3, 11, 13))
    with pytest.raises(BfpError, match="layer 2: .*raise the engine option input_words"):
        build([artifact], EngineOptions(lanes=4, filters=2, pixels=3, input_words=30, weight_steps=90, tile_blocks=64), BOARD)
