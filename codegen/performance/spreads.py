"""How far each kind of counted logic may be off, and why. Published figures are in docs/performance.md, with sources.

Where a reason says "judged", nothing was found to measure it by.
"""

from __future__ import annotations

from codegen.performance.ranges import Spread

ADDERS = Spread(
    0.85,
    1.25,
    "a LUT may hold two functions, as a third of them did in a placed design on this chip; the vendor's compiler "
    "counts up to 8 LUTs more than the width, and enables of pipelines come on top",
)
SHIFTERS = Spread(0.85, 1.3, "Yosys needs an eighth more than the count; a LUT may hold two functions")
CHOICES = Spread(
    0.65,
    1.7,
    "the vendor's compiler counts 42 LUTs for eight to one of 32 bits where 64 are counted here; Yosys needs 1.7 times "
    "the count for ten to one",
)
HALVES = Spread(0.5, 2.0, "a choice of two may vanish in the logic behind it, or take a LUT a bit")
COMPARISONS = Spread(0.9, 1.7, "Yosys needs 15 LUTs for the larger of two 9-bit numbers")
MULTIPLIERS = Spread(
    0.6,
    1.3,
    "the vendor's compiler counts 41 LUTs for 8 x 8 bits where 64 are counted here; above is judged, for the tree that "
    "adds the partial products",
)
PREADDERS = Spread(0.0, 1.25, "the adder in front of a DSP's multiplier may do it; else as adders")
ROUNDING = Spread(0.85, 1.3, "Yosys needs exactly the count for one lane; a LUT may hold two functions")
PACKING = Spread(0.65, 1.7, "choices of eight to one and masks: as choices")
LUT_MEMORIES = Spread(0.9, 1.4, "the widest mode of a LUT memory may not be taken; its addresses are logic (judged)")
LUT_CONSTANTS = Spread(0.3, 1.0, "bits that are the same in all words, or in a few patterns, take no LUT (judged)")
# of block RAM, whose most is counted and no share
BLOCK_SHAPES = "the device's shapes; at most with the depth rounded up to a power of two, as csynth counts"
