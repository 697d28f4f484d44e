"""A layer between its plan and its emission: what it computes, and where its operands lie."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.graph import Node
from bfp.operators import Channels
from bfp.parameters import Parameters
from codegen.lowering.engine_operators import EngineOperator, engine_operator
from codegen.lowering.fusion import InputPool, Pool
from codegen.lowering.placement import Placement


@dataclass(frozen=True)
class Band:
    """Rows of a layer that are one of the engine's layers by themselves. first, rows: of what the node computes, ``of`` so
    many; new: how many of them no band before has computed. source_first, target_first: the first row of the map that it reads, and of
    the map that it stores to, the row where its own first one goes.
    """

    first: int
    rows: int
    of: int
    new: int
    source_first: int
    target_first: int


@dataclass(frozen=True)
class Job:
    """A layer to be, with its operands' places; stored: the tensors that are complete then, their labels and places.

    pictures: that it takes at once (codegen/lowering/pictures.py); places are the first one's.
    lookup: the node whose table is read behind what is computed, or none.
    band: its rows, where it is only some of them.
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
    lookup: Node | None = None
    pictures: int = 1
    band: Band | None = None

    @property
    def op(self) -> EngineOperator:
        """The engine's operator. Raises BfpError where there is none for the node."""
        return engine_operator(self.node)

    @property
    def pad_top(self) -> int:
        """Rows of padding before the first one of the map that it reads; below zero where it begins further down."""
        pad, stride = self.reader.window.padding[0], self.reader.window.stride[0]
        return pad - self.band.first * stride + self.band.source_first if self.band else pad

    @property
    def target_first(self) -> int:
        """The row of the map that it stores to where its first one goes."""
        return self.band.target_first if self.band else 0

    @property
    def in_words(self) -> int:
        """Words of channels of its input; where these are phases, of one of them."""
        return self.target.planes if self.node.operator.channels is Channels.PHASED else self.source.planes

    @property
    def planes_again(self) -> int:
        """How often a tile's planes load where its map grows as it loads, 0 where it does not."""
        node = self.node
        return 3 if node.operator.repeats_edges else node.factors[1] if node.factors != (1, 1) else 0

    @property
    def stands(self) -> tuple:
        """What its cycles depend on, of layers of one network: its node, its rows, and which operands are on chip."""
        operands = (self.source, self.target, self.pooled, self.shortcut)
        return self.name, self.band, self.pictures, tuple(x.place if x else None for x in operands)

    @property
    def output(self) -> str:
        """The tensor that the layer makes: what is computed, or what the table makes of it."""
        return self.lookup.output if self.lookup else self.node.output

    @property
    def reader(self) -> Node:
        """The node whose window goes over the map in memory: a pool of the input, where there is one."""
        return self.input_pool.node if self.input_pool else self.node
