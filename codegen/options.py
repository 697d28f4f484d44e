"""Size of the engine: lanes and on-chip buffers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields

from bfp.deployment import MAX_BATCH
from bfp.errors import BfpError
from bfp.names import shown
from codegen.lowering.weight_queue import LEAST_WORDS

MOST_DIGITS = 9  # of an option's number
_RANGES = {
    "lanes": (2, 64),
    "filters": (0, 64),
    "pixels": (1, 16),
    "products": (0, 4),
    "input_words": (16, 1 << 20),
    "weight_steps": (1, 4096),
    "tile_blocks": (1, 1 << 16),
    "batch": (1, MAX_BATCH),
    "chip_words": (0, 1 << 17),
    "fold_input": (0, 1),
    "depthwise_pixels": (0, 34),
    "weights_ahead": (0, 1 << 16),
}


@dataclass(frozen=True)
class EngineOptions:
    """Upper limits; the generated constants are what the network needs of them.

    lanes: input channels per cycle, and mantissas per memory word (a power of
    two). filters: filters per cycle, a divisor of lanes; 0: 8, or
    lanes where they are fewer. pixels: output pixels
    per cycle; twice as many where four products share a DSP. products: products
    per DSP, 1, 2 or 4; 0: as many as the network's mantissa widths allow.
    input_words: words of the input tile buffer. weight_steps: steps of the
    weight buffer (lanes x lanes mantissas each). tile_blocks: blocks of partial
    sums kept between the weight chunks of a layer. batch: pictures that the last layers
    take at once where they can, so that their weights are read once for all of them.
    chip_words: words of on-chip memory in which feature maps stay between layers;
    0: there is none. fold_input: 1: several pixels of an input of few channels stand side by
    side in a word, where a first layer with a stride takes fewer cycles so.
    depthwise_pixels: output pixels per cycle of depthwise convolution; 0: as many as of any other.
    weights_ahead: words of a queue on chip in which weights of later passes and layers wait, fetched while memory has nothing
    else to do; 0: there is none.
    """

    lanes: int = 16
    filters: int = 0
    pixels: int = 5
    products: int = 0
    input_words: int = 8190
    weight_steps: int = 512
    tile_blocks: int = 256
    batch: int = 1
    chip_words: int = 0
    fold_input: int = 0
    depthwise_pixels: int = 0
    weights_ahead: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise BfpError(f"engine option {name} is {value!r}; give a whole number from {low} to {high}")
        if self.lanes & (self.lanes - 1):
            raise BfpError(f"engine option lanes is {self.lanes}; give a power of two")
        if not self.filters:
            object.__setattr__(self, "filters", min(8, self.lanes))
        if self.lanes % self.filters:
            raise BfpError(f"engine option filters is {self.filters}; give a divisor of lanes ({self.lanes})")
        if 0 < self.weights_ahead < LEAST_WORDS:
            raise BfpError(
                f"engine option weights_ahead is {self.weights_ahead}; give 0, for no queue of weights, or at least {LEAST_WORDS} words"
            )
        if self.products == 3 or (self.products > 1 and self.filters % 2):
            raise BfpError(
                f"engine option products is {self.products} with {self.filters} filters; give 0, 1, or with an even "
                "number of filters 2 or 4"
            )

    @staticmethod
    def from_words(words: Iterable[str]) -> EngineOptions:
        """Options as a command line gives them, ``NAME=NUMBER`` each. Raises BfpError for anything else."""
        options: dict[str, int] = {}
        for word in words:
            key, _, value = word.partition("=")
            digits = value.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
                raise BfpError(f"engine option {shown(word)} is not NAME=NUMBER; write for instance lanes=16")
            if key in options:
                raise BfpError(f"engine option {key} is given twice; give it once")
            options[key] = int(value)
        return EngineOptions.from_dict(options)

    @staticmethod
    def from_dict(options: dict[str, int]) -> EngineOptions:
        """Options by name. Raises BfpError for an unknown one, with the nearest known name."""
        known = [f.name for f in fields(EngineOptions)]
        for key in options:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}" if near else f"known are {', '.join(known)}"
                raise BfpError(f"engine option {key!r} is unknown; {hint}")
        return EngineOptions(**options)
