"""The network as the engine sees it: a list of nodes over named tensors.

The same graph carries the float network during calibration, the integer
network in the artifact, and the layers of the generated accelerator. Every
tensor is channels x height x width; the batch axis is not part of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TypeVar

from bfp.activations import Activation, activation
from bfp.errors import BfpError
from bfp.fields import NAME, TEXT, checked, fixed, in_order, limited, mapping, record, tuple_of, whole
from bfp.functions import FunctionCall
from bfp.limits import MAX_CHANNELS, MAX_ENDS, MAX_FACTOR, MAX_NODES, MAX_OPERANDS, MAX_SIDE, MAX_VALUES, SHARE_BITS
from bfp.names import check_name, shown
from bfp.operators import Broadcast, Channels, Operator, operator
from bfp.window import SIDE, STEP, Window

Shape = tuple[int, int, int]  # channels, height, width
Images = TypeVar("Images")  # an array or a torch tensor
SHAPE = limited(
    in_order(whole(1, MAX_CHANNELS), SIDE, SIDE),
    lambda shape: shape[0] * shape[1] * shape[2] <= MAX_VALUES,
    f"a shape of at most {MAX_VALUES} values",
)


@dataclass(frozen=True)
class Node:
    """One operator at its place.

    op: a name of bfp.operators, whose record says which operands ``inputs`` are; activation: one of bfp.activations.
    counted_padding: for ``avg_pool``, the padding (top, left, bottom, right)
    that counts in the divisor (all zero for ``count_include_pad=False``).
    channel_offset: for ``slice_pad``, output channel ``c`` is input channel
    ``c - channel_offset`` where that exists, zero elsewhere.
    source: the names of the modules of the original network that it came from.
    function: for ``lookup``, which one its table holds. factors: for what enlarges maps, by which rows and columns grow.
    shares: for ``interpolate``, how far each row or column goes towards another one, in parts of 2**SHARE_BITS.
    """

    name: str = checked(NAME)
    op: str = checked(NAME)
    inputs: tuple[str, ...] = checked(tuple_of(NAME, 1, MAX_OPERANDS))
    output: str = checked(NAME)
    window: Window = checked(record(Window), default_factory=Window)
    activation: str = checked(NAME, default="none")
    counted_padding: tuple[int, int, int, int] = checked(fixed(STEP, 4), default=(0, 0, 0, 0))
    channel_offset: int = checked(whole(-MAX_CHANNELS, MAX_CHANNELS), default=0)
    source: tuple[str, ...] = checked(tuple_of(TEXT, 0, MAX_NODES), default=())
    function: FunctionCall | None = checked(record(FunctionCall), omitted=True, default=None)
    factors: tuple[int, int] = checked(fixed(whole(1, MAX_FACTOR), 2), omitted=True, default=(1, 1))
    shares: tuple[int, ...] = checked(tuple_of(whole(0, 2**SHARE_BITS), 0, MAX_SIDE), omitted=True, default=())

    @property
    def operator(self) -> Operator:
        """The operator's record. Raises BfpError, naming the node, where there is none."""
        return operator(self.op, f"node {self.name}")

    @property
    def act(self) -> Activation:
        """The activation's record. Raises BfpError, naming the node, where there is none."""
        return activation(self.activation, f"node {self.name}")

    def can_be_negative(self, operands: Sequence[bool]) -> bool:
        """Whether a value of the result may be below zero, where the operands' values may or may not."""
        if self.function is not None:
            return self.function.can_be_negative(f"node {self.name}")
        return not self.act.non_negative and self.operator.negative(operands)

    @property
    def main(self) -> str:
        """The first operand."""
        return self.inputs[0]

    @property
    def shortcut(self) -> str | None:
        """The operand added before the one rounding, if there is one."""
        roles = (self.operator.role(i) for i in range(len(self.inputs)))
        return next((t for t, role in zip(self.inputs, roles) if role == "shortcut"), None)

    @property
    def weighted(self) -> bool:
        """Whether the operator has weights."""
        return self.operator.weights is not None

    def divisors(self, height: int, width: int) -> tuple[list[int], list[int]]:
        """Rows and columns that count, per output row and per output column (``avg_pool``)."""
        top, left, bottom, right = self.counted_padding
        out_h, out_w = self.window.output_size(height, width)
        (kh, kw), (sh, sw), (pt, pl, _, _) = self.window.kernel, self.window.stride, self.window.padding
        rows = [min(y * sh - pt + kh, height + bottom) - max(y * sh - pt, -top) for y in range(out_h)]
        cols = [min(x * sw - pl + kw, width + right) - max(x * sw - pl, -left) for x in range(out_w)]
        return rows, cols


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph in topological order.

    inputs, outputs: names of tensors, at least one each. shapes maps every tensor to (channels, height, width).
    All inputs are of one height and width: an *image* of the network is their channels, one input after the other.
    """

    name: str = checked(NAME)
    inputs: tuple[str, ...] = checked(tuple_of(NAME, 1, MAX_ENDS))
    outputs: tuple[str, ...] = checked(tuple_of(NAME, 1, MAX_ENDS))
    nodes: tuple[Node, ...] = checked(tuple_of(record(Node), 0, MAX_NODES))
    shapes: dict[str, Shape] = checked(mapping(SHAPE, 2 * MAX_NODES))

    @property
    def input(self) -> str:
        """The only input. Raises BfpError where there are several."""
        return self._only("input", self.inputs)

    @property
    def output(self) -> str:
        """The only output. Raises BfpError where there are several."""
        return self._only("output", self.outputs)

    @property
    def image_shape(self) -> Shape:
        """Shape of an image: the channels of all inputs, their height and width."""
        _, height, width = self.shapes[self.inputs[0]]
        return sum(self.shapes[t][0] for t in self.inputs), height, width

    def input_parts(self, images: Images) -> dict[str, Images]:
        """Each input's channels of images [N, C, H, W], by tensor; an array or a torch tensor."""
        return self._parts(images, {t: self.shapes[t][0] for t in self.inputs})

    def output_parts(self, values: Images) -> dict[str, Images]:
        """Each output's own of the values of all outputs side by side [N, values], by tensor."""
        return self._parts(values, {t: prod(self.shapes[t]) for t in self.outputs})

    def output_named(self, name: str | None) -> str:
        """The output of this name; the first for None. Raises BfpError, which lists all, where there is none."""
        if name is not None and name not in self.outputs:
            raise BfpError(f"network {self.name} has no output named {name!r}; its outputs are {', '.join(self.outputs)}")
        return name or self.outputs[0]

    @staticmethod
    def _parts(array: Images, sizes: dict[str, int]) -> dict[str, Images]:
        ends = list(accumulate(sizes.values()))
        return {t: array[:, end - size : end] for (t, size), end in zip(sizes.items(), ends)}

    def _only(self, what: str, tensors: tuple[str, ...]) -> str:
        if len(tensors) != 1:
            raise BfpError(f"network {self.name} has {len(tensors)} {what}s ({', '.join(tensors)}); only one is supported")
        return tensors[0]

    def producer(self, tensor: str) -> Node | None:
        """The node that writes ``tensor``; None for an input of the network."""
        return next((n for n in self.nodes if n.output == tensor), None)

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read ``tensor``, in order."""
        return [n for n in self.nodes if tensor in n.inputs]

    def node(self, name: str) -> Node:
        """The node of this name. Raises BfpError where there is none."""
        for n in self.nodes:
            if n.name == name:
                return n
        raise BfpError(f"network {self.name} has no node named {name!r}")

    def weighted(self) -> list[Node]:
        """The nodes with weights, in order."""
        return [n for n in self.nodes if n.weighted]

    def computed(self) -> list[Node]:
        """The nodes that compute something, in order; the others only place their operands."""
        return [n for n in self.nodes if n.operator.computes]

    def stored_tensors(self) -> list[str]:
        """The network's inputs and every tensor that a node computes (concat only places them)."""
        return [*self.inputs, *(n.output for n in self.computed())]

    def last_uses(self) -> list[tuple[str, ...]]:
        """For each node, the tensors that no later node reads: those of its operands, and its own output if nobody does.

        The network's outputs are among them where no node reads them later; whoever wants them keeps them.
        """
        last = {t: i for i, node in enumerate(self.nodes) for t in (node.output, *node.inputs)}
        return [
            tuple(dict.fromkeys(t for t in (*node.inputs, node.output) if last[t] == i))
            for i, node in enumerate(self.nodes)
        ]

    def segments(self) -> dict[str, tuple[int, ...]]:
        """Channel boundaries, per tensor, that a block must not straddle.

        They come from concatenation: each branch starts in a fresh memory
        word. Operators that keep channels in place hand them on, and a result
        lies as its shortcut does. Phases hand on the boundaries that all of
        them have. What mixes channels lets each slice of its result start in
        a fresh word, too, so that it can be read where it is.
        """
        found: dict[str, tuple[int, ...]] = {t: (0, self.shapes[t][0]) for t in self.inputs}
        cuts: dict[str, set[int]] = {}
        for node in self.nodes:
            cuts.setdefault(node.main, set()).update(self.channel_slice(node) or self.phases(node) or ())
        for node in self.nodes:
            kind = node.operator.channels
            if kind is Channels.JOINED:
                splits = [0]
                for t in node.inputs:
                    base = splits[-1]
                    splits += [base + s for s in found[t][1:]]
                found[node.output] = tuple(splits)
            elif kind is Channels.KEPT:
                found[node.output] = found[node.main]
            elif kind is Channels.PHASED:
                found[node.output] = self._common_segments(node, found[node.main])
            elif node.shortcut:
                found[node.output] = found[node.shortcut]
            elif kind is Channels.MIXED:
                found[node.output] = tuple(sorted({0, self.shapes[node.output][0]} | cuts.get(node.output, set())))
            else:
                found[node.output] = self._moved_segments(node, found[node.main])
        return found

    def _moved_segments(self, node: Node, operand: tuple[int, ...]) -> tuple[int, ...]:
        """The boundaries that a slice keeps of its operand's, where it begins at one; otherwise only its own ends."""
        start, stop = self.channel_slice(node) or (-1, -1)
        if start not in operand:
            return 0, self.shapes[node.output][0]
        return tuple(s - start for s in operand if start <= s < stop) + (stop - start,)

    def _common_segments(self, node: Node, operand: tuple[int, ...]) -> tuple[int, ...]:
        """The boundaries that every phase of a node's operand has, counted from where the phase begins."""
        channels = self.shapes[node.output][0]
        phases = range(0, self.shapes[node.main][0], channels)
        inner = [{s - start for s in operand if start < s < start + channels} for start in phases]
        return tuple(sorted({0, channels} | set.intersection(*inner)))

    def channel_slice(self, node: Node) -> tuple[int, int] | None:
        """First and last channel (exclusive) where a node takes adjacent channels and does nothing else; else None."""
        if node.operator.channels is not Channels.MOVED or node.window != Window() or node.activation != "none":
            return None
        start = -node.channel_offset
        stop = start + self.shapes[node.output][0]
        return (start, stop) if 0 <= start and stop <= self.shapes[node.main][0] else None

    def phases(self, node: Node, segments: tuple[int, ...] = ()) -> tuple[int, ...] | None:
        """The boundaries of the phases that a node's operand consists of; None where it has none.

        segments: of the result; each phase then has these boundaries, too.
        """
        if node.operator.channels is not Channels.PHASED:
            return None
        channels, whole = self.shapes[node.output][0], self.shapes[node.main][0]
        return tuple(sorted({start + s for start in range(0, whole, channels) for s in (0, channels, *segments)}))

    def validate(self) -> None:
        """Check names, structure and shapes. Raises BfpError naming the node."""
        check_name(self.name, "network", f"network {shown(self.name)}")
        where = f"network {self.name}"
        if not self.inputs or not self.outputs:
            raise BfpError(f"{where}: it has no {'output' if self.inputs else 'input'}")
        for what, tensors in (("input", self.inputs), ("output", self.outputs)):
            for tensor in tensors:
                if tensors.count(tensor) > 1:
                    raise BfpError(f"{where}: tensor {tensor!r} is two of its {what}s")
        for tensor in self.inputs:
            if tensor not in self.shapes:
                raise BfpError(f"{where}: input tensor {tensor!r} has no shape")
            if self.shapes[tensor][1:] != self.shapes[self.inputs[0]][1:]:
                sizes = ", ".join(f"{t} is {self.shapes[t]}" for t in (self.inputs[0], tensor))
                raise BfpError(f"{where}: its inputs are of several sizes ({sizes}); they must have one height and width")
        for tensor in self.shapes:
            check_name(tensor, "tensor", where)
        known = set(self.inputs)
        placed: set[str] = set()
        names: set[str] = set()
        for node in self.nodes:
            check_name(node.name, "node", where)
            if node.name in names:
                raise BfpError(f"{where}: two nodes are named {node.name!r}")
            names.add(node.name)
            self._check_node(node, known, placed)
            known.add(node.output)
        for tensor in self.outputs:
            if tensor not in known:
                raise BfpError(f"{where}: output tensor {tensor!r} is not computed")
        for tensor in sorted(known ^ set(self.shapes)):
            raise BfpError(f"{where}: tensor {tensor!r} has {'no shape' if tensor in known else 'a shape and no producer'}")

    def _check_node(self, node: Node, known: set[str], placed: set[str]) -> None:
        where = f"network {self.name}, node {node.name}"
        kind = operator(node.op, where)
        activation(node.activation, where)
        for t in node.inputs:
            if t not in known:
                raise BfpError(f"{where}: input tensor {t!r} is not computed before it")
        if node.output in known:
            raise BfpError(f"{where}: tensor {node.output!r} is written twice")
        if not kind.takes(len(node.inputs)):
            raise BfpError(f"{where}: {node.op} does not take {len(node.inputs)} inputs; it takes {kind.arity()}")
        if not kind.computes:
            for t in node.inputs:
                if t in self.inputs or t in placed:
                    raise BfpError(f"{where}: {t!r} cannot be placed into the concatenation; copy it with identity")
                placed.add(t)
        kind.check_fields(node, Window(), where)
        if node.function is not None:
            node.function.record(where)
        expected = self.infer_shape(node)
        if expected != self.shapes.get(node.output):
            raise BfpError(f"{where}: output shape is {self.shapes.get(node.output)}, its inputs give {expected}")
        if min(expected) < 1:
            raise BfpError(f"{where}: its window does not fit its input; output shape would be {expected}")
        kind.check(node, self.shapes[node.main])

    def broadcast(self, node: Node) -> Broadcast:
        """Along what the node's shortcut stands for more than one value."""
        return Broadcast.of(self.shapes[node.shortcut], self.shapes[node.output])

    def infer_shape(self, node: Node) -> Shape:
        """Shape of the node's output from its inputs' (conv and slice_pad keep their stated channels)."""
        operands = [self.shapes[t] for t in node.inputs]
        stated = self.shapes.get(node.output, (0,))[0]
        expected = node.operator.shape(node, operands, stated)
        if node.shortcut and not node.operator.broadcasts and self.shapes[node.shortcut] != expected:
            raise BfpError(
                f"node {node.name}: shortcut {node.shortcut} is {self.shapes[node.shortcut]}, the sum needs {expected}"
            )
        return expected
