"""From pixels to memory by table, against normalising, quantising and packing one after the other."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bfp import BfpError, layout
from bfp.artifact import NetworkInput, Preprocessing
from bfp.format import BlockFormat, quantise
from bfp.layout import HOST, PlacedTensor, Segment
from host.image import normalise
from host.inputs import ImageInput
from host.pixels import PixelWriter, mantissa_table

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LANES = 16


def placed(fmt, size, address=0, segments=None):
    return PlacedTensor("input", "(host)", HOST, (fmt.channels, *size), fmt, segments or (Segment(0, fmt.channels, address),))


def picture(pixels):
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])


def straight(tensor, pre, pixels, words):
    """Float image, mantissas, memory that held something else before."""
    arena = np.full((words, LANES), 0xA5, np.uint8)
    layout.pack(tensor, quantise(pre.scaled(normalise(pixels[None], pre)[0]), tensor.format), arena)
    return arena


def formats(channels):
    """Every width, signed and not, with exponents that saturate, that round to zero and in between."""
    for bits, signed, exponent in itertools.product(range(2, 9), (True, False), (-9, -6, -5, -3, -1, 2)):
        yield BlockFormat(bits, signed, (0, channels), (exponent,))
        if channels > 1:
            yield BlockFormat(bits, signed, (0, 1, channels), (exponent, exponent + 1))


@pytest.mark.parametrize("channels", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("scale", [False, True])
def test_every_value_of_a_pixel_in_every_format(channels, scale):
    count = 1 if channels == "gray" else 3
    pre = Preprocessing((16, 16), MEAN[:count], STD[:count], None, "bicubic", channels,
                        (0.3, 1.7, 2.9)[:count] if scale else None)  # fmt: skip
    rng = np.random.default_rng(0)
    pixels = np.stack([rng.permutation(256).astype(np.uint8).reshape(16, 16) for _ in range(count)], -1)
    for fmt in formats(count):
        tensor = placed(fmt, (16, 16), 3)
        words = 3 + tensor.segment_words(tensor.segments[0], LANES) + 2
        arena = np.full((words, LANES), 0xA5, np.uint8)
        PixelWriter(tensor, pre).write(picture(pixels), arena)
        assert np.array_equal(arena, straight(tensor, pre, pixels, words)), fmt


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9, 24, 37])
@pytest.mark.parametrize("bits", range(2, 9))
def test_every_width_of_a_row(width, bits):
    """Rows end inside a word; what lies behind stays."""
    pre = Preprocessing((5, width), MEAN, STD)
    tensor = placed(BlockFormat(bits, True, (0, 3), (2 - bits,)), (5, width))
    words = tensor.segment_words(tensor.segments[0], LANES) + 1
    pixels = np.random.default_rng(width).integers(0, 256, (5, width, 3), dtype=np.uint8)
    arena = np.full((words, LANES), 0xA5, np.uint8)
    PixelWriter(tensor, pre).write(picture(pixels), arena)
    assert np.array_equal(arena, straight(tensor, pre, pixels, words)) and (arena[-1] == 0xA5).all()


def test_several_inputs_in_one_arena():
    """Each writes its own place, one of them in two segments, and leaves the others'."""
    a, b = Preprocessing((4, 6), MEAN, STD), Preprocessing((9, 5), (7.0,), (3.0,), channels="gray")
    first = placed(BlockFormat(8, True, (0, 2, 3), (-5, -4)), (4, 6), segments=(Segment(0, 2, 50), Segment(2, 3, 10)))
    second = placed(BlockFormat(5, False, (0, 1), (-1,)), (9, 5), 90)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*pre.size, len(pre.mean)), dtype=np.uint8) for pre in (a, b)]
    arena, want = (np.full((200, LANES), 0xA5, np.uint8) for _ in range(2))
    for tensor, pre, pixels in ((first, a, pictures[0]), (second, b, pictures[1])):
        PixelWriter(tensor, pre).write(picture(pixels), arena)
        layout.pack(tensor, quantise(normalise(pixels[None], pre)[0], tensor.format), want)
    assert np.array_equal(arena, want)


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("channels", ["rgb", "bgr", "gray"])
def test_words_of_every_width(lanes, channels):
    """Channels in several planes, too; the byte that PIL keeps beside a colour never comes through."""
    count = 1 if channels == "gray" else 3
    pre = Preprocessing((6, 9), MEAN[:count], STD[:count], None, "bicubic", channels)
    tensor = placed(BlockFormat(8, True, (0, count), (-5,)), (6, 9), 2)
    arena = np.full((2 + tensor.segment_words(tensor.segments[0], lanes) + 3, lanes), 0xA5, np.uint8)
    want = arena.copy()
    pixels = np.random.default_rng(lanes).integers(0, 256, (6, 9, count), dtype=np.uint8)
    layout.pack(tensor, quantise(normalise(pixels[None], pre)[0], tensor.format), want)
    with_alpha = picture(pixels).convert("RGBA").convert("RGB") if count == 3 else picture(pixels)
    for image in (picture(pixels), with_alpha):
        PixelWriter(tensor, pre).write(image, arena)
        assert np.array_equal(arena, want)


def test_the_table_is_the_quantiser_at_every_pixel():
    pre = Preprocessing((1, 1), MEAN, STD, channels="bgr")
    fmt = BlockFormat(8, True, (0, 3), (-5,))
    table = mantissa_table(pre, fmt)
    for value in range(256):
        x = (np.float32(value) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        assert table[:, value].tolist() == np.clip(np.floor(x.astype(float) * 32 + 0.5), -127, 127).tolist()


def test_other_pictures_are_refused():
    pre = Preprocessing((4, 6), MEAN, STD)
    tensor = placed(BlockFormat(8, True, (0, 3), (-5,)), (4, 6))
    writer, arena = PixelWriter(tensor, pre), np.zeros((24, LANES), np.uint8)
    for mode, size in (("RGB", (4, 6)), ("L", (6, 4)), ("RGBA", (6, 4))):
        with pytest.raises(BfpError, match="the network takes 4 x 6 and mode RGB; resize it"):
            writer.write(Image.new(mode, size), arena)
    with pytest.raises(BfpError, match="input of 3x4x6 takes no pictures, its preprocessing makes 3 channels of .6, 4."):
        PixelWriter(tensor, Preprocessing((6, 4), MEAN, STD))


@pytest.mark.parametrize("bits", range(2, 9))
def test_lines_of_bits_one_after_the_other(bits):
    """Against single bits: pixel x begins at bit x * bits, the lowest first; and back."""
    rng = np.random.default_rng(bits)
    for width in (1, 5, 8, 13, 16, 31):
        codes = rng.integers(0, 1 << bits, (2, 3, width), dtype=np.uint8)
        lines = layout.pack_lines(codes, bits)
        assert lines.shape == (2, 3, layout.line_words(width, bits))
        for line, want in zip(lines.reshape(6, -1), codes.reshape(6, -1)):
            number = int.from_bytes(line.tobytes(), "little")
            assert number == sum(int(c) << (bits * x) for x, c in enumerate(want))
        assert np.array_equal(layout.unpack_lines(lines, bits, width), codes)
        dirty = np.concatenate([lines, np.full((2, 3, 9), 0xFF, np.uint8)], -1)
        assert np.array_equal(layout.unpack_lines(dirty, bits, width), codes)


def test_a_network_that_takes_no_pictures_takes_floats():
    """Of 5 channels, say: no colours."""
    entry = NetworkInput("input", Preprocessing((4, 6), (1.0,) * 5, (2.0,) * 5))
    images = ImageInput("net", entry, placed(BlockFormat(8, True, (0, 5), (-5,)), (4, 6)))
    for picture_ in ("a.png", Image.new("RGB", (6, 4)), np.zeros((4, 6, 5), np.uint8)):
        with pytest.raises(BfpError, match="network net: input input of 5x4x6 takes no pictures.* give it normalised floats"):
            images.prepare(picture_)
    assert images.prepare(np.full((5, 4, 6), 0.5)).tolist() == np.full((5, 4, 6), 16).tolist()


def test_an_arena_is_cleared_when_it_is_new_to_the_writer():
    """What else is packed into it leaves zeros in the lanes without a channel, so that once is enough."""
    pre = Preprocessing((4, 6), MEAN, STD)
    tensor = placed(BlockFormat(8, True, (0, 3), (-5,)), (4, 6))
    writer, rng = PixelWriter(tensor, pre), np.random.default_rng(0)
    arenas = [np.full((24, LANES), 0xA5, np.uint8) for _ in range(3)]
    for turn in range(6):
        pixels = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        if turn > 2:
            layout.pack(tensor, rng.integers(-127, 128, (3, 4, 6)), arenas[turn % 3])
        writer.write(picture(pixels), arenas[turn % 3])
        assert np.array_equal(arenas[turn % 3], straight(tensor, pre, pixels, 24))
    del arenas
    writer.write(picture(pixels), new := np.full((24, LANES), 0xA5, np.uint8))
    assert np.array_equal(new, straight(tensor, pre, pixels, 24))


@pytest.mark.parametrize("channels", ["rgb", "bgr", "gray"])
def test_without_the_picture_librarys_own_functions_the_public_ones_do(channels, monkeypatch):
    count = 1 if channels == "gray" else 3
    pre = Preprocessing((9, 7), MEAN[:count], STD[:count], None, "bicubic", channels)
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, count)).astype(np.uint8)
    tensor = placed(BlockFormat(8, True, (0, count), (-5,)), (9, 7))
    words = tensor.segment_words(tensor.segments[0], LANES)
    monkeypatch.setattr("host.pixels.Image", SimpleNamespace())
    arena = np.full((words, LANES), 0xA5, np.uint8)
    PixelWriter(tensor, pre).write(picture(pixels), arena)
    assert np.array_equal(arena, straight(tensor, pre, pixels, words))
