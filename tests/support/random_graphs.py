"""Seeded random networks in block floating point, made to be hard on the engine.

Odd shapes, 1 to 70 channels, every operator, mantissa widths 2 to 8, block
exponents far apart, shortcuts, nested concatenations, saturating data. The
same seed gives the same artifact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bfp.artifact import Artifact, NetworkInput, NetworkOutput, Preprocessing, concat_format, operand_formats, verify
from bfp.errors import BfpError
from bfp.format import BlockFormat, block_of, common_refinement, mantissa_range
from bfp.graph import Graph, Node, Window
from bfp.limits import MAX_REQUANTISATION_SHIFT, MIN_REQUANTISATION_SHIFT
from bfp.parameters import Weights, derive, prove
from support.random_addresses import addresses
from support.random_layouts import mixed_layouts
from support.random_pairs import pair
from support.random_pools import pooled_input, pooled_maps
from support.random_tables import table

MAX_VALUES = 40_000  # per tensor, to keep a graph quick


class RandomNetwork:
    """Grows a network node by node; every node is quantised as it is added."""

    def __init__(self, seed: int, lanes: int, widest: int = 8, inputs: int = 1) -> None:
        self.seed, self.lanes, self.widest = seed, lanes, widest
        self.rng = np.random.default_rng(seed)
        self.drawn = np.random.default_rng((seed, 2))  # apart, so that graphs keep their shapes
        rng = self.rng
        channels = int(rng.integers(1, 71)) if rng.random() < 0.7 else int(rng.choice([1, 3, 16, 64]))
        size = (1, 1) if rng.random() < 0.1 else tuple(int(v) for v in rng.integers(1, 15, 2))
        self.shapes = {"input": (channels, *size)}
        self.segments = {"input": (0, channels)}
        self.nodes: list[Node] = []
        self.parameters = {}
        self.indices: set[str] = set()  # of tables: nobody else reads them
        self.formats = {"input": self.format((0, channels), int(rng.integers(-40, 20)), rng.random() < 0.3)}
        for number in range(1, inputs):  # of other channels, and formats of their own
            channels, name = int(rng.integers(1, 40)), f"input{number}"
            self.shapes[name], self.segments[name] = (channels, *size), (0, channels)
            self.formats[name] = self.format((0, channels), int(rng.integers(-40, 20)), rng.random() < 0.3)
        self.inputs = tuple(self.shapes)
        self.placed: set[str] = set(self.inputs)
        self.scaled: set[str] = set()  # layers whose channels have limits of their own

    # -- formats ---------------------------------------------------------------

    def splits(self, segments: tuple[int, ...]) -> tuple[int, ...]:
        """Exponent groups: whole segments, or some multiple of the lanes inside them."""
        if self.rng.random() < 0.5:
            return segments
        group = self.lanes * int(self.rng.integers(1, 4))
        inner = [list(range(a, b, group)) for a, b in zip(segments, segments[1:])]
        return tuple(v for part in inner for v in part) + (segments[-1],)

    def width(self) -> int:
        """Bits of mantissas."""
        return int(self.rng.integers(2, self.widest + 1))

    def format(self, segments: tuple[int, ...], exponent: int, unsigned: bool, bits: int | None = None) -> BlockFormat:
        splits = self.splits(segments)
        spread = int(self.rng.choice([1, 1, 3, 6]))
        exponents = exponent + self.rng.integers(0, spread, len(splits) - 1)
        bits = bits or self.width()
        return BlockFormat(bits, not unsigned, splits, tuple(int(e) for e in exponents))

    def weights(self, filters: int, channels: int, kernel: tuple[int, int], base: int, segments) -> Weights:
        rng = self.rng
        bits = self.width()
        low, high = mantissa_range(bits, True)
        shape = (filters, channels, *kernel)
        style = rng.random()
        if style < 0.3:
            q = rng.choice([low, high], shape)
        elif style < 0.5:
            q = rng.integers(low, high + 1, shape) * (rng.random(shape) < 0.1)
        else:
            q = rng.integers(low, high + 1, shape)
        if rng.random() < 0.2:
            q[rng.integers(filters)] = 0
        splits = self.splits(segments) if channels > 1 else (0, channels)
        spread = int(rng.choice([1, 3, 6]))
        exponents = base + rng.integers(0, spread, (filters, len(splits) - 1))
        return Weights(bits, q.astype(np.int8), splits, exponents.astype(np.int64))

    # -- nodes -----------------------------------------------------------------

    def readable(self) -> list[str]:
        """All tensors but those that only index a table."""
        return [t for t in self.shapes if t not in self.indices]

    def pick(self, shape: tuple[int, int, int] | None = None) -> str | None:
        """A tensor, recent ones more likely; of the given shape if there is one."""
        if not (names := [t for t in self.readable() if shape is None or self.shapes[t] == shape]):
            return None
        return names[-1] if self.rng.random() < 0.5 else names[int(self.rng.integers(len(names)))]

    def window(self, height: int, width: int, largest: int) -> Window:
        rng = self.rng
        kernel = tuple(int(rng.integers(1, largest + 1)) for _ in range(2))
        if rng.random() < 0.4:
            kernel = (kernel[0], kernel[0])
        padding = [int(rng.integers(0, k)) for k in kernel] + [int(rng.integers(0, k)) for k in kernel]
        if rng.random() < 0.4:  # keeps the size at stride 1
            padding = [(kernel[0] - 1) // 2, (kernel[1] - 1) // 2, kernel[0] // 2, kernel[1] // 2]
            return Window(kernel, (1, 1), tuple(padding))
        return Window(kernel, tuple(int(rng.integers(1, 4)) for _ in range(2)), tuple(padding))

    def finish(self, node: Node, shape: tuple[int, int, int], segments, make) -> bool:
        """Quantise a node until its accumulators are proved; False if that fails."""
        if min(shape) < 1 or np.prod(shape) > MAX_VALUES:
            return False
        limited = self.rng.random() < 0.5
        for attempt in range(12):
            try:
                self.shapes[node.output], self.segments[node.output] = shape, segments
                target, weights, bias = make(attempt)
                self.formats[node.output] = target
                source, target, shortcut = operand_formats(node, self.formats)
                limit = None
                if node.op in ("conv", "depthwise") and limited:  # as an equalised network has it
                    limit = 6 * np.exp2(self.rng.uniform(-3, 3, target.channels))
                p = derive(node, source, target, shortcut, weights, bias, limit=limit)
                prove(Graph("", self.inputs, (), (), self.shapes), node, p, self.formats)
            except BfpError:
                continue
            self.nodes.append(node)
            self.parameters[node.name] = p
            if limit is not None and p.clamp_high is not None:
                self.scaled.add(node.name)
            return True
        for table in (self.shapes, self.segments, self.formats):
            table.pop(node.output, None)
        return False

    def activation(self) -> tuple[str, bool]:
        """An activation, and whether its result may be unsigned."""
        return (name := str(self.rng.choice(["none", "relu", "relu6"]))), name != "none" and self.rng.random() < 0.5

    def output_exponent(self, acc_exponent: np.ndarray, magnitude: float) -> int:
        """Usually such that results use their range; sometimes all saturate or vanish."""
        low, high = acc_exponent.max() + MIN_REQUANTISATION_SHIFT, acc_exponent.min() + MAX_REQUANTISATION_SHIFT - 6
        natural = int(np.median(acc_exponent)) + int(np.log2(max(magnitude, 1.0))) - int(self.rng.integers(0, 8))
        if self.rng.random() < 0.15:
            natural += int(self.rng.integers(-12, 13))
        return int(np.clip(natural, low, high))

    def conv(self, name: str, depthwise: bool, windows: Callable[[int, int], Window] | None = None) -> bool:
        """windows: the window for a map of so many rows and columns, instead of any."""
        rng = self.rng
        source = self.pick()
        channels, height, width = self.shapes[source]
        window = windows(height, width) if windows else self.window(height, width, 5)
        if not windows and not depthwise and rng.random() < 0.1 and height * width <= 64:
            window = Window((height, width))  # fully connected
        size = window.output_size(height, width)
        filters = channels if depthwise else int(rng.integers(1, 71))
        same = [self.shapes[t][0] for t in self.readable() if self.shapes[t][1:] == size]
        if same and not depthwise and rng.random() < 0.5:
            filters = int(rng.choice(same))
        shape = (filters, *size)
        shortcut = self.pick(shape) if rng.random() < 0.6 else None
        activation, unsigned = self.activation()
        inputs = (source,) + ((shortcut,) if shortcut else ())
        node = Node(name, "depthwise" if depthwise else "conv", inputs, name, window, activation)
        segments = self.segments[source] if depthwise else self.segments[shortcut] if shortcut else (0, filters)

        def make(attempt: int):
            base = int(rng.integers(-25, 10))
            if shortcut:
                gap = int(rng.integers(-2, 10)) if attempt < 6 else 4
                nearest = min(self.formats[shortcut].exponents) - max(self.formats[source].exponents)
                base = nearest - gap
            fan_in = 1 if depthwise else channels
            weights = self.weights(filters, fan_in, window.kernel, base, self.segments[source])
            src = self.formats[source]
            if depthwise:
                acc = weights.exponents[:, 0] + src.channel_exponents()
            else:
                splits = common_refinement(weights.splits, src.splits)
                acc = weights.exponents[:, block_of(weights.splits, splits)]
                acc = (acc + np.asarray(src.exponents)[block_of(src.splits, splits)]).min(axis=1)
            if shortcut:
                acc = np.minimum(acc, self.formats[shortcut].channel_exponents())
            magnitude = src.high * 2.0 ** (weights.bits - 1) * np.sqrt(fan_in * window.kernel[0] * window.kernel[1])
            bias = rng.normal(size=filters) * magnitude * np.exp2(acc) * (rng.random() < 0.8)
            exponent = self.output_exponent(acc, magnitude)
            return self.format(segments, exponent, unsigned), weights, bias

        return self.finish(node, shape, segments, make)

    def pool(self, name: str, op: str, windows: Callable[[int, int], Window] | None = None) -> bool:
        """windows: as of ``conv``."""
        rng = self.rng
        source = self.pick()
        channels, height, width = self.shapes[source]
        window = windows(height, width) if windows else self.window(height, width, 4)
        if op == "avg_pool" and rng.random() < 0.3:
            window = Window((height, width))
        activation = str(rng.choice(["none", "none", "relu"]))
        counted = window.padding if rng.random() < 0.5 else (0, 0, 0, 0)
        fmt = self.formats[source]
        node = Node(name, op, (source,), name, window, activation, counted if op == "avg_pool" else (0, 0, 0, 0))
        shape = (channels, *window.output_size(height, width))

        def make(attempt: int):
            if op == "max_pool":
                return fmt, None, None
            exponent = min(fmt.exponents) + int(rng.integers(-2, 3))
            unsigned = not fmt.signed or (activation != "none" and rng.random() < 0.5)
            return self.format(self.segments[source], exponent, unsigned), None, None

        return self.finish(node, shape, self.segments[source], make)

    def identity(self, name: str) -> bool:
        source = self.pick()
        shape = self.shapes[source]
        activation, unsigned = self.activation()
        fmt = self.formats[source]
        unsigned = unsigned or not fmt.signed
        node = Node(name, "identity", (source,), name, Window(), activation)

        def make(attempt: int):
            exponent = min(fmt.exponents) + int(self.rng.integers(-3, 6))
            return self.format(self.segments[source], exponent, unsigned), None, None

        return self.finish(node, shape, self.segments[source], make)

    def slice_pad(self, name: str) -> bool:
        rng = self.rng
        source = self.pick()
        channels, height, width = self.shapes[source]
        padding = tuple(int(v) for v in rng.integers(-1, 3, 4))
        window = Window((1, 1), tuple(int(v) for v in rng.integers(1, 3, 2)), padding)
        filters, offset = int(rng.integers(1, 71)), int(rng.integers(-10, 20))
        fmt = self.formats[source]
        node = Node(name, "slice_pad", (source,), name, window, "none", channel_offset=offset)

        def make(attempt: int):
            exponent = min(fmt.exponents) + int(rng.integers(-2, 4))
            return self.format((0, filters), exponent, not fmt.signed), None, None

        return self.finish(node, (filters, *window.output_size(height, width)), (0, filters), make)

    def concat(self, name: str) -> bool:
        rng = self.rng
        first = self.pick()
        size = self.shapes[first][1:]
        others = [t for t in self.readable() if self.shapes[t][1:] == size]
        branches = [first] + [str(rng.choice(others)) for _ in range(int(rng.integers(1, 4)))]
        if sum(self.shapes[t][0] for t in branches) * size[0] * size[1] > MAX_VALUES:
            return False
        return self.join(name, branches)

    def join(self, name: str, branches: list[str]) -> bool:
        """Concatenate tensors of one size, copies of them where a concatenation cannot place them."""
        first, size = branches[0], self.shapes[branches[0]][1:]
        bits, signed = self.formats[first].bits, self.formats[first].signed
        inputs = []
        for i, t in enumerate(branches):
            fmt = self.formats[t]
            if t in self.placed or t in inputs or (fmt.bits, fmt.signed) != (bits, signed):
                copy = Node(f"{name}.copy{i}", "identity", (t,), f"{name}.copy{i}", Window(), "none" if signed else "relu")
                target = BlockFormat(bits, signed, fmt.splits, fmt.exponents)
                if not self.finish(copy, self.shapes[t], self.segments[t], lambda attempt: (target, None, None)):
                    return False
                t = copy.output
            inputs.append(t)
        self.placed.update(inputs)
        self.nodes.append(Node(name, "concat", tuple(inputs), name))
        self.shapes[name] = (sum(self.shapes[t][0] for t in inputs), *size)
        self.formats[name] = concat_format([self.formats[t] for t in inputs])
        splits = [0]
        for t in inputs:
            base = splits[-1]
            splits += [base + s for s in self.segments[t][1:]]
        self.segments[name] = tuple(splits)
        return True

    def grow(self, nodes: int, averages: bool = True) -> None:
        """averages: whether there are average pools; where there is one that is a layer, all of them are."""
        steps = {
            "conv": lambda n: self.conv(n, False),
            "depthwise": lambda n: self.conv(n, True),
            "max_pool": lambda n: self.pool(n, "max_pool"),
            "avg_pool": lambda n: self.pool(n, "avg_pool"),
            "add": lambda n: pair(self, n),
            "identity": self.identity,
            "slice_pad": self.slice_pad,
            "concat": self.concat,
            "mixed_layouts": lambda n: mixed_layouts(self, n),
            "table": lambda n: table(self, n),
        }
        chance = np.array([6, 3, 2, 2 * averages, 3, 1, 1, 2, 1, 2], float)
        for i in range(nodes):
            op = str(self.rng.choice(list(steps), p=chance / chance.sum()))
            steps[op](f"{op}{i}")

    def artifact(self, several: bool = False) -> Artifact:
        """several: other tensors are outputs as well, whoever reads them."""
        outputs, count = [self.nodes[-1].output], int(self.drawn.integers(1, 4)) if several else 0
        others = [n.output for n in self.nodes[:-1] if n.output not in self.indices]
        outputs += [str(t) for t in self.drawn.permutation(others)[:count]] if others else []
        graph = Graph(f"seed{self.seed}", self.inputs, tuple(outputs), tuple(self.nodes), self.shapes)

        def entry(tensor: str) -> NetworkInput:
            channels, *size = self.shapes[tensor]
            return NetworkInput(tensor, Preprocessing(tuple(size), (0.0,) * channels, (1.0,) * channels))

        artifact = Artifact(
            *(graph, self.formats, self.parameters, tuple(map(entry, self.inputs)), tuple(map(NetworkOutput, outputs))),
            digest=f"{self.seed:064x}",
        )
        verify(artifact)
        return artifact


def random_artifact(seed: int, lanes: int, widest: int = 8, nodes: int = 10, several: bool = False) -> Artifact:
    """A network of about ``nodes`` operators whose exponent groups suit ``lanes``; mantissas up to ``widest`` bits.

    several: it may have several inputs and outputs.
    """
    rng, ends = np.random.default_rng((seed, 1)), np.random.default_rng((seed, 3))
    network = RandomNetwork(seed, lanes, widest, int(ends.choice([1, 1, 2, 3])) if several else 1)
    averages = rng.random() < 0.5
    while not network.nodes:
        network.grow(nodes, averages)
    if rng.random() < 0.9:
        pooled_input(network, rng, "in")
    pooled_maps(network, rng, "end")
    addresses(network, np.random.default_rng((seed, 4)), meets=several)
    return network.artifact(several and ends.random() < 0.7)
