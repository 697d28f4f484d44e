"""Parts of random networks that differ only in where values are read and written: dilation, larger maps."""

from __future__ import annotations

import numpy as np
from support.random_pairs import pair

from bfp.format import BlockFormat
from bfp.graph import Node, Window
from calib.frontend.interpolating import towards


def dilated_window(rng: np.random.Generator, height: int, width: int, sees: bool) -> Window:
    """A window that fits a map, with padding that may be larger than the map; sees: wherever it is."""
    found = None
    while found is None or min(found.output_size(height, width)) < 1 or (sees and blind(found, height, width)):
        kernel, stride = (tuple(int(v) for v in rng.integers(1, limit, 2)) for limit in (4, 3))
        dilation = tuple(int(v) for v in rng.choice([1, 2, 2, 3, 4, 6, 12], 2))
        reach = [(k - 1) * d for k, d in zip(kernel, dilation)]
        keeps = rng.random() < 0.5
        before = [r // 2 if keeps else int(rng.integers(0, r + 1)) for r in reach]
        behind = [r - b if keeps else int(rng.integers(0, r + 1)) for r, b in zip(reach, before)]
        found = Window(kernel, stride, (*before, *behind), dilation)
    return found


def blind(window: Window, height: int, width: int) -> bool:
    """Whether a window sees nothing but padding somewhere."""
    return not all(window.rows_seen(height, 0)) or not all(window.rows_seen(width, 1))


def dilated(network, rng: np.random.Generator, name: str) -> bool:
    """A convolution, dense or of one filter a channel, or a max pool, with dilation."""

    kind = int(rng.integers(4))

    def window(height: int, width: int) -> Window:
        return dilated_window(rng, height, width, sees=kind == 3)

    return network.conv(name, kind == 2, window) if kind < 3 else network.pool(name, "max_pool", window)


def phases(network, rng: np.random.Generator, name: str, source: str, count: int) -> str | None:
    """A tensor, made of ``source``, whose channels are so many phases, all with one exponent: of one convolution, or of several side by side."""
    channels, *size = network.shapes[source]
    each = int(rng.integers(1, max(2, min(40, 200 // count))))
    parts = count if count <= 4 and rng.random() < 0.4 else 1
    shape = (each * count // parts, *size)
    bits, exponent = int(rng.integers(2, network.widest + 1)), max(network.formats[source].exponents) + 3
    made = []
    for number in range(parts):
        base = int(rng.integers(-9, 0))

        def make(attempt: int):
            weights = network.weights(shape[0], channels, (1, 1), base - attempt, network.segments[source])
            return BlockFormat(bits, True, (0, shape[0]), (exponent,)), weights, None

        made.append(f"{name}.phases{number}")
        if not network.finish(Node(made[-1], "conv", (source,), made[-1]), shape, (0, shape[0]), make):
            return None
    return made[0] if parts == 1 else f"{name}.joined" if network.join(f"{name}.joined", made) else None


def shares(rng: np.random.Generator, size: int, away: int, back: bool) -> tuple[int, ...]:
    """Of so many rows or columns, random ones, all and none among them; none where the other pixel is beyond the edge."""
    found = rng.choice([0, 1, 2**15, 2**16, *rng.integers(0, 2**16, 4).tolist()], size)
    found[slice(away) if back else slice(max(size - away, 0), None)] = 0
    return tuple(found.tolist())


def interpolated(network, rng: np.random.Generator, name: str) -> bool:
    """Each pixel of a tensor of several rows or columns, or one of another tensor, moved towards another pixel."""
    source = network.pick()
    shape = network.shapes[source]
    axis, back, away = int(rng.integers(2)), rng.random() < 0.5, int(rng.choice([1, 1, 2, 3, 5]))
    window = towards(axis, away, back)
    moved = source if rng.random() < 0.5 else network.pick(shape)
    activation, unsigned = network.activation()
    parts = shares(rng, shape[1 + axis], away, back)
    node = Node(name, "interpolate", (source, moved), name, window, activation, shares=parts)

    def make(attempt: int):
        exponent = min(network.formats[moved].exponents) + int(rng.integers(-3, 6))
        return network.format(network.segments[source], exponent, unsigned), None, None

    return network.finish(node, shape, network.segments[source], make)


ENLARGING = ("depth_to_space", "upsample_nearest", "upsample_bilinear", "pad_edge")


def enlarged(network, rng: np.random.Generator, name: str, operator: str | None = None) -> bool:
    """Nearest or bilinear upsampling, channels as pixels, or the edges once more; or the one of these that is given."""
    factors = tuple(int(v) for v in rng.choice([1, 2, 2, 3, 4], 2))
    factors = (2, 2) if factors == (1, 1) else factors
    op = operator or str(rng.choice(ENLARGING))
    if op == "upsample_bilinear":
        factors = ((2, 2), (4, 4), (2, 4), (1, 2))[int(rng.integers(4))]
    factors, edges = ((1, 1), 2) if op == "pad_edge" else (factors, 0)
    phased, count = op == "depth_to_space", factors[0] * factors[1]
    largest = max(network.readable(), key=lambda t: np.prod(network.shapes[t][1:]))
    read = largest if rng.random() < 0.5 else str(rng.choice(network.readable()))
    source = phases(network, rng, name, read, count) if phased else read
    if source is None:
        return False
    channels, height, width = network.shapes[source]
    shape = (channels // count if phased else channels, height * factors[0] + edges, width * factors[1] + edges)
    segments, fmt = (0, shape[0]) if phased else network.segments[source], network.formats[source]
    activation, unsigned = network.activation()
    node = Node(name, op, (source,), name, Window(), activation, factors=factors)

    def make(attempt: int):
        exponent = min(fmt.exponents) + int(rng.integers(-3, 6))
        return network.format(segments, exponent, unsigned or not fmt.signed), None, None

    return network.finish(node, shape, segments, make)


def addresses(network, rng: np.random.Generator, meets: bool) -> None:
    """Some of these, behind all that a network has; meets: a larger map may meet another one."""
    if rng.random() < 0.5:
        dilated(network, rng, "apart")
    if rng.random() < 0.5 and enlarged(network, rng, "larger") and meets:
        pair(network, "met")
    if rng.random() < 0.4:
        interpolated(network, rng, "between")
