"""The network as the engine sees it: a list of nodes over named tensors.

The same graph carries the float network during calibration, the integer
network in the artifact, and the layers of the generated accelerator. Every
tensor is channels x height x width; the batch axis is not part of the graph.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from bfp.errors import BfpError

OPERATORS = ("conv", "depthwise", "max_pool", "avg_pool", "add", "identity", "slice_pad", "concat")
ACTIVATIONS = ("none", "relu", "relu6")
MAY_FUSE_SHORTCUT = ("conv", "depthwise")


@dataclass(frozen=True)
class Window:
    """Sliding window geometry. ``padding`` is (top, left, bottom, right).

    Padding is zero (or never wins, for max pooling). Negative padding crops.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        top, left, bottom, right = self.padding
        return (
            (height + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            (width + left + right - self.kernel[1]) // self.stride[1] + 1,
        )


@dataclass(frozen=True)
class Node:
    """One operator.

    inputs: main operand first; for ``add`` and for a convolution with a fused
    residual the second one is the shortcut; ``concat`` takes any number.
    counted_padding: for ``avg_pool``, the padding (top, left, bottom, right)
    that counts in the divisor (all zero for ``count_include_pad=False``).
    channel_offset: for ``slice_pad``, output channel ``c`` is input channel
    ``c - channel_offset`` where that exists, zero elsewhere.
    source: the names of the modules of the original network that it came from.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    window: Window = field(default_factory=Window)
    activation: str = "none"
    counted_padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    channel_offset: int = 0
    source: tuple[str, ...] = ()

    @property
    def main(self) -> str:
        return self.inputs[0]

    @property
    def shortcut(self) -> str | None:
        """The operand added before the one rounding, if there is one."""
        return self.inputs[1] if self.op != "concat" and len(self.inputs) > 1 else None

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

    shapes maps every tensor to (channels, height, width).
    """

    name: str
    input: str
    output: str
    nodes: tuple[Node, ...]
    shapes: dict[str, tuple[int, int, int]]

    def producer(self, tensor: str) -> Node | None:
        """The node that writes ``tensor``; None for the network's input."""
        return next((n for n in self.nodes if n.output == tensor), None)

    def consumers(self, tensor: str) -> list[Node]:
        return [n for n in self.nodes if tensor in n.inputs]

    def node(self, name: str) -> Node:
        for n in self.nodes:
            if n.name == name:
                return n
        raise BfpError(f"network {self.name} has no node named {name!r}")

    def stored_tensors(self) -> list[str]:
        """The network's input and every tensor that a node computes (concat only places them)."""
        return [self.input] + [n.output for n in self.nodes if n.op != "concat"]

    def segments(self) -> dict[str, tuple[int, ...]]:
        """Channel boundaries, per tensor, that a block must not straddle.

        They come from concatenation: each branch starts in a fresh memory
        word. Operators that keep channels in place hand them on.
        """
        found: dict[str, tuple[int, ...]] = {self.input: (0, self.shapes[self.input][0])}
        for node in self.nodes:
            channels = self.shapes[node.output][0]
            if node.op == "concat":
                splits = [0]
                for t in node.inputs:
                    base = splits[-1]
                    splits += [base + s for s in found[t][1:]]
                found[node.output] = tuple(splits)
            elif node.op in ("conv", "slice_pad"):
                found[node.output] = found[node.shortcut] if node.shortcut else (0, channels)
            else:
                found[node.output] = found[node.main]
        return found

    def validate(self) -> None:
        """Check structure and shapes. Raises BfpError naming the node."""
        known = {self.input}
        placed: dict[str, str] = {}
        for node in self.nodes:
            where = f"network {self.name}, node {node.name}"
            if node.op not in OPERATORS:
                raise BfpError(f"{where}: operator {node.op!r} is not supported; known are {', '.join(OPERATORS)}")
            if node.activation not in ACTIVATIONS:
                raise BfpError(f"{where}: activation {node.activation!r} is not supported")
            for t in node.inputs:
                if t not in known:
                    raise BfpError(f"{where}: input tensor {t!r} is not computed before it")
            if node.output in known:
                raise BfpError(f"{where}: tensor {node.output!r} is written twice")
            known.add(node.output)
            if node.op == "concat":
                for t in node.inputs:
                    if t == self.input or t in placed:
                        raise BfpError(f"{where}: {t!r} cannot be placed into the concatenation; copy it with identity")
                    placed[t] = node.name
            elif len(node.inputs) > (2 if node.op in (*MAY_FUSE_SHORTCUT, "add") else 1):
                raise BfpError(f"{where}: {node.op} takes fewer inputs than {len(node.inputs)}")
            expected = self.infer_shape(node)
            if expected != self.shapes[node.output]:
                raise BfpError(f"{where}: output shape is {self.shapes[node.output]}, its inputs give {expected}")
            if min(expected) < 1:
                raise BfpError(f"{where}: its window does not fit its input; output shape would be {expected}")
        if self.output not in known:
            raise BfpError(f"network {self.name}: output tensor {self.output!r} is not computed")

    def infer_shape(self, node: Node) -> tuple[int, int, int]:
        """Shape of the node's output from its inputs' (conv and slice_pad keep their stated channels)."""
        c, h, w = self.shapes[node.main]
        if node.op == "concat":
            shapes = [self.shapes[t] for t in node.inputs]
            if len({s[1:] for s in shapes}) != 1:
                raise BfpError(f"node {node.name}: concatenation of different map sizes {shapes}")
            return sum(s[0] for s in shapes), h, w
        oh, ow = node.window.output_size(h, w)
        out_c = self.shapes[node.output][0] if node.op in ("conv", "slice_pad") else c
        if node.shortcut and self.shapes[node.shortcut] != (out_c, oh, ow):
            raise BfpError(
                f"node {node.name}: shortcut {node.shortcut} is {self.shapes[node.shortcut]}, "
                f"the sum needs {(out_c, oh, ow)}"
            )
        return out_c, oh, ow

    def to_json(self) -> dict:
        return {
            "name": self.name,
            "input": self.input,
            "output": self.output,
            "nodes": [asdict(n) for n in self.nodes],
            "shapes": {k: list(v) for k, v in self.shapes.items()},
        }

    @staticmethod
    def from_json(data: dict) -> "Graph":
        nodes = []
        for raw in data["nodes"]:
            raw = dict(raw)
            raw["window"] = Window(**{k: tuple(v) for k, v in raw["window"].items()})
            for key in ("inputs", "counted_padding", "source"):
                raw[key] = tuple(raw[key])
            nodes.append(Node(**raw))
        shapes = {k: tuple(v) for k, v in data["shapes"].items()}
        graph = Graph(data["name"], data["input"], data["output"], tuple(nodes), shapes)
        graph.validate()
        return graph
