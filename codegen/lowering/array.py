"""How the multiplier array of a program is built: products per DSP, pixels, banks."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.errors import BfpError
from codegen.lowering.engine_operators import EngineOperator
from codegen.options import EngineOptions

# Sums that share a DSP lie side by side in fields of so many bits, by products per DSP (hls/products.hpp): two are
# those of two weights with one activation, four those of two weights, two fields apart, with two activations.
FIELD_BITS = {2: 18, 4: 11}
# What the sums of a chain must stay below: half of a field's range, since they have a sign.
SUM_LIMIT = {products: 2 ** (bits - 1) for products, bits in FIELD_BITS.items()}
# Bits by which the upper of two weights lies above the lower one in the DSP's wide operand, and the upper one of two
# activations in its narrow one; 0 where an activation is alone.
WEIGHT_SHIFT = {products: bits * products // 2 for products, bits in FIELD_BITS.items()}
OPERAND_SHIFT = {2: 0, 4: FIELD_BITS[4]}
READS = 2  # of a bank of the input buffer in a cycle, at most: ports of a block RAM
PRIMES = (1, 3, 5, 7, 11, 13, 17)
# A mantissa wider than the array's operands is multiplied as two digits, high * 2**DIGIT_BITS + low (hls/products.hpp).
DIGIT_BITS = 4
LARGEST_DIGIT = 2**DIGIT_BITS - 1


@dataclass(frozen=True)
class Array:
    """lanes x filters x pixels products a cycle.

    products: per DSP; chain: products summed inside a DSP before its fields
    are split; banks: of the input buffer, a prime so that strides do not
    collide; reads: of each bank per cycle. weight, operand: largest |weight|
    and |activation| that are multiplied at once; larger ones go as digits. multiplier_bits, narrow_multiplier_bits:
    of the operands of the chip's DSPs. depthwise_pixels: pixel lanes of depthwise convolution, whose multipliers are logic.
    """

    lanes: int
    filters: int
    pixels: int
    products: int
    chain: int
    banks: int
    reads: int
    weight: int
    operand: int
    multiplier_bits: int
    narrow_multiplier_bits: int
    depthwise_pixels: int

    @property
    def walk_pixels(self) -> int:
        """As many pixel lanes as any operator has."""
        return max(self.pixels, self.depthwise_pixels)

    def pixels_of(self, op: EngineOperator) -> int:
        """Pixel lanes of an operator's stage."""
        return self.depthwise_pixels if op.traits.loop == "depthwise" else self.pixels

    @property
    def weight_bits(self) -> int:
        """Bits of the largest weight that is multiplied at once, sign included."""
        return self.weight.bit_length() + 1

    @property
    def operand_bits(self) -> int:
        """Bits of the largest activation that is multiplied at once, with the sign that an unsigned one has not."""
        return self.operand.bit_length() + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates per cycle of a dense convolution."""
        return self.lanes * self.filters * self.pixels

    def pitch(self, in_width: int, tile_width: int, stride: tuple[int, int]) -> int | None:
        """Words from one input row to the next, so that consecutive pixels lie in different banks.

        ``pitch * stride_h == tile_width * stride_w (mod banks)``, see hls/window.hpp.
        None where no pitch does that.
        """
        sh, sw = stride
        if self.banks > 1 and (sw % self.banks == 0 or sh % self.banks == 0):
            return None
        return next(p for p in range(in_width, in_width + self.banks) if (p * sh - tile_width * sw) % self.banks == 0)


    def column_pitch(self, in_width: int, stride: int) -> int | None:
        """The same for a tile of one column, whose consecutive pixels are ``stride`` rows apart."""
        if self.banks > 1 and stride % self.banks == 0:
            return None
        return next(p for p in range(in_width, in_width + self.banks) if self.banks == 1 or p * stride % self.banks)


def longest_chain(lanes: int, limit: int, weight: int, activation: int) -> int:
    """Largest power of two up to ``lanes`` whose sums of products stay below ``limit``; 0 if one product does not."""
    chain = lanes
    while chain and chain * weight * activation >= limit:
        chain //= 2
    return chain


def fits_operand(magnitude: int, shift: int, bits: int) -> bool:
    """Whether two mantissas of that magnitude, one of them shifted, fit a signed operand of so many bits; one: shift 0."""
    upper = magnitude << shift if shift else 0
    return upper + magnitude < 2 ** (bits - 1)


def most_depthwise_pixels(pixels: int) -> int:
    """The most pixel lanes that depthwise convolution may have with the engine option ``pixels``: reads of all banks."""
    return READS * banks_of(pixels)


def banks_of(pixels: int) -> int:
    """Banks of the input buffer for the engine option ``pixels``."""
    return next(p for p in PRIMES if p >= pixels)


def build_array(
    options: EngineOptions, weight: int, activation: int, multiplier_bits: int, narrow_multiplier_bits: int
) -> Array:
    """The array for the widest mantissas of the dense layers: largest |weight| and |activation|.

    multiplier_bits, narrow_multiplier_bits: of the operands of the chip's DSPs. Raises
    BfpError where the option ``products`` asks for more than these widths allow.
    """
    pair, quad = (
        longest_chain(options.lanes, SUM_LIMIT[n], weight, activation)
        if fits_operand(weight, WEIGHT_SHIFT[n], multiplier_bits)
        and fits_operand(activation, OPERAND_SHIFT[n], narrow_multiplier_bits)
        else 0
        for n in (2, 4)
    )
    possible = 1 if options.filters % 2 or not pair else 4 if quad else 2
    # four products that must be split after each are more logic than multiplier
    products = options.products or (2 if possible == 4 and quad < 2 else possible)
    if products > possible:
        raise BfpError(
            f"engine option products is {products}; mantissas up to {weight} (weights) and {activation} (activations) "
            f"allow {possible} per DSP"
        )
    twins = 2 if products == 4 else 1
    banks = banks_of(options.pixels)
    chain = {1: options.lanes, 2: pair, 4: quad}[products]
    pixels = options.pixels * twins
    operands = (weight, activation, multiplier_bits, narrow_multiplier_bits)
    depthwise = options.depthwise_pixels or pixels
    if depthwise > most_depthwise_pixels(options.pixels):
        raise BfpError(
            f"engine option depthwise_pixels is {depthwise}; the input buffer has {banks} banks with {READS} ports, so that "
            f"{READS * banks} is the most"
        )
    return Array(options.lanes, options.filters, pixels, products, chain, banks, twins, *operands, depthwise)
