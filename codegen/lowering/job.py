"""A layer between its plan and its emission: what it computes, and where its operands lie."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.graph import Node
from bfp.parameters import Parameters
from bfp.tables import computes, operator_table
from codegen.lowering.fusion import InputPool, Pool
from codegen.lowering.layer_fields import EngineOperator
from codegen.lowering.placement import Placement

ENGINE_OPERATOR = operator_table(
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


@dataclass(frozen=True)
class Job:
    """A layer to be, with its operands' places; stored: the tensors that are complete then, their labels and places.

    target: of what it computes, or, where only its max pool is stored, of that; pooled: of that, if there is one.
    """

    name: str
    node: Node
    parameters: Parameters
    source: Placement
    target: Placement
    pooled: Placement | None
    shortcut: Placement | None
    stored: list[tuple[str, str, Placement]]
    pool: Pool | None = None
    input_pool: InputPool | None = None

    @property
    def op(self) -> EngineOperator:
        return ENGINE_OPERATOR[self.node.op]

    @property
    def reader(self) -> Node:
        """The node whose window goes over the map in memory: a pool of the input, where there is one."""
        return self.input_pool.node if self.input_pool else self.node
