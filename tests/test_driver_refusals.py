"""What the driver does not take: files, registers and images that do not fit, and engines that never finish."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import toy_board as toy
from support.boards import BOARD
from support.driven import board, deploy, library, random_mantissas

from bfp.artifact import ARRAY, NetworkInput, Preprocessing
from bfp.deployment import add_files, read_deployment
from bfp.errors import BfpError
from bfp.format import quantise
from host import hwh
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard


def test_closing_frees_the_buffers_once_and_for_all(board, deploy):
    accelerator = Accelerator(deploy, device=board)
    assert len(board._memories) == 3  # weights, arena, guard
    accelerator.close()
    accelerator.close()
    assert not board._memories
    for use in (lambda: accelerator.run_mantissas(random_mantissas()), lambda: accelerator.tensor("last")):
        with pytest.raises(BfpError, match="is closed"):
            use()


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((3, 3, 2), np.float32), "takes an image of 3x2x3 .* not 3x3x2"),
        (np.zeros((1, 3, 2, 3), np.float32), "not 1x3x2x3"),
        (np.array(1.0, np.float32), "not a number"),
        (1.0, "takes a path, a PIL picture or an array, not float"),
        (np.full((3, 2, 3), np.nan), "not finite"),
        (np.full((3, 2, 3), "x"), "an image of <U1: pixels are uint8"),
        (np.zeros((3, 2, 3), bool), "an image of bool: pixels are uint8"),
        (np.zeros((3, 2, 3), complex), "an image of complex128: pixels are uint8"),
        (np.full((3, 2, 3), 7), "an image of int64: pixels are uint8 .H, W, C., .* pass mantissas to run_mantissas"),
        (np.zeros((3, 2, 3), np.uint8), "takes pixels as uint8 .height, width, 3., not 3x2x3; put the channels last"),
        (np.zeros((2, 3), np.uint8), "not 2x3; put the channels last"),
        (np.zeros((0, 3, 3), np.uint8), "not 0x3x3"),
        (Path("none.png"), "none.png does not exist"),
    ],
)
def test_wrong_images_are_refused(board, deploy, image, message):
    with Accelerator(deploy, device=board) as accelerator, pytest.raises(BfpError, match=message):
        accelerator.run(image)


@pytest.mark.parametrize(
    "mantissas, message",
    [
        (np.full((3, 2, 3), 200), "takes mantissas -127..127"),
        (np.full((3, 2, 3), 200, np.uint8), "takes mantissas -127..127"),
        (np.full((3, 2, 3), 2**16 + 1), "takes mantissas -127..127"),
        (np.zeros((3, 2, 3), np.float32), "float32 are no mantissas of toy; pass an image to run"),
        (np.zeros((2, 3, 3), int), "takes an image of 3x2x3 .* not 2x3x3"),
    ],
)
def test_wrong_mantissas_are_refused(board, deploy, mantissas, message):
    with Accelerator(deploy, device=board) as accelerator, pytest.raises(BfpError, match=message):
        accelerator.run_mantissas(mantissas)


def test_a_network_of_arrays_takes_no_pictures(board, tmp_path):
    """Neither as a path nor as pixels: arrays have units of their own."""
    pre = Preprocessing((toy.HEIGHT, toy.WIDTH), (0.0,) * toy.CHANNELS, (1.0,) * toy.CHANNELS, channels=ARRAY)
    deploy = toy.write(tmp_path, inputs=(NetworkInput("input", pre),))
    pixels = np.zeros((toy.HEIGHT, toy.WIDTH, toy.CHANNELS), np.uint8)
    with Accelerator(deploy, device=board) as accelerator:
        for image in ("a.png", pixels, Image.fromarray(pixels)):
            with pytest.raises(BfpError, match="its input are arrays, no pictures; give .npz files, or"):
                accelerator.run(image)
        values = np.random.default_rng(0).normal(size=(toy.CHANNELS, toy.HEIGHT, toy.WIDTH))
        mantissas = quantise(values, accelerator.deployment.tensor("input").format)
        np.testing.assert_array_equal(accelerator.run(values), accelerator.run_mantissas(mantissas))


def test_a_bitstream_whose_hash_is_known_is_compared_before_it_is_loaded(board, deploy):
    for kind in (".bit", ".hwh"):
        shutil.copy(board.bitfile.with_suffix(kind), deploy / f"toy{kind}")
    with pytest.raises(BfpError, match="toy.bit is none of its package: manifest.json does not list it; build it again"):
        Accelerator(deploy, device=board, bitfile=deploy / "toy.bit")
    added = add_files(deploy, ["toy.bit", "toy.hwh"], toy.MADE)
    assert sorted(added.files) == ["toy.bit", "toy.hwh", "weights.bin"] and read_deployment(deploy) == added
    Accelerator(deploy, device=board, bitfile=deploy / "toy.bit").close()
    again = toy.write(deploy)  # generated again: what lies there keeps its hash
    assert read_deployment(again).files == added.files
    for kind in (".hwh", ".bit"):
        with open(deploy / f"toy{kind}", "ab") as file:
            file.write(b" ")
        with pytest.raises(BfpError, match=f"toy{kind} is not the one of its manifest.*build it again"):
            Accelerator(deploy, device=board, bitfile=deploy / "toy.bit")
    with pytest.raises(BfpError, match="none.bit does not exist"):
        add_files(deploy, ["none.bit"])


@pytest.mark.filterwarnings("ignore:No devices found")
def test_bitfiles_that_do_not_fit_are_refused(board, deploy, tmp_path):
    with pytest.raises(BfpError, match="toy.bit does not exist"):
        Accelerator(deploy)
    with pytest.raises(BfpError, match="simulated board's marker"):
        Accelerator(deploy, bitfile=board.bitfile)
    real = tmp_path / "real.bit"
    real.write_bytes(b"\x00\x09")
    with pytest.raises(BfpError, match="real.hwh does not exist"):
        Accelerator(deploy, bitfile=real)
    hwh.write_hwh(real.with_suffix(".hwh"), "another_ip", toy.LANES, BOARD.clock_mhz)
    with pytest.raises(BfpError, match="no IP 'sbfp_engine_0'"):
        Accelerator(deploy, device=board, bitfile=real)
    hwh.write_hwh(real.with_suffix(".hwh"), "sbfp_engine_0", toy.LANES, BOARD.clock_mhz)
    with pytest.raises(BfpError, match="PYNQ cannot load .*real.bit .*run on the board"):
        Accelerator(deploy, bitfile=real)  # no board here; on a board, no bitstream
    with pytest.raises(BfpError, match="no simulation marker"):
        Accelerator(deploy, device=board, bitfile=real)


def test_an_ip_with_other_registers_is_refused(board, deploy):
    handoff = board.bitfile.with_suffix(".hwh")
    handoff.write_text(handoff.read_text().replace('NAME="fmap_shortcut_2"', 'NAME="something_else"'))
    with pytest.raises(BfpError, match="no register 'fmap_shortcut_2'"):
        Accelerator(deploy, device=board)


def test_libraries_that_are_no_engine_are_refused(deploy, tmp_path):
    with pytest.raises(BfpError, match="does not exist; build it"):
        SimulatedBoard(tmp_path / "none.so", deploy)
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(BfpError, match="not a compiled engine"):
        SimulatedBoard(tmp_path / "text.so", deploy)
