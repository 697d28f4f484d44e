"""Functions of one value for random networks, from tables whose index another node computes."""

from __future__ import annotations

from bfp.format import BlockFormat
from bfp.functions import FunctionCall
from bfp.graph import Node

FUNCTIONS = (("silu",), ("sigmoid",), ("hardswish",), ("leaky_relu", (0.1,)), ("elu", (1.0, 1.0, 1.0)), ("abs",))


def table(network, name: str) -> bool:
    """A function of one value, whose index a convolution, a sum or a copy computes."""
    rng = network.rng
    source = network.pick()
    fmt, (channels, height, width) = network.formats[source], network.shapes[source]
    op = str(rng.choice(["conv", "add", "identity"]))
    shape = (int(rng.integers(1, 71)) if op == "conv" else channels, height, width)
    segments = (0, shape[0]) if op == "conv" else network.segments[source]
    bits, exponent = int(rng.choice([2, 4, 6, 8, 10])), int(min(fmt.exponents)) + int(rng.integers(-3, 6))

    def one(bits: int, signed: bool, exponent: int) -> BlockFormat:
        return BlockFormat(bits, signed, segments, (exponent,) * (len(segments) - 1))

    def make(attempt: int):
        if op != "conv":
            return one(bits, fmt.signed or op == "add", exponent), None, None
        weights = network.weights(shape[0], channels, (1, 1), int(rng.integers(-8, 0)), network.segments[source])
        base = int(weights.exponents.min()) + int(min(fmt.exponents))
        return one(bits, True, base + int(rng.integers(0, 8))), weights, None

    inputs = (source, network.pick(network.shapes[source])) if op == "add" else (source,)
    index = Node(f"{name}.index", op, inputs, f"{name}.index")
    if not network.finish(index, shape, segments, make):
        return False
    network.indices.add(index.output)
    call = FunctionCall(*FUNCTIONS[int(rng.integers(len(FUNCTIONS)))])
    width_of = int(rng.integers(2, network.widest + 1))
    signed = call.can_be_negative(name) or rng.random() < 0.5
    end = network.formats[index.output].exponents[0] + bits - width_of + int(rng.integers(-3, 2))
    assert network.finish(
        Node(name, "lookup", (index.output,), name, function=call),
        *(shape, segments, lambda attempt: (one(width_of, signed, end), None, None)),
    )
    return True
