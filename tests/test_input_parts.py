"""An input wider than the rest lies in parts, or goes as digits: the integers are the same, and the array has as many
products a DSP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.quick_compile import compiled_quickly  # noqa: F401 (a fixture)
import torch
from PIL import Image
from torch import nn

from bfp import golden, layout
from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.format import BlockFormat, dequantise
from bfp.layout import PlacedTensor, Segment
from codegen.lowering.input_parts import Lowered, in_parts
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import load_board
from codegen.simulation.csim import input_mantissas
from host.driver import Accelerator
from host.pixels import PixelWriter
from host.simulated_board import SimulatedBoard
from static_bfp import calibrate, csim, estimate

pytestmark = pytest.mark.usefixtures("compiled_quickly")
BOARD = load_board("ultra96v2")


def images(channels=3):
    return np.random.default_rng(0).normal(size=(8, channels, 12, 12)).astype(np.float32)


def module(channels=3, kernel=3):
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 16, kernel, padding=kernel // 2), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.Conv2d(16, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)).eval()


def calibrated(channels=3, kernel=3, **bfp):
    return calibrate(module(channels, kernel), images(channels), method="max", **{"weights": 5, "activations": 5, "input_bits": 8, **bfp})


def real(artifact, mantissas):
    return {t: dequantise(mantissas[t], artifact.formats[t]) for t in artifact.graph.outputs}


@pytest.mark.parametrize("fmt", [BlockFormat(8, True, (0, 2), (0,)), BlockFormat(8, False, (0, 2), (0,)), BlockFormat(7, True, (0, 2), (0,))])
@pytest.mark.parametrize("bits", range(2, 7))
def test_parts_add_up_and_reach_no_further_than_the_whole(fmt, bits):
    every = np.arange(fmt.low, fmt.high + 1).reshape(1, 1, -1).repeat(2, axis=0)
    parts = layout.to_parts(every, fmt, bits)
    assert len(parts) == 2 * layout.part_count(fmt, bits)
    assert np.array_equal(layout.from_parts(parts, 2), every)
    assert np.array_equal(np.abs(parts).reshape(-1, 2, 1, every.shape[-1]).sum(0), np.abs(every))
    top = BlockFormat(bits, fmt.signed, (0, 1), (0,)).high
    assert np.abs(parts).max() == top


def test_the_network_in_parts_has_the_same_integers():
    artifact = calibrated().record
    x = input_mantissas(artifact, 4, 1)
    lowered = in_parts(Lowered(artifact, {}, {}), 6)
    assert lowered.part_bits and lowered.artifact.graph.shapes[artifact.graph.input][0] == 15
    whole, parts = golden.run(artifact, x), golden.run(lowered.artifact, lowered.as_stored(x, artifact.formats))
    for tensor in whole.keys() - set(artifact.graph.inputs):
        assert np.array_equal(whole[tensor], parts[tensor]), tensor


def test_an_input_of_eight_bits_costs_no_products(tmp_path):
    options = EngineOptions()
    for bits in (5, 8):
        assert build([calibrated(input_bits=bits).record], options, BOARD).array.products == 4
    assert build([calibrated(unsigned=False, activations=8).record], options, BOARD).array.products == 2


def in_digits(program):
    return [layer.name for layer in program.layers if layer.fields.digits.pairs > 1]


@pytest.mark.parametrize(
    "channels, kernel, lanes, bits, layers",
    [(3, 3, 16, None, 1), (1, 3, 16, 6, 0), (1, 5, 32, 6, 0), (2, 1, 8, 7, 1), (3, 1, 16, 6, 0)],
)
def test_the_engine_computes_the_same(channels, kernel, lanes, bits, layers, tmp_path):
    """bits: of the parts that the modelled cycles ask for; layers: which take digits."""
    artifact = calibrated(channels, kernel)
    result = csim(artifact, tmp_path, images(channels)[:2], lanes=lanes)
    assert result["mismatches"] == 0
    lines = tmp_path / "deploy", tmp_path / "csim" / "libengine.so"
    with Accelerator(lines[0], device=SimulatedBoard(lines[1], lines[0])) as accelerator:
        for image in images(channels)[:2]:
            wanted = golden.run(artifact.record, golden.quantise_input(artifact.record, image[None]))
            assert np.array_equal(accelerator.run(image), artifact.record.logits(real(artifact.record, wanted))[0])
            assert np.array_equal(accelerator.tensor("input"), wanted["input"][0])
    program = build([artifact.record], EngineOptions(lanes=lanes), BOARD)
    assert (program.tensors[0].part_bits, len(in_digits(program)), program.array.products) == (bits, layers, 4)
    assert estimate(artifact, lanes=lanes)["frames_per_second"] > 0


def test_where_parts_do_not_pay_the_input_goes_as_digits():
    """A first layer of 20 channels would have seven words to read for two; parts of two exponents would share words."""
    for groups in ({"activation_group": 0, "weight_group": 0}, {"activation_group": 16}):
        program = build([calibrated(channels=20, **groups).record], EngineOptions(), BOARD)
        assert program.array.products == 4 and program.tensors[0].part_bits is None and in_digits(program) == ["0"]


@pytest.mark.parametrize("channels", ["rgb", "bgr", "gray"])
def test_pictures_are_written_in_parts(channels):
    count = 1 if channels == "gray" else 3
    pre = Preprocessing((4, 6), (110.0,) * count, (50.0,) * count, channels=channels)
    fmt = BlockFormat(8, True, (0, count), (-5,))
    tensor = PlacedTensor("input", "(host)", -1, (count, 4, 6), fmt, (Segment(0, count, 2),), 6)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 6) if count == 1 else (4, 6, 3), dtype=np.uint8)
    arena, other = np.full((40, 16), 7, np.uint8), np.full((40, 16), 7, np.uint8)
    PixelWriter(tensor, pre).write(Image.fromarray(pixels), arena)
    colours = pixels[:, :, None] if count == 1 else pixels[:, :, ::-1] if channels == "bgr" else pixels
    wanted = np.clip(np.floor((colours.astype(np.float64) - 110) / 50 * 32 + 0.5), -127, 127).astype(np.int16).transpose(2, 0, 1)
    layout.pack(tensor, wanted, other)
    assert np.array_equal(arena, other) and np.array_equal(layout.unpack(tensor, arena), wanted)


def test_parts_that_are_none_are_refused():
    fmt = BlockFormat(8, True, (0, 3), (0,))
    good = PlacedTensor("input", "(host)", -1, (3, 2, 2), fmt, (Segment(0, 3, 0),), 6)
    layout.check(good, 100, 16)
    for wrong in (replace(good, segments=(Segment(0, 1, 0), Segment(1, 3, 20))), replace(good, format=BlockFormat(6, True, (0, 3), (0,)))):
        with pytest.raises(BfpError, match="lies in parts of"):
            layout.check(wrong, 100, 16)
