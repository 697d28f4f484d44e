"""Parts of random networks that differ only in where values are read and written: windows whose positions lie apart."""

from __future__ import annotations

import numpy as np

from bfp.graph import Window


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
