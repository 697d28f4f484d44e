"""What the engine computes: which of its operators does the work of which operator of a graph, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bfp.errors import BfpError
from bfp.graph import Node
from bfp.operators import Join
from bfp.tables import Table, operator_table, runs_alone


# pipelined loops of the engine whose iterations are cycles of a layer's own operator
COMPUTE_LOOPS = ("conv", "depthwise", "max_pool", "avg_pool", "add")


class EngineOperator(Enum):
    """What the engine computes for a layer."""

    CONV = 0
    DEPTHWISE = 1
    MAX_POOL = 2
    AVG_POOL = 3
    ADD = 4
    MAXIMUM = 5
    MINIMUM = 6
    MULTIPLY = 7
    INTERPOLATE = 8

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

    loop: the pipelined loop that counts its cycles, one of COMPUTE_LOOPS. arguments: those of
    ``compute`` (hls/engine.cpp), besides input and sums, that its stage takes. dense: every output word needs all input
    words; otherwise its own. scaled: the epilogue multiplies its sums by a number that may differ from pixel to pixel.
    join: what the epilogue makes of sum and shortcut.
    """

    loop: str
    arguments: tuple[str, ...] = ()
    dense: bool = False
    scaled: bool = False
    join: Join = Join.SUM

    def __post_init__(self) -> None:
        if self.loop not in COMPUTE_LOOPS:
            raise BfpError(f"the engine has no loop {self.loop!r}; known are {', '.join(COMPUTE_LOOPS)}")


TRAITS: Table[Traits] = Table(
    "the engine",
    "the engine's operator",
    EngineOperator,
    {
        EngineOperator.CONV: Traits("conv", ("bias", "align", "dense"), dense=True),
        EngineOperator.DEPTHWISE: Traits("depthwise", ("bias", "depthwise", "biases")),
        EngineOperator.MAX_POOL: Traits("max_pool"),
        EngineOperator.AVG_POOL: Traits("avg_pool", scaled=True),
        EngineOperator.ADD: Traits("add"),
        EngineOperator.MAXIMUM: Traits("add", join=Join.LARGER),
        EngineOperator.MINIMUM: Traits("add", join=Join.SMALLER),
        EngineOperator.MULTIPLY: Traits("add", join=Join.PRODUCT),
        # differences are sums by the weights 1 and -1
        EngineOperator.INTERPOLATE: Traits("depthwise", ("bias", "depthwise", "biases"), scaled=True),
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
        "minimum": EngineOperator.MINIMUM,
        "multiply": EngineOperator.MULTIPLY,
        "identity": EngineOperator.ADD,
        "upsample_nearest": EngineOperator.ADD,
        "depth_to_space": EngineOperator.ADD,
        "pad_edge": EngineOperator.ADD,
        "interpolate": EngineOperator.INTERPOLATE,
        # its layers are those of codegen/lowering/interpolation.py, of which the last one is a copy
        "upsample_bilinear": EngineOperator.ADD,
    },
    runs_alone,
)


def engine_operator(node: Node) -> EngineOperator:
    """The engine's operator that does the work of a node. Raises BfpError where it would join a shortcut otherwise."""
    found = ENGINE_OPERATOR[node.op]
    if node.shortcut and found.traits.join is not node.operator.join:
        raise BfpError(
            f"node {node.name}: {node.op} makes {node.operator.join.value} of its operands, and the engine's "
            f"{found.name} {found.traits.join.value}"
        )
    return found
