"""Engines that cannot be, and command lines that cannot be meant, are refused with what to change."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.boards import BOARD
from support.one_layer import QUICKLY, SMALL

from bfp import BfpError
from bfp.artifact import Artifact, Preprocessing
from bfp.artifact_file import load, save
from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from bfp.parameters import Weights, derive
from bfp.samples import Samples, save_samples
from codegen.simulation import csim
from codegen.__main__ import main as codegen
from codegen.simulation.csim import compile_engine, input_mantissas
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.performance.board import load_board


def convolution(
    channels: int = 8, kernel: int = 3, splits=None, exponents=None, size: int = 6, name: str = "features.conv1"
) -> Artifact:
    """One convolution, 8-bit, to as many channels; ``splits`` and ``exponents`` are those of its input."""
    source = BlockFormat(8, True, splits or (0, channels), exponents or (-6,))
    target = BlockFormat(8, True, (0, channels), (0,))
    rng = np.random.default_rng(0)
    mantissas = rng.integers(-127, 128, (channels, channels, kernel, kernel)).astype(np.int8)
    weights = Weights(8, mantissas, (0, channels), np.full((channels, 1), -7))
    out = size - kernel + 1
    node = Node(name, "conv", ("input",), "output", Window((kernel, kernel)), "relu", source=(name,))
    graph = Graph("one", ("input",), ("output",), (node,), {"input": (channels, size, size), "output": (channels, out, out)})
    p = derive(node, source, target, None, weights, rng.normal(size=channels))
    pre = Preprocessing((size, size), (0.0,) * channels, (1.0,) * channels)
    return Artifact.of_one(graph, {"input": source, "output": target}, {name: p}, pre, digest="5" * 64)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lane": 16}, "'lane' is unknown; did you mean lanes"),
        ({"input_word": 16}, "'input_word' is unknown; did you mean input_words"),
        ({"zzz": 1}, "'zzz' is unknown; known are lanes"),
        ({"lanes": 12, "filters": 4}, "lanes is 12; give a power of two"),
        ({"lanes": 128}, "lanes is 128; give a whole number from 2 to 64"),
        ({"lanes": 1}, "lanes is 1; give a whole number from 2 to 64"),
        ({"pixels": 0}, "pixels is 0; give a whole number from 1 to 16"),
        ({"lanes": 16.0}, "lanes is 16.0; give a whole number"),
        ({"pixels": True}, "pixels is True; give a whole number"),
        ({"weight_steps": -1}, "weight_steps is -1; give a whole number"),
        ({"lanes": 8, "filters": 3}, "filters is 3; give a divisor of lanes (8)"),
        ({"products": 3}, "products is 3"),
    ],
)
def test_wrong_engine_options_are_refused(options, message):
    with pytest.raises(BfpError) as error:
        EngineOptions.from_dict(options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_window_that_does_not_fit_is_refused_with_layer_and_option(tmp_path):
    artifact = convolution(channels=64, kernel=5, size=7)
    options = replace(SMALL, input_words=16)
    with pytest.raises(BfpError, match="layer features.conv1: .*; raise the engine option input_words"):
        generate([artifact], options, BOARD, tmp_path)
    options = replace(SMALL, weight_steps=24)
    with pytest.raises(BfpError, match="layer features.conv1: its 5x5 kernel .*; raise the engine option weight_steps"):
        generate([artifact], options, BOARD, tmp_path)
    assert not (tmp_path / "generated").exists() and not (tmp_path / "deploy").exists()
    generate([artifact], replace(SMALL, weight_steps=25), BOARD, tmp_path)


def test_groups_inside_a_memory_word_are_refused(tmp_path):
    """Groups that end inside a word cannot be aligned by words; whole words can, and equal exponents need nothing."""
    unequal = convolution(splits=(0, 3, 8), exponents=(-6, -5))
    with pytest.raises(BfpError) as error:
        generate([unequal], SMALL, BOARD, tmp_path)
    message = str(error.value)
    assert "layer features.conv1" in message and "memory word of 4 channels" in message
    assert "make weight_group and activation_group multiples of the engine's lanes" in message
    generate([convolution(splits=(0, 4, 8), exponents=(-6, -5))], SMALL, BOARD, tmp_path / "whole")
    generate([convolution(splits=(0, 3, 8), exponents=(-6, -6))], SMALL, BOARD, tmp_path / "equal")


def test_more_products_than_the_widths_allow_are_refused(tmp_path):
    """Of a chip with narrow multipliers: 25 bits do not hold two digits with two fields between them."""
    with pytest.raises(BfpError, match="engine option products is 4; .* allow 1 per DSP"):
        generate([convolution()], replace(SMALL, products=4), load_board("pynq_z2"), tmp_path)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--engine", "lanes"], "engine option 'lanes' is not NAME=NUMBER"),
        (["--engine", "lanes=many"], "engine option 'lanes=many' is not NAME=NUMBER"),
        (["--engine", "lane=4"], "did you mean lanes"),
    ],
)
def test_command_line_refuses_wrong_options(words, message, tmp_path, capsys):
    assert codegen(["generate", str(tmp_path), *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_command_line_refuses_a_folder_without_an_artifact(tmp_path, capsys):
    for command in ("generate", "csim"):
        assert codegen([command, str(tmp_path)]) == 2
        err = capsys.readouterr().err
        assert "does not exist; run `doit calibrate` first" in err and err.count("\n") == 1


def test_command_line_simulates_and_fails_where_something_differs(tmp_path, monkeypatch):
    artifact = save(replace(convolution(), digest=""), tmp_path / "artifact.npz")
    images = np.random.default_rng(1).normal(size=(2, 8, 6, 6)).astype(np.float32)
    save_samples(Samples(images, np.full(2, -1), ("a", "b"), np.zeros((2, 1))), tmp_path / "samples.npz")
    words = ["csim", str(tmp_path), "--engine", "lanes=4", "filters=2", "pixels=2"]
    monkeypatch.setattr(csim, "compile_engine", partial(compile_engine, optimise=QUICKLY))
    assert codegen(words) == 0
    result = json.loads((tmp_path / "csim.json").read_text())
    assert result["images"] == 2 and result["layers_compared"] == 1 and result["mismatches"] == 0
    assert result["values_compared"] == 2 * (8 * 36 + 8 * 16) and result["macs"] == 2 * 8 * 8 * 9 * 16
    assert load(tmp_path / "artifact.npz").digest == artifact.digest
    honest = csim.run

    def differs(artifact, mantissas):
        values = honest(artifact, mantissas)
        values["output"] = values["output"].copy()
        values["output"][0, 5, 2, 3] ^= 1
        return values

    monkeypatch.setattr(csim, "run", differs)
    assert codegen(words) == 1
    result = json.loads((tmp_path / "csim.json").read_text())
    assert result["mismatches"] == 2
    for word in ("image 0", "layer features.conv1", "tensor output", "channel 5", "row 2", "column 3"):
        assert word in result["first_mismatch"]


def test_input_mantissas_cover_the_range():
    artifact = convolution()
    x = input_mantissas(artifact, 3, 0)
    assert x.shape == (3, 8, 6, 6) and x.min() == -127 and x.max() == 127
    assert np.array_equal(x, input_mantissas(artifact, 3, 0)) and not np.array_equal(x, input_mantissas(artifact, 3, 1))
