"""Size of the engine: lanes and on-chip buffers."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields

from bfp.errors import BfpError

_RANGES = {
    "lanes": (2, 64),
    "pixels": (1, 16),
    "input_words": (16, 1 << 20),
    "weight_steps": (1, 4096),
    "tile_blocks": (1, 1 << 16),
}


@dataclass(frozen=True)
class EngineOptions:
    """Upper limits; the generated constants are what the network needs of them.

    lanes: input channels and filters per cycle, and mantissas per memory word
    (a power of two). pixels: output pixels per cycle. input_words: words of
    the input tile buffer. weight_steps: steps of the weight buffer (lanes x
    lanes mantissas each). tile_blocks: blocks of ``pixels`` partial sums kept
    between the weight chunks of a layer.
    """

    lanes: int = 16
    pixels: int = 2
    input_words: int = 8192
    weight_steps: int = 256
    tile_blocks: int = 512

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise BfpError(f"engine option {name} is {value!r}; give a whole number from {low} to {high}")
        if self.lanes & (self.lanes - 1):
            raise BfpError(f"engine option lanes is {self.lanes}; give a power of two")

    @staticmethod
    def from_dict(options: dict) -> "EngineOptions":
        """Options by name. Raises BfpError for an unknown one, with the nearest known name."""
        known = [f.name for f in fields(EngineOptions)]
        for key in options:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}" if near else f"known are {', '.join(known)}"
                raise BfpError(f"engine option {key!r} is unknown; {hint}")
        return EngineOptions(**options)
