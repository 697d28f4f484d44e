"""What a layer is to those that cut it: sizes and widths of what it reads, computes and writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bfp.graph import Window
from codegen.lowering.beats import most_beats
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.fusion import InputPool, Pool
from codegen.lowering.layer_fields import DigitFields


@dataclass(frozen=True)
class LayerShape:
    """What a layer is to its tilings: sizes and widths of what it reads, computes and writes.

    op: the engine's operator. channels, in_words: of the input; out_words, out_height, out_width: of what it computes.
    in_bits, out_bits, weight_bits, shortcut_bits: widths of mantissas in memory, 0 where there is no shortcut.
    digits: of which mantissas go as such. pool, input_pool: that run in it, on its results and on its input. factors: by
    which rows and columns grow; planes_again: how often planes load for that, or for the edges that a map gets.
    pictures: that it takes at once, each of them a row of what it computes, and a stride of its window.
    reads_chip, joins_chip, stores_chip: whether its input lies in on-chip memory, its shortcut, and what it stores.
    """

    name: str
    op: EngineOperator
    channels: int
    in_words: int
    out_words: int
    out_height: int
    out_width: int
    window: Window
    in_bits: int
    out_bits: int
    weight_bits: int
    shortcut_bits: int = 0
    digits: DigitFields = DigitFields()
    pool: Pool | None = None
    input_pool: InputPool | None = None
    factors: tuple[int, int] = (1, 1)
    planes_again: int = 0
    pictures: int = 1
    reads_chip: bool = False
    joins_chip: bool = False
    stores_chip: bool = False

    @cached_property
    def edges(self) -> int:
        """Rows that a map gets as it loads, and columns."""
        return 2 if self.planes_again and self.factors == (1, 1) else 0

    @cached_property
    def dense(self) -> bool:
        """Whether every output word needs all input words."""
        return self.op.traits.dense

    @cached_property
    def weighted(self) -> bool:
        """Whether it has weights."""
        return self.op.weighted

    @cached_property
    def stored_beats(self) -> float:
        """Beats of memory per computed word: what is stored of it, and its shortcut.

        Of a pooled map fewer are stored than computed, or more where the map is kept, too.
        """
        share = 1.0
        if self.pool:
            share = self.pool.stored[0] * self.pool.stored[1] / (self.out_height * self.out_width) + self.pool.keeps_map
        return (self.out_bits * share * (not self.stores_chip) + self.shortcut_bits * (not self.joins_chip)) / 8

    def joined_beats(self, height: int, width: int) -> int:
        """Beats of on-chip memory, at most, that are the shortcut of one word of a tile; 0 where it is not there."""
        return height * most_beats(width, self.shortcut_bits) if self.joins_chip else 0
