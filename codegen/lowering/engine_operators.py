"""What the engine computes: which of its operators does the work of which operator of a graph, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bfp.tables import Table, computes, operator_table


class EngineOperator(Enum):
    """What the engine computes for a layer."""

    CONV = 0
    DEPTHWISE = 1
    MAX_POOL = 2
    AVG_POOL = 3
    ADD = 4
    MAXIMUM = 5

    @property
    def traits(self) -> Traits:
        """What is known of it."""
        return TRAITS[self]

    @property
    def weighted(self) -> bool:
        """Whether weights and a bias load for it."""
        return bool({"dense", "depthwise"} & set(self.traits.arguments))


@dataclass(frozen=True)
class Traits:
    """One of the engine's operators.

    loop: the pipelined loop that counts its cycles, one of codegen.performance.counts.LOOPS. arguments: those of
    ``compute`` (hls/engine.cpp), besides input and sums, that its stage takes.
    """

    loop: str
    arguments: tuple[str, ...] = ()


TRAITS: Table[Traits] = Table(
    "the engine",
    "the engine's operator",
    EngineOperator,
    {
        EngineOperator.CONV: Traits("conv", ("bias", "align", "dense")),
        EngineOperator.DEPTHWISE: Traits("depthwise", ("bias", "depthwise", "biases")),
        EngineOperator.MAX_POOL: Traits("max_pool"),
        EngineOperator.AVG_POOL: Traits("avg_pool"),
        EngineOperator.ADD: Traits("add"),
        EngineOperator.MAXIMUM: Traits("add"),  # the choice is made where the shortcut joins
    },
)
ENGINE_OPERATOR: Table[EngineOperator] = operator_table(
    "the engine",
    {
        "conv": EngineOperator.CONV,
        "slice_pad": EngineOperator.CONV,
        "depthwise": EngineOperator.DEPTHWISE,
        "max_pool": EngineOperator.MAX_POOL,
        "avg_pool": EngineOperator.AVG_POOL,
        "add": EngineOperator.ADD,
        "maximum": EngineOperator.MAXIMUM,
        "identity": EngineOperator.ADD,
    },
    computes,
)
