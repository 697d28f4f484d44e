"""What an operator is, said once: the record that every package reads.

What a package *does* with an operator stands in a table of that package (see
bfp.tables); what the operator *is* stands here, in one file for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat

if TYPE_CHECKING:
    from bfp.graph import Node
    from bfp.window import Window
    from bfp.parameters import Parameters, Weights

    OwnRule = Callable[[Node, BlockFormat, BlockFormat, Weights | None], np.ndarray]
    RangeRule = Callable[[BlockFormat, tuple[int, ...]], tuple[np.ndarray, np.ndarray]]

Shape = tuple[int, int, int]  # channels, height, width


class Channels(Enum):
    """Which channels of the main operand an output channel is made of."""

    MIXED = "all of them"
    KEPT = "the one of the same number"
    MOVED = "the one whose number is less by the node's channel_offset, or none"
    PHASED = "the one of the same number in each of the phases that the operand's channels are"
    JOINED = "the one at its place when the operands' channels stand one behind the other"


class Scaling(Enum):
    """What becomes of the function where channels of the operands are multiplied by positive factors."""

    ABSORBED = "weights take the factors of operand and output, so that both are free"
    PASSES = "the output's channels are multiplied by the factors of the channels that they are made of"
    MAIN_PASSES = "those of the main operand pass; of any other operand it is another function"
    BLOCKED = "it is another function"


class Shifting(Enum):
    """What becomes of the function where constants are added to channels of the operands."""

    ABSORBED = "biases take the constants, where no zero padding meets them"
    BLOCKED = "it is another function, or nobody has needed to know"


class Alignment(Enum):
    """What is shifted left so that everything meets at the accumulator's exponent."""

    BLOCKS = "each partial sum of one pair of blocks"
    OPERAND = "the main operand, or the sum of its products"
    NONE = "nothing: the accumulator has the operator's own exponent"


class Join(Enum):
    """What becomes of main operand and shortcut, both brought to the accumulator's exponent first where it aligns."""

    SUM = "their sum"
    LARGER = "the larger one of both"
    SMALLER = "the smaller one of both"
    PRODUCT = "their product"

    @property
    def aligns(self) -> bool:
        """Whether both must be at one exponent; those of a product's factors add up."""
        return self is not Join.PRODUCT


@dataclass(frozen=True)
class WeightAxes:
    """Axes of the weight array [filters, inputs, kernel height, kernel width].

    inputs: the axis along which the main operand's channels lie; for one filter a channel that is axis 0.
    """

    inputs: int

    @property
    def per_channel(self) -> bool:
        """Whether every channel has a filter of its own."""
        return self.inputs == 0

    def along_inputs(self, values: np.ndarray) -> np.ndarray:
        """One value for each input channel, [C], shaped to broadcast over the weight array."""
        return values.reshape(tuple(-1 if axis == self.inputs else 1 for axis in range(4)))

    def other_axes(self) -> tuple[int, ...]:
        """All axes but that of the input channels."""
        return tuple(axis for axis in range(4) if axis != self.inputs)


@dataclass(frozen=True)
class Broadcast:
    """Along what one value of a shortcut stands for all of the output's. channels: its only channel; pixels: its only one."""

    channels: bool
    pixels: bool

    @staticmethod
    def of(shortcut: Shape, output: Shape) -> Broadcast | None:
        """That from one shape to another, None where there is none."""
        channels, pixels = shortcut[0] != output[0], shortcut[1:] != output[1:]
        if (channels and shortcut[0] != 1) or (pixels and shortcut[1:] != (1, 1)):
            return None
        return Broadcast(channels, pixels)


@dataclass(frozen=True)
class Exponents:
    """The exponent rule, forwards and backwards.

    own(node, source, target, weights): the exponent that the operator's own result has before it meets a shortcut,
    int64 [output channels].
    needed: of which exponents the result is no finer than ``wanted`` (int64 [output channels], NEVER for no demand).
    Without weights ``needed(node, source, wanted)`` gives those of the main operand's channels, int64 [C];
    with weights ``needed(source, wanted, splits)`` gives those of the weight blocks that ``splits`` delimit, int64
    [filters, blocks], since it is weights that make room.
    operand_range(source, splits): finest and coarsest exponent of the operand that each weight block meets, broadcast to
    [filters, blocks]; None without weights.
    """

    own: OwnRule
    needed: Callable[..., np.ndarray]
    operand_range: RangeRule | None = None


@dataclass(frozen=True)
class Operator:
    """One operator.

    name: in graphs, file names and tables. roles: of the operands that it must have, in order; optional: of those it
    may have behind them; join: what a shortcut is for; variadic: the last of ``roles`` may be repeated.
    computes: whether it has an accumulator; otherwise it only places its operands, and nothing is stored for it.
    weights: axes of its weights, None where it has none.
    channels, scaling, shifting, alignment: see the enumerations.
    has_window, counts_padding: its node's window, and counted_padding, mean something; otherwise the node has none.
    has_function: whether its node names one of bfp.functions, which the operand's mantissas index a table of.
    has_shares: whether its node has a share for each row or column, by which its differences are multiplied.
    broadcasts: whether a shortcut may have one value for all channels, one for all pixels, or both, see ``Broadcast``.
    dilates: whether kernel positions may lie apart. enlarges: whether the node has factors by which rows and columns grow.
    repeats_edges: whether the map gets a row and a column more on every side, equal to those at the edges.
    states_channels: the number of output channels is the node's own; otherwise it follows from the operands.
    pads_lowest: padding is below every value; otherwise it is zero.
    keeps_exponents: the output has the operand's exponents. moves: mantissas reach the output unchanged where formats
    agree. idle_at_one_pixel: a window of one pixel and no activation leave nothing to do.
    shape(node, operands, channels): the output's shape from the operands', and from the channels that the node states.
    negative(operands): whether the result can be negative, before the activation, where operands can or cannot.
    reach(operands): largest magnitude of the result where operands have these, None where weights decide.
    exponents: see there. bound(node, p, source, size): largest magnitude of the operator's own sum, float64
    [output channels], for the main operand's format and map size (height, width), before bias and shortcut.
    macs(node, operand, output): multiply-accumulates of one image, from the shapes of main operand and output.
    check(node, operand): raises BfpError where the engine cannot compute the node, from the main operand's shape.
    """

    name: str
    roles: tuple[str, ...]
    channels: Channels
    scaling: Scaling
    shifting: Shifting
    alignment: Alignment
    shape: Callable[[Node, Sequence[Shape], int], Shape]
    negative: Callable[[Sequence[bool]], bool]
    reach: Callable[[Sequence[float]], float] | None
    exponents: Exponents | None
    bound: Callable[[Node, Parameters, BlockFormat, tuple[int, int]], np.ndarray] | None
    macs: Callable[[Node, Shape, Shape], int]
    optional: tuple[str, ...] = ()
    join: Join = Join.SUM
    variadic: bool = False
    computes: bool = True
    weights: WeightAxes | None = None
    has_window: bool = False
    counts_padding: bool = False
    dilates: bool = False
    enlarges: bool = False
    repeats_edges: bool = False
    states_channels: bool = False
    pads_lowest: bool = False
    keeps_exponents: bool = False
    moves: bool = False
    idle_at_one_pixel: bool = False
    has_function: bool = False
    has_shares: bool = False
    broadcasts: bool = False
    check: Callable[[Node, Shape], None] = lambda node, operand: None

    def __post_init__(self) -> None:
        """Raise BfpError where the record contradicts itself."""
        faults = {
            "it computes, but has no exponent rule or no bound": self.computes and not (self.exponents and self.bound),
            "it absorbs scales or constants without weights": self.weights is None
            and (self.scaling is Scaling.ABSORBED or self.shifting is Shifting.ABSORBED),
            "its weights have no operand_range": self.weights is not None and self.exponents.operand_range is None,
            "it has no operand": not self.roles,
        }
        for fault, found in faults.items():
            if found:
                raise BfpError(f"the record of operator {self.name!r} contradicts itself: {fault}")

    def takes(self, count: int) -> bool:
        """Whether the operator has so many operands."""
        if self.variadic:
            return count >= len(self.roles)
        return len(self.roles) <= count <= len(self.roles) + len(self.optional)

    def arity(self) -> str:
        """The numbers of operands that ``takes`` allows, for people."""
        least = len(self.roles)
        if self.variadic:
            return f"{least} or more"
        return str(least) if not self.optional else f"{least} to {least + len(self.optional)}"

    def check_fields(self, node: Node, no_window: Window, where: str) -> None:
        """Raise BfpError, which begins with ``where``, where the node has what means nothing for its operator."""
        if self.has_function and node.function is None:
            raise BfpError(f"{where}: {self.name} names no function")
        stray = {
            "window": not self.has_window and node.window != no_window,
            "activation": (not self.computes or self.has_function) and node.activation != "none",
            "counted_padding": not self.counts_padding and any(node.counted_padding),
            "channel_offset": self.channels is not Channels.MOVED and node.channel_offset != 0,
            "factors": not self.enlarges and node.factors != (1, 1),
            "function": not self.has_function and node.function is not None,
            "shares": not self.has_shares and node.shares != (),
        }
        if not self.dilates and node.window.dilation != no_window.dilation:
            raise BfpError(f"{where}: {self.name} takes no dilation, but has {node.window.dilation!r}")
        for name, wrong in stray.items():
            if wrong:
                raise BfpError(f"{where}: {self.name} takes no {name}, but has {getattr(node, name)!r}")

    def role(self, index: int) -> str:
        """Role of an operand by its place."""
        roles = (*self.roles, *self.optional)
        return roles[min(index, len(roles) - 1)] if self.variadic else roles[index]

    def origins(self, node: Node, operands: Sequence[int], channels: int) -> list[np.ndarray | None]:
        """For each operand, which of its channels every output channel is made of: int64 [channels], -1 for none.

        None stands for all of them, or several. operands: their numbers of channels; channels: of the output. A shortcut, and
        any other operand beside the main one, meets the output channel by channel, or all of it with its only one.
        """
        at = np.arange(channels)
        if self.channels is Channels.JOINED:
            starts = np.cumsum([0, *operands])
            return [np.where((at >= a) & (at < b), at - a, -1) for a, b in zip(starts, starts[1:])]
        if self.channels in (Channels.MIXED, Channels.PHASED):
            main = None
        elif self.channels is Channels.KEPT:
            main = at
        else:
            moved = at - node.channel_offset
            main = np.where((moved >= 0) & (moved < operands[0]), moved, -1)
        return [main, *(np.minimum(at, count - 1) if self.broadcasts else at for count in operands[1:])]
