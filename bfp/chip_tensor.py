"""Tensors that stay in the engine's own memory: where that has them, and after which layer.

Nobody but the engine reads that memory. It copies all of it to external memory where it is asked for the layer behind the
schedule's last one, so that whoever runs layer after layer can look at such a tensor, too, before its words are taken again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp import layout
from bfp.errors import BfpError
from bfp.fields import NAME, TEXT, checked, record, tuple_of, whole
from bfp.format import BlockFormat
from bfp.graph import SHAPE, Shape
from bfp.layout import MAX_WORDS, PlacedTensor, Segment
from bfp.limits import MAX_CHANNELS, MAX_NODES
from bfp.names import shown

MAX_ROWS = 2**16  # of a map


@dataclass(frozen=True)
class ChipRows:
    """So many rows of a tensor, the first of them row ``first``. layer, layer_index: after which they are there, and
    until the next one. segments: where, in words of on-chip memory, as of a tensor of these rows alone.
    """

    layer: str = checked(TEXT)
    layer_index: int = checked(whole(0, MAX_NODES))
    first: int = checked(whole(0, MAX_ROWS))
    rows: int = checked(whole(1, MAX_ROWS))
    segments: tuple[Segment, ...] = checked(tuple_of(record(Segment), 1, MAX_CHANNELS))


@dataclass(frozen=True)
class ChipTensor:
    """A tensor that stays on chip. parts: its rows, in the order of the layers that make them; rows that two of them have
    are equal.
    """

    name: str = checked(NAME)
    shape: Shape = checked(SHAPE)
    format: BlockFormat = checked(record(BlockFormat))
    parts: tuple[ChipRows, ...] = checked(tuple_of(record(ChipRows), 1, MAX_NODES))

    @property
    def layer(self) -> str:
        """With which it is complete."""
        return self.parts[-1].layer

    @property
    def layer_index(self) -> int:
        """The number of that layer."""
        return self.parts[-1].layer_index

    @property
    def placed(self) -> tuple[PlacedTensor, ...]:
        """Each part as a tensor by itself, whose addresses are words of on-chip memory."""
        channels, _, width = self.shape
        return tuple(
            PlacedTensor(self.name, part.layer, part.layer_index, (channels, part.rows, width), self.format, part.segments)
            for part in self.parts
        )

    def layer_of(self, row: int) -> str:
        """The layer that makes a row, the first where two do."""
        return next(part.layer for part in self.parts if part.first <= row < part.first + part.rows)


def layer_of(tensor: PlacedTensor | ChipTensor, row: int) -> str:
    """The layer that makes a row of any tensor."""
    return tensor.layer_of(row) if isinstance(tensor, ChipTensor) else tensor.layer


def verify(tensor: ChipTensor, words: int, lanes: int) -> None:
    """Raise BfpError unless all rows are there, in ``words`` words of on-chip memory."""
    covered = np.zeros(tensor.shape[1], bool)
    for part, placed in zip(tensor.parts, tensor.placed):
        layout.check(placed, words, lanes)
        if part.first + part.rows > len(covered):
            raise BfpError(f"tensor {shown(tensor.name)} has {len(covered)} rows, and layer {part.layer} makes others")
        covered[part.first : part.first + part.rows] = True
    if not covered.all():
        raise BfpError(f"tensor {shown(tensor.name)}: no layer makes row {covered.argmin()}")
