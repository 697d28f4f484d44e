"""Random classifiers behind random networks: the layers that take several pictures at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bfp.artifact import Artifact
from bfp.graph import Window
from support.random_graphs import RandomNetwork
from support.random_pairs import pair
from support.random_tables import table


def whole(height: int, width: int) -> Window:
    """A window over a whole map."""
    return Window((height, width))


def _last(network: RandomNetwork, tensor: str, grow: Callable[[], bool]) -> bool:
    """Grow a node whose main operand is this tensor."""
    network.pick = lambda shape=None: RandomNetwork.pick(network, shape) if shape else tensor
    try:
        return grow()
    finally:
        del network.pick


def head(network: RandomNetwork, rng: np.random.Generator) -> None:
    """A classifier of the last tensor: fully connected over a map, or over its average; then some layers of one pixel."""
    network.rng, source = rng, network.pick()
    if rng.random() < 0.4:
        op = str(rng.choice(["avg_pool", "max_pool"]))
        if _last(network, source, lambda: network.pool("head.pool", op, whole)):
            source = "head.pool"
    if not _last(network, source, lambda: network.conv("head.first", False, whole)):
        return
    steps = {
        "conv": lambda n: network.conv(n, False, whole),
        "depthwise": lambda n: network.conv(n, True, whole),
        "identity": network.identity,
        "add": lambda n: pair(network, n),
        "table": lambda n: table(network, n),
        "slice_pad": network.slice_pad,
    }
    for number in range(int(rng.integers(0, 5))):
        op = str(rng.choice(list(steps)))
        last = next(t for t in reversed(network.readable()) if network.shapes[t][1:] == (1, 1))
        _last(network, last, lambda: steps[op](f"head.{op}{number}"))


def random_classifier(seed: int, lanes: int, widest: int = 8, nodes: int = 4) -> Artifact:
    """A random network of about ``nodes`` operators, and a head, which may be all of it; as ``random_artifact`` otherwise."""
    network = RandomNetwork(seed, lanes, widest)
    while nodes and not network.nodes:
        network.grow(nodes, averages=False)
    head(network, np.random.default_rng((seed, 5)))
    return network.artifact()
