"""Pixels of an input side by side in a word: the same integers, in fewer words, for convolutions whose strides allow it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.boards import BOARD
from support.engines import ENGINES, engine_options
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.quick_compile import compiled_quickly  # noqa: F401 (a fixture)
from torch import nn

from bfp import golden, layout
from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.layout import PlacedTensor, Segment
from bfp.window import Window
from codegen.generate import generate
from codegen.lowering.input_fold import Axis, folded, folds
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine, input_mantissas, run_testbench, write_golden
from host.check import check
from host.driver import Accelerator
from host.pixels import PixelWriter
from host.simulated_board import SimulatedBoard
from static_bfp import calibrate, csim

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SIZE = (20, 12)  # of the images below


def images(channels=3):
    return np.random.default_rng(0).normal(size=(8, channels, *SIZE)).astype(np.float32)


def calibrated(channels=3, kernel=3, stride=2, padding=1, **bfp):
    torch.manual_seed(0)
    first = nn.Conv2d(channels, 16, kernel, stride, padding)
    module = nn.Sequential(first, nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    return calibrate(module.eval(), images(channels), method="max", **bfp)


@pytest.mark.parametrize("fold", [(1, 2), (2, 1), (2, 2), (4, 3), (1, 1)])
def test_blocks_are_rows_of_pixels_with_all_their_channels(fold):
    pixels = np.arange(2 * 3 * 8 * 6).reshape(2, 3, 8, 6)
    blocks = layout.to_blocks(pixels, fold)
    for y in range(fold[0]):
        for x in range(fold[1]):
            at = (y * fold[1] + x) * 3
            assert np.array_equal(blocks[:, at : at + 3], pixels[:, :, y :: fold[0], x :: fold[1]])
    assert np.array_equal(layout.from_blocks(blocks, fold), pixels)


@pytest.mark.parametrize("kernel, stride, padding", [(3, 2, 1), (3, 2, 0), (7, 2, 3), (1, 2, 0), (4, 4, 0), (5, 4, 2), (2, 2, 1), (3, 4, 1)])
def test_the_folded_network_has_the_same_integers(kernel, stride, padding):
    artifact = calibrated(1, kernel, stride, padding).record
    found = folds([artifact], 16)
    assert len(found) == {2: 3, 4: 8}[stride]
    x = input_mantissas(artifact, 2, 1)
    whole = golden.run(artifact, x)
    for fold in found:
        lowered = folded(artifact, fold, 16)
        assert lowered.folds == {"input": fold}
        graph = lowered.artifact.graph
        node = graph.consumers("input")[0]
        assert node.window.output_size(*graph.shapes["input"][1:]) == artifact.graph.shapes[node.output][1:]
        blocks = golden.run(lowered.artifact, lowered.as_stored(x, artifact.formats))
        for tensor in whole.keys() - {"input"}:
            assert np.array_equal(whole[tensor], blocks[tensor]), (fold, tensor)


def test_what_is_no_whole_block_stays_as_it_is():
    assert folds([calibrated().record], 16) == [(1, 2), (2, 1), (2, 2)]
    assert folds([calibrated().record], 8) == [(1, 2), (2, 1)]  # twelve channels are more than a word
    assert folds([calibrated(stride=1).record], 16) == []
    assert folds([calibrated(stride=3).record], 16) == [(1, 3)]  # 20 rows are no threes
    assert folds([calibrated(8, activation_group=4, weight_group=4).record], 16) == []  # several exponents in a word


def test_an_axis_is_covered_by_its_blocks():
    """Every tap of every window stands at its pixel's place in a block."""
    for kernel, stride, pad, fold in ((3, 2, 1, 2), (7, 4, 3, 2), (5, 6, 2, 3), (1, 2, 0, 2), (2, 4, 1, 4)):
        out = (24 + 2 * pad - kernel) // stride + 1
        axis = Axis.of(Window((kernel, 1), (stride, 1), (pad, 0, pad, 0)), 0, 24, out, fold)
        for n in range(out):
            wanted = [n * stride - pad + k for k in range(kernel)]
            first = (n * axis.stride - axis.pad) * fold + axis.before
            assert [first + k for k in range(kernel)] == wanted
            assert axis.before + kernel <= axis.kernel * fold


@pytest.mark.parametrize(
    "channels, kernel, stride, bfp, lanes",
    [(3, 7, 2, {}, 16), (3, 3, 2, {"weights": 5, "activations": 5, "input_bits": 8}, 32),
     (1, 3, 2, {"weights": 4, "activations": 4}, 4), (3, 3, 2, {"weights": 6, "activations": 7}, 8)],
)  # fmt: skip
def test_the_engine_computes_the_same(channels, kernel, stride, bfp, lanes, tmp_path):
    artifact = calibrated(channels, kernel, stride, kernel // 2, **bfp)
    result = csim(artifact, tmp_path, images(channels)[:2], lanes=lanes, fold_input=1)
    assert result["mismatches"] == 0
    deploy = tmp_path / "deploy"
    with Accelerator(deploy, device=SimulatedBoard(tmp_path / "csim" / "libengine.so", deploy)) as accelerator:
        assert accelerator.deployment.tensor("input").fold != (1, 1)
        for by_layer in (False, True):
            result = check(accelerator, artifact.record, images(channels)[:2], by_layer=by_layer)
            assert result["mismatches"] == 0 and result["tensors_compared"] > 4


def test_it_takes_fewer_cycles_and_no_more_work_and_is_asked_for():
    artifact = calibrated().record
    without, with_it = (build([artifact], EngineOptions(fold_input=n), BOARD) for n in (0, 1))
    assert without.tensors[0].fold == (1, 1) != with_it.tensors[0].fold
    assert sum(x.macs for x in without.layers) == sum(x.macs for x in with_it.layers)
    assert with_it.tensors[0].placement.words < without.tensors[0].placement.words
    plain = calibrated(stride=1).record
    assert build([plain], EngineOptions(fold_input=1), BOARD).tensors[0].fold == (1, 1)


@pytest.mark.parametrize("number", [0, 2])
def test_random_graphs_are_bit_equal(number, tmp_path):
    """By bands and with maps on chip, too."""
    engine, seeds = ENGINES[number], (311, 328, 372, 391)  # whose inputs can be folded
    artifacts = [random_artifact(seed, engine.lanes, engine.widest, several=True) for seed in seeds]
    options = replace(engine_options(artifacts, engine), fold_input=1, chip_words=2000)
    program, identity = generate(artifacts, options, engine.board, tmp_path)
    assert sum(t.fold != (1, 1) for t in program.tensors) > 1
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    write_golden(tmp_path / "golden.bin", program, identity, [random_input(a, s) for a, s in zip(artifacts, seeds)])
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]


@pytest.mark.parametrize("fold", [(1, 2), (2, 2), (2, 3)])
@pytest.mark.parametrize("channels", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("bits, parts", [(8, None), (8, 6), (6, None)])
def test_pictures_are_written_folded(fold, channels, bits, parts):
    count = 1 if channels == "gray" else 3
    pre = Preprocessing((4, 6), (110.0,) * count, (50.0,) * count, channels=channels)
    fmt = BlockFormat(bits, True, (0, count), (3 - bits,))
    tensor = PlacedTensor("input", "(host)", -1, (count, 4, 6), fmt, (Segment(0, count, 2),), parts, fold)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6) if count == 1 else (4, 6, 3), dtype=np.uint8)
    arena, other = np.full((60, 16), 7, np.uint8), np.full((60, 16), 7, np.uint8)
    PixelWriter(tensor, pre).write(Image.fromarray(pixels), arena)
    colours = pixels[:, :, None] if count == 1 else pixels[:, :, ::-1] if channels == "bgr" else pixels
    scaled = (colours.astype(np.float64) - 110) / 50 * 2.0 ** (bits - 3)
    wanted = np.clip(np.floor(scaled + 0.5), fmt.low, fmt.high).astype(np.int16).transpose(2, 0, 1)
    layout.pack(tensor, wanted, other)
    assert np.array_equal(arena, other) and np.array_equal(layout.unpack(tensor, arena), wanted)


def test_blocks_that_are_none_are_refused():
    fmt = BlockFormat(8, True, (0, 3), (0,))
    good = PlacedTensor("input", "(host)", -1, (3, 4, 6), fmt, (Segment(0, 3, 0),), None, (2, 2))
    layout.check(good, 100, 16)
    for wrong in (replace(good, fold=(3, 2)), replace(good, segments=(Segment(0, 1, 0), Segment(1, 3, 20)))):
        with pytest.raises(BfpError, match="is folded into blocks of"):
            layout.check(wrong, 100, 16)
