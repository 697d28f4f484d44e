"""Parts of random networks whose pools run in the layers beside them (codegen/lowering/fusion.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.graph import Node, Window

SAME = Window((3, 3), (1, 1), (1, 1, 1, 1))


def convolution(network, rng: np.random.Generator, name: str, source: str, window: Window, like: str | None = None) -> bool:
    """A convolution that keeps the map's size; ``like``: a tensor whose mantissas its own are to join."""
    channels, *size = network.shapes[source]
    shape = (int(rng.integers(1, 40)), *size)
    activation = str(rng.choice(["none", "relu", "relu6"]))
    unsigned = activation != "none" and rng.random() < 0.5
    bits = None
    if like:
        bits, unsigned = network.formats[like].bits, not network.formats[like].signed
        activation = "relu" if unsigned else activation
    node = Node(name, "conv", (source,), name, window, activation)
    segments = (0, shape[0])

    def make(attempt: int):
        weights = network.weights(shape[0], channels, window.kernel, int(rng.integers(-25, 10)), network.segments[source])
        acc = weights.exponents.min() + min(network.formats[source].exponents)
        return network.format(segments, int(acc) + 6 + int(rng.integers(0, 4)), unsigned, bits), weights, None

    return network.finish(node, shape, segments, make)


def element_wise(network, rng: np.random.Generator, name: str, source: str) -> bool:
    """An addition or a copy, on its source's channels."""
    shape, segments, fmt = network.shapes[source], network.segments[source], network.formats[source]
    shortcut = network.pick(shape) if rng.random() < 0.3 else None
    operands = (source, shortcut) if shortcut else (source,)
    activation, unsigned = network.activation()
    node = Node(name, "add" if shortcut else "identity", operands, name, Window(), activation)
    unsigned = unsigned or (node.op == "identity" and not fmt.signed)
    exponent = min(fmt.exponents) + int(rng.integers(-3, 6))
    return network.finish(node, shape, segments, lambda attempt: (network.format(segments, exponent, unsigned), None, None))


def wide(network, rng: np.random.Generator, width: int) -> str | None:
    """A tensor of at least so many columns, if there is one."""
    found = [t for t in network.readable() if network.shapes[t][2] >= width and network.shapes[t][1] >= 2]
    return str(rng.choice(found)) if found else None


def pooled_maps(network, rng: np.random.Generator, name: str) -> bool:
    """A max pool of the kind that is fused into the layers before it: of one map, or of a concatenation of two.

    The map has another reader half of the time, so that it is stored, too.
    """
    source = wide(network, rng, 8)
    if source is None:
        return False
    tensor = f"{name}.map"
    if rng.random() < 0.3:
        if not element_wise(network, rng, tensor, source):
            return False
    elif not convolution(network, rng, tensor, source, SAME):
        return False
    elif rng.random() < 0.5 and convolution(network, rng, f"{name}.second", source, Window(), like=tensor):
        if not network.join(f"{name}.joined", [tensor, f"{name}.second"]):
            return False
        tensor = f"{name}.joined"
    if rng.random() < 0.5 and not convolution(network, rng, f"{name}.reader", tensor, SAME):
        return False
    target, segments = network.formats[tensor], network.segments[tensor]
    # rows and columns before and after, or none
    kernel, padding = (tuple(int(v) for v in rng.integers(*limits)) for limits in ((2, 4, 2), (0, 2, 4)))
    pool = Window(kernel, (2, 2), padding)
    channels, *size = network.shapes[tensor]
    end = Node(f"{name}.pool", "max_pool", (tensor,), f"{name}.pool", pool)
    return network.finish(end, (channels, *pool.output_size(*size)), segments, lambda attempt: (target, None, None))


def pooled_input(network, rng: np.random.Generator, name: str) -> bool:
    """A pool and the 1x1 convolution that reads it: of three rows at most, or of the whole map."""
    source = wide(network, rng, 6) if rng.random() < 0.7 else network.pick()
    if source and rng.random() < 0.5:  # the largest map is the likeliest to be cut into tiles
        source = max(network.readable(), key=lambda t: np.prod(network.shapes[t]))
    if source is None:
        return False
    channels, height, width = network.shapes[source]
    kernel = tuple(int(v) for v in rng.integers(1, 4, 2))
    window = Window(kernel, tuple(int(v) for v in rng.integers(1, 3, 2)), tuple(int(v) for v in rng.integers(0, 3, 4)))
    if rng.random() < 0.3:
        window = Window((height, width), (1, 1), tuple(int(v) for v in rng.choice([0, 0, 1], 4)))
        window = Window((height + window.padding[0] + window.padding[2], width + window.padding[1] + window.padding[3]), (1, 1), window.padding)
    if any(p >= k for p, k in zip(window.padding, (*window.kernel, *window.kernel))):
        window = Window(window.kernel, window.stride)
    op = str(rng.choice(["avg_pool", "avg_pool", "max_pool"]))
    counted = window.padding if op == "avg_pool" and rng.random() < 0.5 else (0, 0, 0, 0)
    fmt, segments, pool = network.formats[source], network.segments[source], f"{name}.pool"
    node = Node(pool, op, (source,), pool, window, "none", counted)

    def make(attempt: int):
        if op == "max_pool":  # mantissas that the narrower result cannot hold are saturated
            bits = int(rng.integers(2, fmt.bits + 1)) if rng.random() < 0.4 else fmt.bits
            return replace(fmt, bits=bits), None, None
        return network.format(segments, min(fmt.exponents) + int(rng.integers(-2, 3)), not fmt.signed), None, None

    if not network.finish(node, (channels, *window.output_size(height, width)), segments, make):
        return False
    readers = 2 if rng.random() < 0.2 else 1
    return all(convolution(network, rng, f"{name}.reader{n}", pool, Window()) for n in range(readers))
