"""Widths of the engine's datapath, which exponents have to respect. See docs/numerics.md."""

ACC_LIMIT = 2**31
MAX_ALIGN_SHIFT = 15  # four bits in the weight stream
MAX_ROUND_SHIFT = 30
MIN_ROUND_SHIFT = -24
MAX_OPERAND_SHIFT = 30
RECIPROCAL_BITS = 22  # 255 * 2**22 leaves room for the rounding half below 2**31
MAX_DIVISOR = 65_000  # pixels of one average
NEVER = -(10**6)  # an exponent below all others: as a lower limit, it demands nothing
