"""docs/numerics.md in loops over Python integers: what every stored tensor of an artifact holds.

A second opinion on the golden model that shares nothing with it: of an artifact it reads mantissas, exponents, biases and
the graph, and works out accumulators' exponents, shifts, limits, reciprocals, shares and tables by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from operator import mul

from support.plain_functions import entry

from bfp.artifact import Artifact
from bfp.format import BlockFormat
from bfp.graph import Node
from bfp.operators import Join
from bfp.parameters import Parameters, Weights
from bfp.tables import activation_table, join_table, operator_table

Map = list[list[list[int]]]  # channels, rows, columns
RECIPROCAL, SHARE = 22, 16  # bits behind the point of an average's reciprocal, and of an interpolation's share


def channel_exponents(fmt: BlockFormat) -> list[int]:
    """The exponent of each channel."""
    return [e for e, start, stop in zip(fmt.exponents, fmt.splits, fmt.splits[1:]) for _ in range(start, stop)]


def limits(fmt: BlockFormat) -> tuple[int, int]:
    """The smallest and the largest mantissa: symmetric with a sign, from zero without."""
    return (1 - 2 ** (fmt.bits - 1), 2 ** (fmt.bits - 1) - 1) if fmt.signed else (0, 2**fmt.bits - 1)


def shifted(value: int, by: int) -> int:
    """``value * 2**by`` for by >= 0: nothing may be lost in front of the one rounding."""
    assert by >= 0
    return value << by


def in_32_bits(value: int) -> int:
    """A value that an accumulator holds, as the artifact's proof says."""
    assert -(2**31) <= value < 2**31
    return value


@dataclass
class Layer:
    """A node, its main operand, and what it stores."""

    node: Node
    p: Parameters
    values: Map
    source: BlockFormat
    target: BlockFormat

    def __post_init__(self) -> None:
        self.exponents, self.ends, self.table = channel_exponents(self.source), channel_exponents(self.target), {}
        self.height, self.width = len(self.values[0]), len(self.values[0][0])

    def size(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        window, edges = self.node.window, 2 * (self.node.op == "pad_edge")
        top, left, bottom, right = window.padding
        reach = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilation)]
        rows = (self.height + top + bottom - reach[0]) // window.stride[0] + 1
        columns = (self.width + left + right - reach[1]) // window.stride[1] + 1
        return rows * self.node.factors[0] + edges, columns * self.node.factors[1] + edges

    def seen(self, channel: int, y: int, x: int, outside: int | None = 0) -> list[int | None]:
        """The mantissas under the window, row by row; ``outside`` for those beyond the map."""
        window, plane = self.node.window, self.values[channel]
        rows = [y * window.stride[0] - window.padding[0] + k * window.dilation[0] for k in range(window.kernel[0])]
        columns = [x * window.stride[1] - window.padding[1] + k * window.dilation[1] for k in range(window.kernel[1])]
        return [
            plane[r][c] if 0 <= r < self.height and 0 <= c < self.width else outside for r in rows for c in columns
        ]


# -- each operator's own result: of a layer, a channel, a row and a column; the accumulator and its exponent --------------


def filters(layer: Layer, weights: Weights, f: int, channels: list[int]) -> tuple[list[int], int]:
    """The weights of a filter, each shifted by what its product needs, and the finest exponent that meets in its sum."""
    block = [n for n, (a, b) in enumerate(zip(weights.splits, weights.splits[1:])) for _ in range(a, b)]
    columns = range(len(channels))
    exponents = [int(weights.exponents[f, block[i]]) + layer.exponents[c] for i, c in enumerate(channels)]
    finest = min(exponents)
    kernels = weights.mantissas[f].reshape(len(channels), -1).tolist()
    return [shifted(w, exponents[i] - finest) for i in columns for w in kernels[i]], finest


def convolved(layer: Layer, f: int, y: int, x: int, channels: list[int]) -> tuple[int, int]:
    if f not in layer.table:
        layer.table[f] = filters(layer, layer.p.weights, f, channels)
    weights, exponent = layer.table[f]
    place = ("seen", y, x, len(channels) == 1 and channels[0])
    if place not in layer.table:
        layer.table[place] = [q for c in channels for q in layer.seen(c, y, x)]
    return sum(map(mul, weights, layer.table[place])), exponent


def conv(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    return convolved(layer, f, y, x, list(range(len(layer.values))))


def depthwise(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    return convolved(layer, f, y, x, [f])


def max_pool(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    return max(q for q in layer.seen(f, y, x, None) if q is not None), layer.exponents[f]


def avg_pool(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    window, (top, left, bottom, right) = layer.node.window, layer.node.counted_padding
    rows = [y * window.stride[0] - window.padding[0] + k for k in range(window.kernel[0])]
    columns = [x * window.stride[1] - window.padding[1] + k for k in range(window.kernel[1])]
    count = sum(-top <= r < layer.height + bottom for r in rows) * sum(-left <= c < layer.width + right for c in columns)
    return sum(layer.seen(f, y, x)) * ((2 * 2**RECIPROCAL + count) // (2 * count)), layer.exponents[f] - RECIPROCAL


def same(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    return layer.values[f][y][x], layer.exponents[f]


def slice_pad(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    channel = f - layer.node.channel_offset
    if not 0 <= channel < len(layer.values):
        return 0, layer.ends[f]
    return layer.seen(channel, y, x)[0], layer.exponents[channel]


def lookup(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    q, exponent = layer.values[f][y][x], layer.ends[f]
    if q not in layer.table:
        stored = int(layer.p.table[q % len(layer.p.table)])
        layer.table[q] = entry(layer.node.function, q, layer.exponents[f], exponent, limits(layer.target), stored)
    return layer.table[q], exponent


def upsample_nearest(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    return layer.values[f][y // layer.node.factors[0]][x // layer.node.factors[1]], layer.exponents[f]


def neighbours(place: int, factor: int, size: int) -> list[tuple[int, int]]:
    """The two pixels along an axis that one of a larger map is made of, and their weights, in parts of twice the factor."""
    from_first = 2 * place + 1 - factor  # from the centre of pixel 0 to this one's, in parts of twice the factor
    low, above = from_first // (2 * factor), from_first % (2 * factor)
    inside = [min(max(low + n, 0), size - 1) for n in (0, 1)]
    return [(inside[0], 2 * factor - above), (inside[1], above)]


def upsample_bilinear(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    (down, across), plane = layer.node.factors, layer.values[f]
    rows, columns = neighbours(y, down, layer.height), neighbours(x, across, layer.width)
    total = sum(high * wide * plane[r][c] for r, high in rows for c, wide in columns)
    exponent = layer.exponents[f]
    for factor in (down, across):
        if factor == 1:  # its weights are 2 and 0
            assert total % 2 == 0
            total //= 2
        else:
            exponent -= {2: 2, 4: 3}[factor]
    return total, exponent


def depth_to_space(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    (down, across), count = layer.node.factors, layer.target.channels
    channel = (y % down * across + x % across) * count + f
    return layer.values[channel][y // down][x // across], layer.exponents[channel]


def pad_edge(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    row, column = min(max(y - 1, 0), layer.height - 1), min(max(x - 1, 0), layer.width - 1)
    return layer.values[f][row][column], layer.exponents[f]


def interpolate(layer: Layer, f: int, y: int, x: int) -> tuple[int, int]:
    """The window's other pixel lies before or behind this one, along one axis; its padding says on which side."""
    window, plane = layer.node.window, layer.values[f]
    axis = 0 if window.kernel[0] == 2 else 1
    away = -window.dilation[axis] if window.padding[axis] else window.dilation[axis]
    row, column = (y + away, x) if axis == 0 else (y, x + away)
    other = plane[row][column] if 0 <= row < layer.height and 0 <= column < layer.width else 0
    return (other - plane[y][x]) * layer.node.shares[(y, x)[axis]], layer.exponents[f] - SHARE


OWN = operator_table(
    "plain integers",
    {
        "conv": conv,
        "depthwise": depthwise,
        "max_pool": max_pool,
        "avg_pool": avg_pool,
        "add": same,
        "maximum": same,
        "minimum": same,
        "multiply": same,
        "identity": same,
        "slice_pad": slice_pad,
        "lookup": lookup,
        "upsample_nearest": upsample_nearest,
        "upsample_bilinear": upsample_bilinear,
        "depth_to_space": depth_to_space,
        "pad_edge": pad_edge,
        "interpolate": interpolate,
    },
    lambda operator: operator.computes,
)


# -- what meets it, what is stored ------------------------------------------------------------------------------------


def aligned(choose):
    """Both shifted left to the finer exponent, then one integer made of them."""

    def join(own: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
        finest = min(own[1], other[1])
        return choose(*(shifted(value, exponent - finest) for value, exponent in (own, other))), finest

    return join


JOINS = join_table(
    "plain integers",
    {
        Join.SUM: aligned(lambda a, b: a + b),
        Join.LARGER: aligned(max),
        Join.SMALLER: aligned(min),
        Join.PRODUCT: lambda own, other: (own[0] * other[0], own[1] + other[1]),
    },
)


def six(exponent: int) -> int:
    """``floor(6 * 2**-exponent + 1 / 2)``."""
    return (12 << max(-exponent, 0)) + (1 << max(exponent, 0)) >> max(exponent, 0) + 1


# of an accumulator, its exponent, and the limit that the artifact gives this channel, or None
ACTIVATE = activation_table(
    "plain integers",
    {
        "none": lambda acc, exponent, limit: acc,
        "relu": lambda acc, exponent, limit: max(acc, 0),
        "relu6": lambda acc, exponent, limit: min(max(acc, 0), six(exponent) if limit is None else limit),
    },
)


def stored(acc: int, exponent: int, target: int, low: int, high: int, seen: Counter) -> int:
    """The mantissa at the output's exponent: one rounding, half up, then saturation."""
    right = target - exponent
    seen["right" if right > 0 else "left" if right < 0 else "no shift"] += 1
    seen["half"] += right > 0 and acc % 2**right == 2 ** (right - 1)
    q = in_32_bits(acc + (1 << right - 1)) >> right if right > 0 else in_32_bits(acc << -right)
    seen["saturates high"] += q > high
    seen["saturates low"] += q < low
    return min(max(q, low), high)


def shortcut_at(values: Map, exponents: list[int], f: int, y: int, x: int) -> tuple[int, int]:
    """The shortcut's mantissa that meets a value, and its exponent: its only channel, or its only pixel, meets them all."""
    channel = min(f, len(values) - 1)
    plane = values[channel]
    return plane[min(y, len(plane) - 1)][min(x, len(plane[0]) - 1)], exponents[channel]


def computed(layer: Layer, shortcut: tuple[Map, list[int]] | None, scaled: bool, seen: Counter) -> Map:
    """What a node stores. shortcut: its values and exponents; scaled: whether its limits are the artifact's."""
    node, p = layer.node, layer.p
    own, join, activate = OWN[node.op], JOINS[node.operator.join], ACTIVATE[node.activation]
    (low, high), (rows, columns) = limits(layer.target), layer.size()
    made = [[[0] * columns for _ in range(rows)] for _ in layer.ends]
    for f, end in enumerate(layer.ends):
        bias, limit = int(p.bias[f]), int(p.clamp_high[f]) if scaled else None
        for y in range(rows):
            for x in range(columns):
                acc, exponent = own(layer, f, y, x)
                if shortcut is not None:
                    acc, exponent = join((acc, exponent), shortcut_at(*shortcut, f, y, x))
                if bias:  # an integer at the accumulator's exponent
                    assert exponent == int(p.acc_exponent[f])
                acc = in_32_bits(acc + bias)
                seen["relu cuts"] += node.activation != "none" and acc < 0
                seen["six clamps"] += node.activation == "relu6" and acc > six(exponent)
                made[f][y][x] = stored(activate(in_32_bits(acc), exponent, limit), exponent, end, low, high, seen)
    return made


def run(artifact: Artifact, image: list, scaled: Collection[str] = (), seen: Counter | None = None) -> dict[str, Map]:
    """Every tensor of one image's mantissas [C][H][W], by name.

    scaled: the layers whose ReLU6 has limits of its channels' own, which are the artifact's; of all others it is six.
    seen: counts what was met, by operator.
    """
    graph, formats, found, start = artifact.graph, artifact.formats, {}, 0
    for tensor in graph.inputs:
        stop = start + graph.shapes[tensor][0]
        found[tensor], start = image[start:stop], stop
    for node in graph.nodes:
        if not node.operator.computes:
            assert node.op == "concat"
            found[node.output] = [plane for tensor in node.inputs for plane in found[tensor]]
            continue
        layer = Layer(node, artifact.parameters[node.name], found[node.main], formats[node.main], formats[node.output])
        shortcut = (found[node.shortcut], channel_exponents(formats[node.shortcut])) if node.shortcut else None
        counts: Counter = Counter()
        found[node.output] = computed(layer, shortcut, node.name in scaled, counts)
        if seen is not None:
            seen.update({(node.op, what): count for what, count in counts.items()})
    return found
