"""Pools without a pass of their own over memory.

A max pool with stride 2 runs in the layers that make its input, on their results
as they stream by (hls/fused_pool.hpp); the map before it is stored only where
something else reads it, too. A pool that is read by 1x1 convolutions runs in
these, on their input as it loads (hls/input_pool.hpp), and is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from codegen.lowering.engine_operators import ENGINE_OPERATOR

STRIDE = 2
KERNELS = (2, 3)
LEAST_WIDTH = 8  # hls/fused_pool.hpp and hls/input_pool.hpp: accesses to a row's memory are so far apart
MOST_WORDS = 1024  # running maxima kept on chip
MOST_QUEUED = 128  # words of a pooled row that wait while the row of the map goes out
MOST_COLUMNS = 256  # columns, padding included, of an input that is pooled as it loads
SLIDING = 3  # largest kernel that slides over the rows of an input as it loads
# results that no max pool is fused into: such a layer may run in another one itself, or its rows come in another order
UNFUSED = ("max_pool", "upsample_nearest", "upsample_bilinear", "depth_to_space", "pad_edge")


@dataclass(frozen=True)
class Pool:
    """A fused max pool over a map of ``height`` x ``width``.

    stored: height and width of its result. keeps_map: whether the map is stored as well. first_channel: of the
    pool's result, where this layer's channels start (each branch of a concatenation makes its own).
    """

    node: Node
    height: int
    width: int
    stored: tuple[int, int]
    keeps_map: bool = False
    first_channel: int = 0

    def rows(self, y: int) -> int:
        """Rows of the pooled map that are complete before row ``y`` of the map."""
        if y == self.height:
            return self.stored[0]
        return max(0, (y + self.node.window.padding[0] + 2 - self.node.window.kernel[0]) >> 1)


@dataclass(frozen=True)
class InputPool:
    """A pool that runs on the input of a convolution as it loads. Rows and columns include padding.

    whole: one window over all of the map; others slide over three of its rows.
    """

    node: Node
    whole: bool

    @property
    def window(self) -> Window:
        return self.node.window

    def rows(self, out_rows: int) -> int:
        """Rows of the map that so many rows of the pooled map take."""
        return (out_rows - 1) * self.window.stride[0] + self.window.kernel[0]

    def columns(self, out_columns: int) -> int:
        return (out_columns - 1) * self.window.stride[1] + self.window.kernel[1]


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


def branches(graph: Graph, tensor: str) -> tuple[list[str], set[str]]:
    """The tensors that layers write to make ``tensor``, in the order of its channels; and the concatenations of them."""
    made_by = {node.output: node for node in graph.nodes}
    node = made_by.get(tensor)
    if node is None or node.operator.computes:
        return [tensor], set()
    found, joined = [], {tensor}
    for branch in node.inputs:
        parts, inner = branches(graph, branch)
        found += parts
        joined |= inner
    return found, joined


def indexes(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is the index of a table, so that a layer makes it."""
    return any(node.operator.has_function for node in graph.consumers(tensor))


def fusible(
    graph: Graph, formats: dict[str, BlockFormat], node: Node, in_place: Collection[str] = ()
) -> dict[str, Pool]:
    """How a max pool runs in the layers that make its input, by what they make; nothing where it cannot.

    in_place: slices that are read where they lie, which no layer makes.
    """
    parts, joined = branches(graph, node.main)
    made_by = {n.output: n.op for n in graph.nodes}
    (_, height, width), (_, *stored) = graph.shapes[node.main], graph.shapes[node.output]
    (kh, kw), (top, left, bottom, right) = node.window.kernel, node.window.padding
    fits = (
        node.op == "max_pool"
        and all(part in made_by and made_by[part] not in UNFUSED and part not in in_place for part in parts)
        and len(set(parts)) == len(parts)
        and node.window.stride == (STRIDE, STRIDE)
        and node.window.dilation == (1, 1)
        and kh in KERNELS
        and kw in KERNELS
        and min(top, left, bottom, right) >= 0
        and max(top, left) < STRIDE
        and width >= LEAST_WIDTH
        and node.activation == "none"
        and not indexes(graph, node.output)
        and formats[node.main] == formats[node.output]
        and separable(height, kh, top, stored[0])
        and separable(width, kw, left, stored[1])
    )
    if not fits:
        return {}
    readers = [user for tensor in joined | set(parts) for user in graph.consumers(tensor) if user.output not in joined]
    keeps_map = any(user != node for user in readers) or bool((joined | set(parts)) & set(graph.outputs))
    found, first = {}, 0
    for part in parts:
        found[part] = Pool(node, height, width, (stored[0], stored[1]), keeps_map, first)
        first += graph.shapes[part][0]
    return found


def fusible_input(graph: Graph, formats: dict[str, BlockFormat], node: Node) -> InputPool | None:
    """A pool as it runs in the convolutions that read it; None where it cannot."""
    (_, out_h, out_w), source, target = graph.shapes[node.output], formats[node.main], formats[node.output]
    pool, users = InputPool(node, out_h * out_w == 1), graph.consumers(node.output)
    slides = max(node.window.kernel) <= SLIDING and LEAST_WIDTH <= pool.columns(out_w) <= MOST_COLUMNS
    pointwise = all(u.op == "conv" and u.main == node.output != u.shortcut and u.window == Window() for u in users)
    # with a larger stride, more is read than the pooled map has
    once = len(users) == 1 or node.window.stride == (1, 1)
    fits = (
        node.op in ("max_pool", "avg_pool")
        and node.output not in graph.outputs
        and len(users) > 0
        and pointwise
        and once
        and node.activation == "none"
        and min(node.window.padding) >= 0
        and node.window.dilation == (1, 1)
        and source.signed == target.signed
        and (pool.whole or slides)
    )
    return pool if fits else None


def input_pools(
    graph: Graph, formats: dict[str, BlockFormat], fused: Collection[str], fits: Callable[[Node, InputPool], bool]
) -> dict[str, InputPool]:
    """Pools that run in the convolutions that read them, by their output, but those named in ``fused``.

    fits: whether the tiles of a convolution hold whole rows. Averages only where all of a network's can, and it has no
    shares of differences: one place multiplies, here or in the epilogue.
    """
    found = {}
    for node in graph.nodes:
        pool = fusible_input(graph, formats, node) if node.name not in fused else None
        if pool and all(fits(user, pool) for user in graph.consumers(node.output)):
            found[node.output] = pool
    alone = [n for n in graph.nodes if n.op in ENGINE_OPERATOR and n.output not in found]
    if any(ENGINE_OPERATOR[node.op].traits.scaled for node in alone):
        found = {tensor: pool for tensor, pool in found.items() if pool.node.op != "avg_pool"}
    return found
