"""How a tensor lies in the feature-map arena: words of ``lanes`` bytes.

A tensor is a list of segments (the branches of a concatenation, usually one).
Channel ``c`` of a segment is byte lane ``(c - start) % lanes`` of plane
``(c - start) // lanes``. A row of a plane is ``ceil(width * bits / 8)`` words:
in each lane a stream of ``bits`` bits per pixel, the first pixel in the lowest
bits. Signed mantissas are in two's complement; unused lanes are zero.
The tensors are those of ``manifest.json`` (see docs/architecture.md).
"""

from __future__ import annotations

import numpy as np

from bfp.errors import BfpError
from bfp.format import mantissa_range


def segment_words(tensor: dict, segment: dict, lanes: int) -> int:
    """Words of the arena that one segment takes."""
    planes = -(-(segment["stop"] - segment["start"]) // lanes)
    return planes * tensor["height"] * line_words(tensor)


def line_words(tensor: dict) -> int:
    """Words of one row of a plane."""
    return -(-tensor["width"] * tensor["bits"] // 8)


def check(tensor: dict, words: int, lanes: int) -> None:
    """Raise BfpError unless the segments cover the channels in order and lie inside ``words`` words."""
    name = tensor["name"]
    if min(tensor["channels"], tensor["height"], tensor["width"], lanes) < 1:
        raise BfpError(f"tensor {name!r} has an empty shape; generate the deployment folder again")
    mantissa_range(tensor["bits"], tensor["signed"])
    covered = 0
    for segment in tensor["segments"]:
        if segment["start"] != covered or segment["stop"] <= covered:
            raise BfpError(f"tensor {name!r}: channel {covered} is in no segment or in two; generate the folder again")
        covered = segment["stop"]
        end = segment["address"] + segment_words(tensor, segment, lanes)
        if segment["address"] < 0 or end > words:
            raise BfpError(f"tensor {name!r} ends at word {end} of an arena of {words}; generate the folder again")
    if covered != tensor["channels"]:
        raise BfpError(f"tensor {name!r} has {tensor['channels']} channels, its segments hold {covered}")


def pack(tensor: dict, mantissas: np.ndarray, arena: np.ndarray) -> None:
    """Write mantissas, integers [C, H, W], into the arena, uint8 [words, lanes].

    Raises BfpError for another shape, for mantissas outside the tensor's
    width, and for segments outside the arena.
    """
    arena = np.asarray(arena)  # a plain view: slices of a PYNQ buffer cost more
    words, lanes = arena.shape
    check(tensor, words, lanes)
    height, width = tensor["height"], tensor["width"]
    if mantissas.shape != (tensor["channels"], height, width):
        raise BfpError(
            f"tensor {tensor['name']!r} holds {tensor['channels']}x{height}x{width} values, "
            f"not {'x'.join(map(str, mantissas.shape))}; give it its own shape"
        )
    if not np.issubdtype(mantissas.dtype, np.integer):
        raise BfpError(f"tensor {tensor['name']!r} takes integer mantissas, not {mantissas.dtype}; quantise them first")
    low, high = mantissa_range(tensor["bits"], tensor["signed"])
    if mantissas.min() < low or mantissas.max() > high:
        raise BfpError(
            f"tensor {tensor['name']!r} takes mantissas {low}..{high}, "
            f"but {mantissas.min()}..{mantissas.max()} were given; quantise them with its format"
        )
    bits, line = tensor["bits"], line_words(tensor)
    for segment in tensor["segments"]:
        start, stop = segment["start"], segment["stop"]
        planes = -(-(stop - start) // lanes)
        codes = np.zeros((planes * lanes, height, width), np.uint8)
        codes[: stop - start] = mantissas[start:stop].astype(np.int64) & ((1 << bits) - 1)
        if bits < 8:
            stream = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little")
            codes = np.packbits(stream.reshape(planes * lanes, height, -1), axis=-1, bitorder="little")
        end = segment["address"] + planes * height * line
        target = arena[segment["address"] : end].reshape(planes, height, line, lanes)
        target[:] = codes.reshape(planes, lanes, height, line).transpose(0, 2, 3, 1)


def unpack(tensor: dict, arena: np.ndarray) -> np.ndarray:
    """Read a tensor's mantissas, int16 [C, H, W], from the arena, uint8 [words, lanes]."""
    words, lanes = arena.shape
    check(tensor, words, lanes)
    height, width = tensor["height"], tensor["width"]
    bits, line = tensor["bits"], line_words(tensor)
    mantissas = np.empty((tensor["channels"], height, width), np.int16)
    for segment in tensor["segments"]:
        start, stop, address = segment["start"], segment["stop"], segment["address"]
        raw = np.asarray(arena)[address : address + segment_words(tensor, segment, lanes)]
        codes = raw.reshape(-1, height, line, lanes).transpose(0, 3, 1, 2).reshape(-1, height, line)[: stop - start]
        if bits < 8:
            stream = np.unpackbits(np.ascontiguousarray(codes), axis=-1, count=width * bits, bitorder="little")
            codes = np.packbits(stream.reshape(-1, height, width, bits), axis=-1, bitorder="little")[..., 0]
        values = codes.astype(np.int16)
        mantissas[start:stop] = np.where(values >> (bits - 1), values - (1 << bits), values) if tensor["signed"] else values
    return mantissas
