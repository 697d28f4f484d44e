"""How a tensor lies in the feature-map arena: words of ``lanes`` bytes.

A tensor is a list of segments (the branches of a concatenation, usually one).
Channel ``c`` of a segment is byte lane ``(c - start) % lanes`` of plane
``(c - start) // lanes``. A row of a plane is ``ceil(width * bits / 8)`` words:
in each lane a stream of ``bits`` bits per pixel, the first pixel in the lowest
bits. Signed mantissas are in two's complement; unused lanes are zero.
Code generation places tensors so, the engine reads and writes them so (see
docs/architecture.md), and the driver packs and unpacks them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.fields import NAME, TEXT, checked, record, tuple_of, whole
from bfp.format import BlockFormat
from bfp.graph import SHAPE, Shape
from bfp.limits import MAX_CHANNELS, MAX_NODES
from bfp.names import shown

MAX_WORDS = 2**32  # of a memory
HOST = -1  # the layer of what the host writes


@dataclass(frozen=True)
class Segment:
    """Channels ``start : stop`` of a tensor, from word ``address`` of the arena on."""

    start: int = checked(whole(0, MAX_CHANNELS))
    stop: int = checked(whole(1, MAX_CHANNELS))
    address: int = checked(whole(0, MAX_WORDS))


@dataclass(frozen=True)
class PlacedTensor:
    """One tensor at its place. layer, layer_index: what writes it, HOST for the host; shape: channels, height, width."""

    name: str = checked(NAME)
    layer: str = checked(TEXT)
    layer_index: int = checked(whole(HOST, MAX_NODES))
    shape: Shape = checked(SHAPE)
    format: BlockFormat = checked(record(BlockFormat))
    segments: tuple[Segment, ...] = checked(tuple_of(record(Segment), 1, MAX_CHANNELS))

    @property
    def line_words(self) -> int:
        """Words of one row of a plane."""
        return line_words(self.shape[2], self.format.bits)

    def segment_words(self, segment: Segment, lanes: int) -> int:
        """Words of the arena that one segment takes."""
        return plane_count(segment.stop - segment.start, lanes) * self.shape[1] * self.line_words


def line_words(width: int, bits: int) -> int:
    """Words of one row of a plane: every lane holds a stream of ``width`` mantissas of ``bits`` bits."""
    return -(-width * bits // 8)


def plane_count(channels: int, lanes: int) -> int:
    """Planes that a segment of so many channels takes."""
    return -(-channels // lanes)


def check(tensor: PlacedTensor, words: int, lanes: int) -> None:
    """Raise BfpError unless the segments cover the channels in order and lie inside ``words`` words."""
    where, channels = f"tensor {shown(tensor.name)}", tensor.shape[0]
    if min(*tensor.shape, lanes) < 1:
        raise BfpError(f"{where} has an empty shape; generate the deployment folder again")
    if tensor.format.channels != channels:
        raise BfpError(f"{where} has {channels} channels and exponents for {tensor.format.channels}")
    covered = 0
    for segment in tensor.segments:
        if segment.start != covered or segment.stop <= covered:
            raise BfpError(f"{where}: channel {covered} is in no segment or in two; generate the folder again")
        covered = segment.stop
        end = segment.address + tensor.segment_words(segment, lanes)
        if segment.address < 0 or end > words:
            raise BfpError(f"{where} ends at word {end} of an arena of {words}; generate the folder again")
    if covered != channels:
        raise BfpError(f"{where} has {channels} channels, its segments hold {covered}")


def pack(tensor: PlacedTensor, mantissas: np.ndarray, arena: np.ndarray) -> None:
    """Write mantissas, integers [C, H, W], into the arena, uint8 [words, lanes].

    Raises BfpError for another shape, for mantissas outside the tensor's
    width, and for segments outside the arena.
    """
    arena = np.asarray(arena)  # a plain view: slices of a PYNQ buffer cost more
    words, lanes = arena.shape
    check(tensor, words, lanes)
    fmt, (_, height, width), line = tensor.format, tensor.shape, tensor.line_words
    if mantissas.shape != tensor.shape:
        expected, given = ("x".join(map(str, shape)) for shape in (tensor.shape, mantissas.shape))
        raise BfpError(f"tensor {tensor.name!r} holds {expected} values, not {given}; give it its own shape")
    if not np.issubdtype(mantissas.dtype, np.integer):
        raise BfpError(f"tensor {tensor.name!r} takes integer mantissas, not {mantissas.dtype}; quantise them first")
    if mantissas.min() < fmt.low or mantissas.max() > fmt.high:
        raise BfpError(
            f"tensor {tensor.name!r} takes mantissas {fmt.low}..{fmt.high}, "
            f"but {mantissas.min()}..{mantissas.max()} were given; quantise them with its format"
        )
    for segment in tensor.segments:
        count = plane_count(segment.stop - segment.start, lanes)
        codes = np.zeros((count * lanes, height, width), np.uint8)
        held = mantissas[segment.start : segment.stop].astype(np.int64)
        codes[: len(held)] = held & ((1 << fmt.bits) - 1)
        if fmt.bits < 8:
            stream = np.unpackbits(codes[..., None], axis=-1, count=fmt.bits, bitorder="little")
            codes = np.packbits(stream.reshape(count * lanes, height, -1), axis=-1, bitorder="little")
        end = segment.address + count * height * line
        target = arena[segment.address : end].reshape(count, height, line, lanes)
        target[:] = codes.reshape(count, lanes, height, line).transpose(0, 2, 3, 1)


def unpack(tensor: PlacedTensor, arena: np.ndarray) -> np.ndarray:
    """Read a tensor's mantissas, int16 [C, H, W], from the arena, uint8 [words, lanes]."""
    words, lanes = arena.shape
    check(tensor, words, lanes)
    (_, height, width), line, bits = tensor.shape, tensor.line_words, tensor.format.bits
    mantissas = np.empty(tensor.shape, np.int16)
    for segment in tensor.segments:
        end = segment.address + tensor.segment_words(segment, lanes)
        raw = np.asarray(arena)[segment.address : end].reshape(-1, height, line, lanes)
        codes = raw.transpose(0, 3, 1, 2).reshape(-1, height, line)[: segment.stop - segment.start]
        if bits < 8:
            stream = np.unpackbits(np.ascontiguousarray(codes), axis=-1, count=width * bits, bitorder="little")
            codes = np.packbits(stream.reshape(-1, height, width, bits), axis=-1, bitorder="little")[..., 0]
        values = codes.astype(np.int16)
        signed = np.where(values >> (bits - 1), values - (1 << bits), values)
        mantissas[segment.start : segment.stop] = signed if tensor.format.signed else values
    return mantissas
