"""Pixels straight to the engine's memory: one table from a pixel's 256 values to the byte of its mantissa.

The table is made by the very functions that normalise and quantise float
images, so that both ways give the same mantissas to the last bit. A pixel is
looked up and written into its lane; no float image is ever made. PIL does the
looking up, since it has a picture's bytes already and is quick on small processors.
"""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
from PIL import Image

from bfp import layout
from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.format import BlockFormat, quantise
from bfp.layout import PlacedTensor
from host.image import MODES, normalise

VALUES = 256  # of a pixel
# what PIL writes out of its memory, by the network's order of channels: the bytes of a pixel, the last one without meaning
RAW = {"rgb": ("RGBX", 4), "bgr": ("BGRX", 4), "gray": ("L", 1)}
COLOURS_OF = {"rgb": 3, "bgr": 3, "gray": 1}
COLOURS = np.uint32(0x00FF_FFFF)  # of the four bytes of a pixel, low byte first, those that are channels


def mantissa_table(pre: Preprocessing, fmt: BlockFormat) -> np.ndarray:
    """Mantissas, int16 [C, 256], of every value of a pixel in each of the network's channels."""
    channels = len(pre.mean)
    square = replace(pre, size=(16, VALUES // 16))
    every = np.repeat(np.arange(VALUES, dtype=np.uint8), channels).reshape(1, *square.size, channels)
    return quantise(pre.scaled(normalise(every, square)), fmt).reshape(channels, VALUES)


class PixelWriter:
    """Writes pictures of one input into arenas.

    Raises BfpError where format and preprocessing do not fit each other, and for inputs that are no pictures: of
    another number of channels than the preprocessing's colours.
    """

    def __init__(self, tensor: PlacedTensor, pre: Preprocessing):
        channels = COLOURS_OF[pre.channels]
        if tensor.shape != (channels, *pre.size) or tensor.format.channels != channels or len(pre.mean) != channels:
            raise BfpError(
                f"input {tensor.name} of {'x'.join(map(str, tensor.shape))} takes no pictures, its preprocessing makes "
                f"{channels} channels of {tuple(pre.size)}; give it normalised floats, or mantissas"
            )
        self._tensor, self._pre = tensor, pre
        codes = tensor.in_parts(mantissa_table(pre, tensor.format)[:, None]) & ((1 << tensor.stored_bits) - 1)
        # PIL looks values up in its own order of bands; of an input that lies in parts there is a table for each
        tables = codes.reshape(-1, channels, VALUES)
        self._tables = [(t[::-1] if pre.channels == "bgr" else t).reshape(-1).tolist() for t in tables]
        self._cleared: list[weakref.ref] = []  # arenas in which the unused lanes hold zeros

    def write(self, picture: Image.Image, arena: np.ndarray) -> None:
        """Put a picture, RGB or gray and of the network's size, into the arena, uint8 [words, lanes].

        Lanes without a channel are cleared the first time that an arena is given; whatever is packed there later leaves
        zeros in them, too. Raises BfpError for another mode or size.
        """
        tensor, mode = self._tensor, MODES[self._pre.channels]
        channels, height, width = tensor.shape
        if picture.mode != mode or picture.size != (width, height):
            raise BfpError(
                f"a picture of {picture.size[1]} x {picture.size[0]} pixels and mode {picture.mode} was given, the network "
                f"takes {height} x {width} and mode {mode}; resize it or convert it first"
            )
        self._clear_once(arena)
        arena = np.asarray(arena)  # a plain view: slices of a PYNQ buffer cost more
        bits, (first, *others), lanes = tensor.stored_bits, tensor.segments, arena.shape[1]
        down, across = tensor.fold
        if (bits, channels, lanes % 4, down, across) == (8, 3, 0, 1, 1) and not others:
            # all channels lie in the first four bytes of a word, so that a pixel is one write
            words = arena[first.address : first.address + height * width]
            words.view("<u4")[:, 0] = self._look_up(picture, self._tables[0]).view("<u4").reshape(-1) & COLOURS
            return
        coming = layout.channel_lanes(tensor, arena)
        for table in self._tables:
            looked_up = self._look_up(picture, table)
            places = ((y, x, c) for y in range(down) for x in range(across) for c in range(channels))
            for (y, x, channel), lane in zip(places, coming):
                lane[:] = layout.pack_lines(looked_up[y::down, x::across, channel], bits)

    def _look_up(self, picture: Image.Image, table: list[int]) -> np.ndarray:
        """The mantissas' bytes of every pixel, uint8 [height, width, bytes of a pixel].

        As ``picture.point(table).tobytes("raw", raw)`` by the functions that these call. Later versions of Pillow round
        every entry of the table for each picture, and all of them join the bytes out of pieces, at a new address each.
        Where a version has not these functions, the public ones do it.
        """
        (width, height), (raw, size) = picture.size, RAW[self._pre.channels]
        picture.load()
        try:
            looked_up = picture.im.point(table, None)
            encoder = Image._getencoder(picture.mode, "raw", (raw,))
            encoder.setimage(looked_up, (0, 0, width, height))
            _, _, held = encoder.encode(width * height * size)
        except (AttributeError, TypeError):
            held = picture.point(table).tobytes("raw", raw)
        return np.frombuffer(held, np.uint8).reshape(height, width, size)

    def _clear_once(self, arena: np.ndarray) -> None:
        """Zeros wherever the input lies, unless this arena was here before."""
        for known in self._cleared:
            if known() is arena:
                return
        layout.clear(self._tensor, np.asarray(arena))
        self._cleared = [known for known in self._cleared if known() is not None] + [weakref.ref(arena)]
