"""Block floating point: mantissa ranges, rounding, quantising, bit packing.

A value is ``q * 2**e``; ``e`` is the weight of the least significant bit of
every mantissa ``q`` of its block. Signed mantissas are symmetric, so the most
negative code never occurs. See docs/numerics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.fields import FLAG, checked, tuple_of, whole
from bfp.limits import MAX_CHANNELS, MAX_EXPONENT, MAX_INDEX_BITS
from bfp.names import shown

MIN_BITS, MAX_BITS = 2, 8
SPLITS = tuple_of(whole(0, MAX_CHANNELS), 2, MAX_CHANNELS + 1)


def mantissa_range(bits: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest mantissa of ``bits`` bits (sign included); only what indexes a table has more than MAX_BITS."""
    if not MIN_BITS <= bits <= MAX_INDEX_BITS:
        raise BfpError(f"mantissa width {bits} is outside {MIN_BITS}..{MAX_BITS}; choose one inside")
    if signed:
        top = 2 ** (bits - 1) - 1
        return -top, top
    return 0, 2**bits - 1


@dataclass(frozen=True)
class BlockFormat:
    """How one stored tensor is represented.

    bits: mantissa width, sign included, above MAX_BITS only of what indexes a table; signed: symmetric signed mantissas,
    otherwise ``0 .. 2**bits - 1``. ``splits`` are the channel boundaries of
    the exponent groups (``splits[0] == 0``, the last one is the number of
    channels) and ``exponents[g]`` belongs to ``splits[g] : splits[g + 1]``.
    """

    bits: int = checked(whole(MIN_BITS, MAX_INDEX_BITS))
    signed: bool = checked(FLAG)
    splits: tuple[int, ...] = checked(SPLITS)
    exponents: tuple[int, ...] = checked(tuple_of(whole(-MAX_EXPONENT, MAX_EXPONENT), 1, MAX_CHANNELS))

    def __post_init__(self) -> None:
        if type(self.signed) is not bool:
            raise BfpError(f"block format's sign is {shown(self.signed)}; it must be true or false")
        mantissa_range(self.bits, self.signed)
        if len(self.splits) != len(self.exponents) + 1 or self.splits[0] != 0:
            raise BfpError(f"block format has {len(self.exponents)} exponents for the channel splits {shown(self.splits)}")
        if any(a >= b for a, b in zip(self.splits, self.splits[1:])):
            raise BfpError(f"block format's channel splits {shown(self.splits)} do not ascend")

    @property
    def channels(self) -> int:
        return self.splits[-1]

    @property
    def low(self) -> int:
        return mantissa_range(self.bits, self.signed)[0]

    @property
    def high(self) -> int:
        return mantissa_range(self.bits, self.signed)[1]

    def channel_exponents(self) -> np.ndarray:
        """Exponent of every channel, int64 [channels]."""
        return np.repeat(np.asarray(self.exponents, np.int64), np.diff(self.splits))


def common_refinement(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Channel boundaries that cut wherever ``a`` or ``b`` does."""
    return tuple(sorted(set(a) | set(b)))


def block_of(splits: tuple[int, ...], boundaries: tuple[int, ...]) -> np.ndarray:
    """For each group that ``boundaries`` delimit, the index of the block of ``splits`` that holds it."""
    return np.searchsorted(np.asarray(splits), np.asarray(boundaries[:-1]), side="right") - 1


def round_half_up(x: np.ndarray) -> np.ndarray:
    """Nearest integer, halves upward: the rounding of the integer shift."""
    return np.floor(x + 0.5)


def quantise(x: np.ndarray, fmt: BlockFormat, axis: int = -3) -> np.ndarray:
    """Float tensor to mantissas, int16, same shape; ``axis`` is the channel axis."""
    shape = [1] * x.ndim
    shape[axis] = fmt.channels
    scale = np.exp2(-fmt.channel_exponents().astype(np.float64)).reshape(shape)
    return np.clip(round_half_up(np.asarray(x, np.float64) * scale), fmt.low, fmt.high).astype(np.int16)


def dequantise(q: np.ndarray, fmt: BlockFormat, axis: int = -3) -> np.ndarray:
    """Mantissas to float64 values, same shape."""
    shape = [1] * q.ndim
    shape[axis] = fmt.channels
    return q.astype(np.float64) * np.exp2(fmt.channel_exponents().astype(np.float64)).reshape(shape)


def exponent_for_maximum(maximum: np.ndarray, bits: int, signed: bool = True) -> np.ndarray:
    """Smallest exponent at which ``maximum`` is represented without saturation.

    ``maximum`` is an array of block maxima of ``|x|``, any shape; all-zero
    blocks get exponent 0. Returns int64.
    """
    maximum = np.asarray(maximum, np.float64)
    top = mantissa_range(bits, signed)[1]
    safe = np.where(maximum > 0, maximum, top)
    e = np.ceil(np.log2(safe / top)).astype(np.int64)
    # log2 may be one ulp off at exact powers of two, and rounding decides saturation
    e = np.where(round_half_up(safe * np.exp2(-(e - 1.0))) <= top, e - 1, e)
    e = np.where(round_half_up(safe * np.exp2(-e.astype(np.float64))) > top, e + 1, e)
    return np.where(maximum > 0, e, 0)


def exact_exponent(value: float) -> int:
    """The coarsest exponent at which a value other than zero is an integer: 1 for 6 = 3 * 2**1."""
    numerator, denominator = float(value).as_integer_ratio()
    return (numerator & -numerator).bit_length() - denominator.bit_length()


def pack_bits(q: np.ndarray, bits: int) -> np.ndarray:
    """Mantissas, any shape, to a dense little-endian bit string (uint8)."""
    flat = np.ascontiguousarray(q, np.int16).reshape(-1)
    if bits == 8:
        return flat.astype(np.uint8)
    codes = (flat & ((1 << bits) - 1)).astype(np.uint8)
    planes = np.unpackbits(codes[:, None], axis=1, bitorder="little", count=bits)
    return np.packbits(planes.reshape(-1), bitorder="little")


def unpack_bits(packed: np.ndarray, bits: int, count: int, signed: bool = True) -> np.ndarray:
    """Inverse of :func:`pack_bits`: ``count`` mantissas as int16."""
    if bits == 8:
        return packed[:count].view(np.int8).astype(np.int16) if signed else packed[:count].astype(np.int16)
    planes = np.unpackbits(packed, bitorder="little", count=count * bits).reshape(count, bits)
    codes = np.packbits(planes, axis=1, bitorder="little").reshape(-1).astype(np.int16)
    return np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes) if signed else codes
