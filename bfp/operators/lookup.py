"""A function of one value, read from a static table: the operand's mantissa is the index.

The operand is rounded to up to ten bits for that; it lies in no memory, since the engine reads the table before it
stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bfp.format import BlockFormat
from bfp.limits import NEVER
from bfp.operators.record import Alignment, Channels, Exponents, Operator, Scaling, Shifting
from bfp.operators.rules import always, no_macs, same_size

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.parameters import Parameters, Weights


def own(node: Node, source: BlockFormat, target: BlockFormat, weights: Weights | None) -> np.ndarray:
    """Entries of the table have the output's exponent."""
    return target.channel_exponents()


def needed(node: Node, source: BlockFormat, wanted: np.ndarray) -> np.ndarray:
    """Whatever the operand's exponent is, the table's entries have the output's."""
    return np.full(source.channels, NEVER, np.int64)


def bound(node: Node, p: Parameters, source: BlockFormat, size: tuple[int, int]) -> np.ndarray:
    """The table's largest magnitude."""
    return np.full(len(p.acc_exponent), float(np.abs(p.table.astype(np.int64)).max()))


LOOKUP = Operator(
    name="lookup",
    roles=("input",),
    channels=Channels.KEPT,
    scaling=Scaling.BLOCKED,
    shifting=Shifting.BLOCKED,
    alignment=Alignment.NONE,
    has_function=True,
    shape=same_size,
    negative=always,
    reach=None,
    exponents=Exponents(own, needed),
    bound=bound,
    macs=no_macs,
)
