"""A part of random networks whose operands lie differently in memory."""

from __future__ import annotations

from bfp.graph import Node


def mixed_layouts(network, name: str) -> bool:
    """A sum of two tensors whose channels lie differently: a concatenation and a convolution's output."""
    concats = [n.output for n in network.nodes if n.op == "concat"]
    if not concats:
        return network.concat(name)
    other = str(network.rng.choice(concats))
    shape, segments = network.shapes[other], (0, network.shapes[other][0])
    fmt = network.formats[other]

    def make(attempt: int):
        base = min(fmt.exponents) - max(fmt.exponents) - int(network.rng.integers(0, 8))
        weights = network.weights(shape[0], shape[0], (1, 1), base, network.segments[other])
        return network.format(segments, min(fmt.exponents), False), weights, None

    conv = Node(f"{name}.conv", "conv", (other,), f"{name}.conv")
    if not network.finish(conv, shape, segments, make):
        return False
    first, second = (other, conv.output) if network.rng.random() < 0.5 else (conv.output, other)
    node = Node(f"{name}.add", "add", (first, second), f"{name}.add")

    def make_sum(attempt: int):
        return network.format(network.segments[first], min(fmt.exponents) + attempt, False), None, None

    return network.finish(node, shape, network.segments[first], make_sum)
