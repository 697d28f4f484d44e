"""How a tensor lies in the feature-map arena: words of ``lanes`` bytes.

A tensor is a list of segments (the branches of a concatenation, usually one).
Channel ``c`` of a segment is byte lane ``(c - start) % lanes`` of plane
``(c - start) // lanes``. A row of a plane is ``ceil(width * bits / 8)`` words:
in each lane a stream of ``bits`` bits per pixel, the first pixel in the lowest
bits. Signed mantissas are in two's complement; unused lanes are zero.
An input may lie in parts (``part_bits``): narrower mantissas whose sum each of
its own is, the first parts of all channels, then the second ones, and so on.
It may be folded (``fold``): blocks of its rows and columns are pixels then, whose
channels are those of all pixels of a block, row by row; parts are parts of these.
Code generation places tensors so, the engine reads and writes them so (see
docs/architecture.md), and the driver packs and unpacks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.fields import NAME, TEXT, checked, fixed, record, tuple_of, whole
from bfp.format import MAX_BITS, MIN_BITS, BlockFormat, mantissa_range
from bfp.graph import SHAPE, Shape
from bfp.limits import MAX_CHANNELS, MAX_NODES
from bfp.names import shown

MAX_WORDS = 2**32  # of a memory
MAX_FOLD = 8  # rows or columns of a block
HOST = -1  # the layer of what the host writes
# of the 64 bits of eight bytes: the lower of each two bytes, of each two pairs, of each two fours
_HALVES = tuple(map(np.uint64, (0x00FF_00FF_00FF_00FF, 0x0000_FFFF_0000_FFFF, 0x0000_0000_FFFF_FFFF)))
_EVERY = tuple(map(np.uint64, (0x0001_0001_0001_0001, 0x0000_0001_0000_0001, 1)))  # a one at the start of each


@dataclass(frozen=True)
class Segment:
    """Channels ``start : stop`` of a tensor, from word ``address`` of the arena on."""

    start: int = checked(whole(0, MAX_CHANNELS))
    stop: int = checked(whole(1, MAX_CHANNELS))
    address: int = checked(whole(0, MAX_WORDS))


def part_count(fmt: BlockFormat, part_bits: int) -> int:
    """Parts of so many bits, with the format's sign, that add up to any of its mantissas."""
    return -(-fmt.high // mantissa_range(part_bits, fmt.signed)[1])


def to_parts(mantissas: np.ndarray, fmt: BlockFormat, part_bits: int, axis: int = -3) -> np.ndarray:
    """The parts of mantissas, int16, one after the other along the channels' axis: each as large as what is left allows.

    All have the mantissa's sign, so that no sum of products goes further on its way than it does without parts.
    """
    top = mantissa_range(part_bits, fmt.signed)[1]
    left, parts = np.asarray(mantissas, np.int16), []
    for _ in range(part_count(fmt, part_bits)):
        parts.append(np.clip(left, -top, top))
        left = left - parts[-1]
    return np.concatenate(parts, axis)


def from_parts(parts: np.ndarray, channels: int) -> np.ndarray:
    """Inverse of :func:`to_parts`: mantissas [channels, H, W] from their parts [parts * channels, H, W]."""
    return parts.reshape(-1, channels, *parts.shape[1:]).sum(axis=0, dtype=np.int16)


def to_blocks(mantissas: np.ndarray, fold: tuple[int, int]) -> np.ndarray:
    """Mantissas [..., C, H, W] with blocks of so many rows and columns as pixels: [..., rows * columns * C, H', W']."""
    *images, channels, height, width = mantissas.shape
    size = height // fold[0], width // fold[1]
    blocks = mantissas.reshape(*images, channels, size[0], fold[0], size[1], fold[1])
    n = len(images)
    return blocks.transpose(*range(n), n + 2, n + 4, n, n + 1, n + 3).reshape(*images, -1, *size)


def from_blocks(blocks: np.ndarray, fold: tuple[int, int]) -> np.ndarray:
    """Inverse of :func:`to_blocks`."""
    *images, channels, height, width = blocks.shape
    apart = blocks.reshape(*images, *fold, channels // (fold[0] * fold[1]), height, width)
    n = len(images)
    rows = apart.transpose(*range(n), n + 2, n + 3, n, n + 4, n + 1)
    return rows.reshape(*images, -1, height * fold[0], width * fold[1])


@dataclass(frozen=True)
class PlacedTensor:
    """One tensor at its place. layer, layer_index: what writes it, HOST for the host; shape: channels, height, width.

    part_bits: of an input that lies in parts, their width, see ``to_parts``; None: it lies as it is. fold: rows and columns of
    the blocks of an input that is folded, see ``to_blocks``.
    """

    name: str = checked(NAME)
    layer: str = checked(TEXT)
    layer_index: int = checked(whole(HOST, MAX_NODES))
    shape: Shape = checked(SHAPE)
    format: BlockFormat = checked(record(BlockFormat))
    segments: tuple[Segment, ...] = checked(tuple_of(record(Segment), 1, MAX_CHANNELS))
    part_bits: int | None = checked(whole(MIN_BITS, MAX_BITS - 1), omitted=True, default=None)
    fold: tuple[int, int] = checked(fixed(whole(1, MAX_FOLD), 2), omitted=True, default=(1, 1))

    @property
    def stored_bits(self) -> int:
        """Bits of a mantissa, or of a part of one, in memory."""
        return self.part_bits or self.format.bits

    @property
    def stored_size(self) -> tuple[int, int]:
        """Rows and columns of a plane."""
        return self.shape[1] // self.fold[0], self.shape[2] // self.fold[1]

    def lanes_of(self, segment: Segment) -> int:
        """Lanes that one pixel of a segment takes: of each channel, as many as it has parts, of all pixels of a block."""
        parts = part_count(self.format, self.part_bits) if self.part_bits else 1
        return (segment.stop - segment.start) * self.fold[0] * self.fold[1] * parts

    def in_parts(self, mantissas: np.ndarray) -> np.ndarray:
        """What lies in memory for mantissas [C, H, W], folded or not: their parts, one after the other, where it lies in such."""
        return to_parts(mantissas, self.format, self.part_bits) if self.part_bits else mantissas

    def stored(self, mantissas: np.ndarray) -> np.ndarray:
        """What lies in the lanes, [lanes_of, *stored_size], of a segment's mantissas [C, H, W]."""
        return self.in_parts(to_blocks(mantissas, self.fold))

    def read(self, stored: np.ndarray, channels: int) -> np.ndarray:
        """Inverse of :meth:`stored`, for a segment of so many channels."""
        blocks = from_parts(stored, channels * self.fold[0] * self.fold[1]) if self.part_bits else stored
        return from_blocks(blocks, self.fold)

    @property
    def line_words(self) -> int:
        """Words of one row of a plane."""
        return line_words(self.stored_size[1], self.stored_bits)

    def segment_words(self, segment: Segment, lanes: int) -> int:
        """Words of the arena that one segment takes."""
        return plane_count(self.lanes_of(segment), lanes) * self.stored_size[0] * self.line_words


def line_words(width: int, bits: int) -> int:
    """Words of one row of a plane: every lane holds a stream of ``width`` mantissas of ``bits`` bits."""
    return -(-width * bits // 8)


def plane_count(channels: int, lanes: int) -> int:
    """Planes that a segment of so many channels takes."""
    return -(-channels // lanes)


def pack_lines(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes below ``2**bits``, uint8 [..., width], as streams of ``bits`` bits: uint8 [..., line_words(width, bits)]."""
    width = codes.shape[-1]
    if bits == 8:
        return codes
    eights = np.zeros((*codes.shape[:-1], -(-width // 8) * 8), np.uint8)
    eights[..., :width] = codes
    words = eights.view("<u8")
    # neighbours close up: bytes in pairs, pairs in fours, fours in eights
    for step, mask in enumerate(_HALVES):
        upper = words & ~mask
        upper >>= np.uint64((8 - bits) << step)
        words &= mask
        words |= upper
    stream = eights.reshape(*eights.shape[:-1], -1, 8)[..., :bits]
    return stream.reshape(*codes.shape[:-1], -1)[..., : line_words(width, bits)]


def unpack_lines(streams: np.ndarray, bits: int, width: int) -> np.ndarray:
    """Inverse of :func:`pack_lines`: uint8 [..., width]."""
    if bits == 8:
        return streams[..., :width]
    count, ahead = -(-width // 8), streams.shape[:-1]
    held = np.zeros((*ahead, count * bits), np.uint8)
    held[..., : streams.shape[-1]] = streams[..., : count * bits]
    eights = np.zeros((*ahead, count, 8), np.uint8)
    eights[..., :bits] = held.reshape(*ahead, count, bits)
    words = eights.view("<u8")
    for step, mask in reversed(list(enumerate(_HALVES))):
        lower = np.uint64((1 << (bits << step)) - 1) * _EVERY[step]
        upper = words & ~lower
        upper <<= np.uint64((8 - bits) << step)
        words &= lower
        words |= upper
    return eights.reshape(*ahead, -1)[..., :width]


def channel_lanes(tensor: PlacedTensor, arena: np.ndarray) -> Iterator[np.ndarray]:
    """For each lane of a tensor in turn, where its streams lie in the arena: views uint8 [rows, line_words]."""
    words, lanes = arena.shape
    check(tensor, words, lanes)
    for segment in tensor.segments:
        end = segment.address + tensor.segment_words(segment, lanes)
        planes = arena[segment.address : end].reshape(-1, tensor.stored_size[0], tensor.line_words, lanes)
        for c in range(tensor.lanes_of(segment)):
            yield planes[c // lanes, :, :, c % lanes]


def clear(tensor: PlacedTensor, arena: np.ndarray) -> None:
    """Zeros wherever a tensor lies in the arena, in unused lanes too."""
    for segment in tensor.segments:
        arena[segment.address : segment.address + tensor.segment_words(segment, arena.shape[1])] = 0


def check(tensor: PlacedTensor, words: int, lanes: int) -> None:
    """Raise BfpError unless the segments cover the channels in order and lie inside ``words`` words."""
    where, channels = f"tensor {shown(tensor.name)}", tensor.shape[0]
    if min(*tensor.shape, lanes) < 1:
        raise BfpError(f"{where} has an empty shape")
    if tensor.format.channels != channels:
        raise BfpError(f"{where} has {channels} channels and exponents for {tensor.format.channels}")
    if tensor.part_bits and (tensor.part_bits >= tensor.format.bits or len(tensor.segments) > 1):
        raise BfpError(f"{where} lies in parts of {tensor.part_bits} bits, but in several segments or no wider itself")
    blocks = not any(size % fold for size, fold in zip(tensor.shape[1:], tensor.fold))
    if tensor.fold != (1, 1) and (not blocks or len(tensor.segments) > 1):
        raise BfpError(f"{where} is folded into blocks of {tensor.fold}, but lies in several segments or has no whole ones")
    covered = 0
    for segment in tensor.segments:
        if segment.start != covered or segment.stop <= covered:
            raise BfpError(f"{where}: channel {covered} is in no segment or in two")
        covered = segment.stop
        end = segment.address + tensor.segment_words(segment, lanes)
        if segment.address < 0 or end > words:
            raise BfpError(f"{where} ends at word {end} of an arena of {words}")
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
    fmt, (height, width), line = tensor.format, tensor.stored_size, tensor.line_words
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
        count = plane_count(tensor.lanes_of(segment), lanes)
        codes = np.zeros((count * lanes, height, width), np.uint8)
        held = tensor.stored(mantissas[segment.start : segment.stop]).astype(np.int64)
        codes[: len(held)] = held & ((1 << tensor.stored_bits) - 1)
        codes = pack_lines(codes, tensor.stored_bits)
        end = segment.address + count * height * line
        target = arena[segment.address : end].reshape(count, height, line, lanes)
        target[:] = codes.reshape(count, lanes, height, line).transpose(0, 2, 3, 1)


def unpack(tensor: PlacedTensor, arena: np.ndarray) -> np.ndarray:
    """Read a tensor's mantissas, int16 [C, H, W], from the arena, uint8 [words, lanes]."""
    words, lanes = arena.shape
    check(tensor, words, lanes)
    (height, width), line, bits = tensor.stored_size, tensor.line_words, tensor.stored_bits
    mantissas = np.empty(tensor.shape, np.int16)
    for segment in tensor.segments:
        end = segment.address + tensor.segment_words(segment, lanes)
        raw = np.asarray(arena)[segment.address : end].reshape(-1, height, line, lanes)
        codes = raw.transpose(0, 3, 1, 2).reshape(-1, height, line)[: tensor.lanes_of(segment)]
        values = unpack_lines(codes, bits, width).astype(np.int16)
        signed = np.where(values >> (bits - 1), values - (1 << bits), values)
        held = signed if tensor.format.signed else values
        mantissas[segment.start : segment.stop] = tensor.read(held, segment.stop - segment.start)
    return mantissas
