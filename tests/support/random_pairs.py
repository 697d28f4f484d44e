"""Two maps that meet element by element in a random network, one of which may be a value a channel or a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bfp.graph import Node, Window

if TYPE_CHECKING:
    from support.random_graphs import RandomNetwork

MOST_PIXELS = 25  # of a map that one kernel covers
OPERATORS = ("add", "add", "maximum", "minimum", "multiply", "multiply")


def pair(network: RandomNetwork, name: str, operator: str | None = None) -> bool:
    """A sum, a product, the larger or the smaller one of two tensors, or ``operator``; they may be the same one."""
    rng, drawn = network.rng, network.drawn
    op = operator or str(drawn.choice(OPERATORS))
    source = network.pick()
    shape = network.shapes[source]
    other = few_values(network, f"{name}.few", source) if drawn.random() < 0.5 else network.pick(shape)
    if other is None:
        return False
    activation, unsigned = network.activation()
    node = Node(name, op, (source, other), name, Window(), activation)
    mine, its = network.formats[source], network.formats[other]

    def make(attempt: int):
        if op == "multiply":
            exponent = min(mine.exponents) + min(its.exponents) + int(rng.integers(-3, 14))
        else:
            exponent = min(mine.exponents) + int(rng.integers(-3, 6))
        return network.format(network.segments[source], exponent, unsigned), None, None

    return network.finish(node, shape, network.segments[source], make)


def few_values(network: RandomNetwork, name: str, like: str) -> str | None:
    """A tensor of one channel, one pixel, or one value that can meet ``like``; made of some tensor by a convolution."""
    rng, drawn = network.rng, network.drawn
    channels, height, width = network.shapes[like]
    if drawn.random() < 0.5:
        shape = (int(drawn.choice([1, channels])), 1, 1)
        small = [t for t in network.readable() if np.prod(network.shapes[t][1:]) <= MOST_PIXELS]
        if not small:
            return None
        source = str(drawn.choice(small))
        window = Window(network.shapes[source][1:])
    else:
        shape = (1, height, width)
        source, window = like, Window()
    if np.prod(network.shapes[source]) * shape[0] > 40_000:
        return None
    segments = (0, shape[0])
    activation, unsigned = network.activation()
    node = Node(name, "conv", (source,), name, window, activation)

    def make(attempt: int):
        fmt, aim = network.formats[source], min(network.formats[like].exponents)
        magnitude = fmt.high * 8 * np.sqrt(fmt.channels * np.prod(window.kernel))  # of sums at the accumulator's exponent
        base = aim - max(fmt.exponents) - int(rng.integers(0, 6))
        weights = network.weights(shape[0], fmt.channels, window.kernel, base, network.segments[source])
        exponent = base + min(fmt.exponents) + int(np.log2(magnitude)) - int(rng.integers(0, 8))
        bias = rng.normal(size=shape[0]) * magnitude * np.exp2(float(base + min(fmt.exponents)))
        return network.format(segments, exponent, unsigned), weights, bias

    return name if network.finish(node, shape, segments, make) else None
