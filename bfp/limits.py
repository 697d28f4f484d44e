"""Widths of the engine's datapath, which exponents have to respect (see docs/numerics.md), and sizes that files may state."""

from __future__ import annotations

ACC_LIMIT = 2**31
MAX_ALIGN_SHIFT = 15  # four bits in the weight stream
MAX_REQUANTISATION_SHIFT = 30
MIN_REQUANTISATION_SHIFT = -24
MAX_OPERAND_SHIFT = 30
RECIPROCAL_BITS = 22  # 255 * 2**22 leaves room for the rounding half below 2**31
SHARE_BITS = 16  # of the way from one pixel to another: both differ by 255 at most, which leaves room for 64 times as much
MAX_INDEX_BITS = 10  # of what indexes a table of a function
MAX_DIVISOR = 65_000  # pixels of one average
NEVER = -(10**6)  # an exponent below all others: as a lower limit, it demands nothing

# What a file may state, far above what the memory of a board can hold: nothing larger is ever made.
MAX_CHANNELS = 2**16
MAX_SIDE = 2**14  # rows or columns
MAX_FACTOR = 64  # by which they grow
MAX_VALUES = 2**31  # of one tensor, and of the weights of one layer
MAX_MEMORY = 2**32  # bytes of the weight image, and of the feature maps
MAX_NODES = 2**14
MAX_OPERANDS = 2**10  # of one node
MAX_ENDS = 2**8  # inputs, or outputs, of a network
MAX_HOST_VALUES = 2**25  # of one value that the host computes of others, and may be larger than these
MAX_HOST_CONSTANT = 2**20  # numbers of one constant that the host computes with
MAX_EXPONENT = 1000  # in magnitude: 2**1000 is still a float64
