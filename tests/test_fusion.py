"""Which max pools run in the layer before, and what the schedule says of tiles that load early."""

from __future__ import annotations

from dataclasses import replace

import pytest
from random_graphs import random_artifact

from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from codegen.board import load_board
from codegen.estimate import Timing, steps
from codegen.fusion import KERNELS, Pool, fusible, separable
from codegen.options import EngineOptions
from codegen.program import build

FORMAT = BlockFormat(8, True, (0, 4), (0,))
POOL = Window((3, 3), (2, 2), (1, 1, 1, 1))


def network(window: Window = POOL, width: int = 12, extra: tuple[Node, ...] = (), **changes) -> Graph:
    """A convolution, a max pool of its result, and whatever else."""
    conv = Node("conv", "conv", ("input",), "map", Window())
    pool = Node("pool", "max_pool", ("map",), "pooled", window, **changes)
    shapes = {"input": (4, 9, width), "map": (4, 9, width), "pooled": (4, *window.output_size(9, width))}
    shapes |= {node.output: shapes[node.main] for node in extra}
    return Graph("net", "input", (extra or (pool,))[-1].output, (conv, pool, *extra), shapes)


def formats(graph: Graph) -> dict[str, BlockFormat]:
    return dict.fromkeys(graph.shapes, FORMAT)


def test_a_pool_that_is_the_only_reader_is_fused():
    graph = network()
    pool = fusible(graph, formats(graph), "map")
    assert (pool.node.name, pool.height, pool.width, pool.stored) == ("pool", 9, 12, (5, 6))


@pytest.mark.parametrize(
    "graph",
    [
        network(extra=(Node("other", "identity", ("map",), "copy"),)),
        network(Window((3, 3), (1, 1), (1, 1, 1, 1))),
        network(Window((3, 3), (2, 1), (1, 1, 1, 1))),
        network(Window((4, 4), (2, 2))),
        network(Window((2, 2), (2, 2), (0, -1, 0, 0))),
        network(width=7),
        network(activation="relu"),
        replace(network(), output="map"),
        # the last row ends two windows: that which it closes, and one of padding besides
        network(Window((3, 3), (2, 2), (0, 1, 2, 1))),
    ],
    ids=["two readers", "stride 1", "stride 2x1", "kernel 4", "cropped", "narrow", "activation", "output", "two ends"],
)
def test_other_pools_are_layers_of_their_own(graph):
    assert fusible(graph, formats(graph), "map") is None


def test_a_pool_that_changes_the_format_is_not_fused():
    graph = network()
    changed = {**formats(graph), "pooled": BlockFormat(8, False, (0, 4), (0,))}
    assert fusible(graph, changed, "map") is None


def test_rows_of_the_pooled_map_are_those_whose_windows_have_ended():
    seen = 0
    for height in range(2, 20):
        for kernel in KERNELS:
            for top in (0, 1):
                for bottom in (0, 1):
                    window = Window((kernel, 2), (2, 2), (top, 0, bottom, 0))
                    count = window.output_size(height, 8)[0]
                    if not separable(height, kernel, top, count):
                        continue
                    seen += 1
                    pool = Pool(Node("pool", "max_pool", ("map",), "pooled", window), height, 8, (count, 4))
                    last = [min(2 * i - top + kernel, height) - 1 for i in range(count)]
                    assert [pool.rows(y) for y in range(height + 1)] == [
                        count if y == height else sum(r < y for r in last) for y in range(height + 1)
                    ]
    assert seen > 60


@pytest.mark.parametrize("seed", range(6))
def test_every_line_of_every_tile_loads_once(seed):
    """What the estimate takes from the schedule adds up to the layers' own counts."""
    program = build([random_artifact(seed, 4)], EngineOptions(lanes=4, filters=4, pixels=3, input_words=2000))
    board = load_board("ultra96v2")
    found = steps(program, board, Timing())
    computed = sum(1 for step in found if step.compute)
    between = sum(1 for layer in program.layers if not layer.fields["early_lines"])
    assert len(found) == computed + max(between, 1)
    for layer, before in zip(program.layers[1:], program.layers):
        f = layer.fields
        passes = before.fields["tile_passes" if before.fields["op"] == "CONV" else "edge_passes"]
        lines = min(f["tile_words"], f["in_words"]) * layer.tiling.buffered.rows(min(f["tile_height"], f["out_height"]))
        assert f["early_lines"] == 0 or f["early_lines"] * (passes - f["early_pass"]) >= lines
        assert f["slice_lines"] * f["tile_passes"] >= lines
