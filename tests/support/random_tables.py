"""Functions of one value for random networks, from tables whose index another node computes."""

from __future__ import annotations

import numpy as np

from bfp.format import BlockFormat
from bfp.functions import FUNCTIONS, FunctionCall
from bfp.graph import Node
from bfp.tables import Table

# of each function, the ends between which its arguments are drawn
ARGUMENTS = Table(
    "random networks",
    "function",
    list(FUNCTIONS),
    {
        **dict.fromkeys(("sigmoid", "hardsigmoid", "tanh", "silu", "hardswish", "gelu", "gelu_tanh", "mish"), ()),
        **dict.fromkeys(("softsign", "log_sigmoid", "abs", "erf", "square", "cube", "not_below_zero"), ()),
        "softplus": ((0.5, 2.0),),
        "leaky_relu": ((-0.5, 1.5),),
        "elu": ((0.5, 2.0), (0.5, 1.5), (0.5, 1.5)),
        "swish": ((0.5, 2.0),),
        "limited_power": ((-1.0, 3.0), (0.0, 0.5)),
        **dict.fromkeys(("exp", "reciprocal", "not_below_zero"), ()),
        "limited_log": ((0.0, 0.5),),
    },
)


def drawn_call(rng: np.random.Generator, name: str | None = None) -> FunctionCall:
    """A function, any or the one that is named, with random arguments."""
    name = name or str(rng.choice(list(ARGUMENTS)))
    return FunctionCall(name, tuple(round(float(rng.uniform(*ends)), 3) for ends in ARGUMENTS[name]))


def table(network, name: str, call: FunctionCall | None = None) -> bool:
    """A function of one value, any or ``call``, whose index a convolution, a sum or a copy computes."""
    rng, apart = network.rng, np.random.default_rng((network.seed, 6, len(network.nodes)))
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
    call = call or drawn_call(apart)
    coin = rng.integers(6) in (1, 5)  # draws of former days, so that graphs keep their shapes
    width_of = network.width()
    if coin:
        rng.random()
    signed = call.can_be_negative(name) or apart.random() < 0.5
    end = network.formats[index.output].exponents[0] + bits - width_of + int(rng.integers(-3, 2))
    assert network.finish(
        Node(name, "lookup", (index.output,), name, function=call),
        *(shape, segments, lambda attempt: (one(width_of, signed, end), None, None)),
    )
    return True
