"""Max pools that run in the layer before, on its results as they stream by (hls/fused_pool.hpp).

The map before such a pool is not stored: nothing else reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bfp.format import BlockFormat
from bfp.graph import Graph, Node

STRIDE = 2
KERNELS = (2, 3)
LEAST_WIDTH = 8  # hls/fused_pool.hpp, FUSED_POOL_DISTANCE
MOST_WORDS = 1024  # running maxima kept on chip


@dataclass(frozen=True)
class Pool:
    """A fused max pool over a map of ``height`` x ``width``; stored: what is left of it."""

    node: Node
    height: int
    width: int
    stored: tuple[int, int]

    def rows(self, y: int) -> int:
        """Rows of the pooled map that are complete before row ``y`` of the map."""
        if y == self.height:
            return self.stored[0]
        return max(0, (y + self.node.window.padding[0] + 2 - self.node.window.kernel[0]) >> 1)


def separable(size: int, kernel: int, before: int, count: int) -> bool:
    """Whether no position ends two windows, or begins two: then one running maximum is enough."""
    starts = [STRIDE * i - before for i in range(count)]
    begins = [max(0, s) for s in starts]
    ends = [min(size, s + kernel) - 1 for s in starts]
    # an end may begin the next window, but no more
    return all(b <= e for b, e in zip(begins, ends)) and all(
        a < b and first < second and a <= second
        for a, b, first, second in zip(ends, ends[1:], begins, begins[1:])
    )


def fusible(graph: Graph, formats: dict[str, BlockFormat], tensor: str) -> Pool | None:
    """The max pool that can run in the layer that makes ``tensor``; None where there is none."""
    users = graph.consumers(tensor)
    if tensor in (graph.input, graph.output) or len(users) != 1 or users[0].op != "max_pool":
        return None
    node, (_, height, width) = users[0], graph.shapes[tensor]
    _, *stored = graph.shapes[node.output]
    (kh, kw), (top, left, bottom, right) = node.window.kernel, node.window.padding
    fits = (
        node.window.stride == (STRIDE, STRIDE)
        and kh in KERNELS
        and kw in KERNELS
        and min(top, left, bottom, right) >= 0
        and max(top, left) < STRIDE
        and width >= LEAST_WIDTH
        and node.activation == "none"
        and formats[tensor] == formats[node.output]
        and separable(height, kh, top, stored[0])
        and separable(width, kw, left, stored[1])
    )
    return Pool(node, height, width, (stored[0], stored[1])) if fits else None
