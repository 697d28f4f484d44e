"""Which pools run in the layers beside them, and what the schedule says of tiles that load early."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact

from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from codegen.performance.estimate import steps
from codegen.performance.timing import Timing
from codegen.lowering.fusion import KERNELS, InputPool, Pool, fusible, input_pools, separable
from codegen.lowering.engine_operators import EngineOperator
from codegen.options import EngineOptions
from codegen.lowering.program import build
from codegen.lowering.walk import tile_at, units

FORMAT = BlockFormat(8, True, (0, 4), (0,))
POOL = Window((3, 3), (2, 2), (1, 1, 1, 1))


def network(window: Window = POOL, width: int = 12, extra: tuple[Node, ...] = (), **changes) -> Graph:
    """A convolution, a max pool of its result, and whatever else."""
    conv = Node("conv", "conv", ("input",), "map", Window())
    pool = Node("pool", "max_pool", ("map",), "pooled", window, **changes)
    shapes = {"input": (4, 9, width), "map": (4, 9, width), "pooled": (4, *window.output_size(9, width))}
    for node in extra:
        shapes[node.output] = (4, *node.window.output_size(*shapes[node.main][1:]))
    return Graph("net", ("input",), ((extra or (pool,))[-1].output,), (conv, pool, *extra), shapes)


def formats(graph: Graph) -> dict[str, BlockFormat]:
    return dict.fromkeys(graph.shapes, FORMAT)


def pools(graph: Graph) -> dict[str, Pool]:
    return fusible(graph, formats(graph), graph.node("pool"))


def test_a_pool_that_is_the_only_reader_is_fused():
    (pool,) = pools(network()).values()
    assert (pool.node.name, pool.height, pool.width, pool.stored) == ("pool", 9, 12, (5, 6))
    assert not pool.keeps_map


@pytest.mark.parametrize(
    "graph",
    [network(extra=(Node("other", "identity", ("map",), "copy"),)), replace(network(), outputs=("map",))],
    ids=["another reader", "output"],
)
def test_a_map_with_another_reader_is_kept(graph):
    (pool,) = pools(graph).values()
    assert pool.keeps_map


@pytest.mark.parametrize("reader", [None, "map", "other", "joined"])
def test_every_branch_of_a_concatenation_pools_its_part(reader):
    nodes = (
        Node("conv", "conv", ("input",), "map"),
        Node("second", "conv", ("input",), "other"),
        Node("concat", "concat", ("map", "other"), "joined"),
        Node("pool", "max_pool", ("joined",), "pooled", POOL),
    )
    shapes = {"input": (3, 9, 12), "map": (4, 9, 12), "other": (5, 9, 12), "joined": (9, 9, 12), "pooled": (9, 5, 6)}
    if reader:
        nodes += (Node("reader", "identity", (reader,), "copy"),)
        shapes["copy"] = shapes[reader]
    graph = Graph("net", ("input",), (nodes[-1].output,), nodes, shapes)
    found = pools(graph)
    assert [(t, p.first_channel) for t, p in found.items()] == [("map", 0), ("other", 4)]
    assert {p.keeps_map for p in found.values()} == {reader is not None}


@pytest.mark.parametrize(
    "graph",
    [
        network(Window((3, 3), (1, 1), (1, 1, 1, 1))),
        network(Window((3, 3), (2, 1), (1, 1, 1, 1))),
        network(Window((4, 4), (2, 2))),
        network(Window((2, 2), (2, 2), (0, -1, 0, 0))),
        network(width=7),
        network(activation="relu"),
        # the last row ends two windows: that which it closes, and one of padding besides
        network(Window((3, 3), (2, 2), (0, 1, 2, 1))),
    ],
    ids=["stride 1", "stride 2x1", "kernel 4", "cropped", "narrow", "activation", "two ends"],
)
def test_other_pools_are_not_fused_into_the_layer_before(graph):
    assert not pools(graph)


def test_a_pool_of_the_network_s_input_is_not_fused():
    pool = Node("pool", "max_pool", ("input",), "pooled", POOL)
    assert not pools(Graph("net", ("input",), ("pooled",), (pool,), {"input": (4, 9, 12), "pooled": (4, 5, 6)}))


def test_a_pool_that_changes_the_format_is_not_fused():
    graph = network()
    changed = {**formats(graph), "pooled": BlockFormat(8, False, (0, 4), (0,))}
    assert not fusible(graph, changed, graph.node("pool"))


def reader(name: str = "reader", window: Window = Window(), **changes) -> Node:
    return Node(name, "conv", ("pooled",), name, window, **changes)


def on_load(graph: Graph, op: str = "max_pool", **changes) -> dict[str, InputPool]:
    nodes = tuple(replace(n, op=op) if n.name == "pool" else n for n in graph.nodes)
    return input_pools(replace(graph, nodes=nodes), {**formats(graph), **changes}, (), lambda node, pool: True)


SLIDING = Window((3, 3), (1, 1), (1, 1, 1, 1))


@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
@pytest.mark.parametrize(
    ("window", "rows", "columns", "whole"),
    [(SLIDING, 5, 14, False), (Window((3, 2), (2, 2)), 7, 12, False), (Window((9, 12)), 25, 0, True)],
)
def test_pools_that_1x1_convolutions_read_run_as_these_load(op, window, rows, columns, whole):
    pool = on_load(network(window, extra=(reader(),)), op)["pooled"]
    _, out_w = window.output_size(9, 12)
    assert pool.whole == whole
    if not whole:
        assert (pool.rows(3), pool.columns(out_w)) == (rows, columns)


def test_a_pool_of_stride_1_may_have_several_readers():
    assert on_load(network(SLIDING, extra=(reader(), reader("another"))))
    assert not on_load(network(extra=(reader(), reader("another"))))


@pytest.mark.parametrize(
    "graph",
    [
        network(SLIDING),
        replace(network(SLIDING, extra=(reader(),)), outputs=("pooled",)),
        network(SLIDING, extra=(reader(window=SLIDING),)),
        network(SLIDING, extra=(reader(), Node("sum", "add", ("reader", "pooled"), "sum"))),
        network(Window((4, 3), (1, 1), (1, 1, 1, 1)), extra=(reader(),)),
        network(SLIDING, width=5, extra=(reader(),)),
        network(SLIDING, extra=(reader(),), activation="relu"),
    ],
    ids=["no reader", "output", "3x3 reader", "sum", "kernel 4", "narrow", "activation"],
)
def test_other_pools_are_layers_of_their_own(graph):
    assert not on_load(graph)


def test_a_pool_that_changes_the_sign_is_a_layer_of_its_own():
    assert not on_load(network(SLIDING, extra=(reader(),)), pooled=BlockFormat(8, False, (0, 4), (0,)))


def test_averages_run_in_one_place_only():
    other = Node("other", "avg_pool", ("map",), "mean", SLIDING)
    graph = network(SLIDING, extra=(reader(), other, Node("sum", "add", ("mean", "mean"), "sum")))
    assert on_load(graph, "max_pool") and not on_load(graph, "avg_pool")


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
    program = build([random_artifact(seed, 4)], EngineOptions(lanes=4, filters=4, pixels=3, input_words=2000), BOARD)
    found = steps(program, BOARD, Timing())
    computed = sum(1 for step in found if step.compute)
    between = sum(1 for layer in program.layers if not layer.fields.loads.early_lines)
    assert len(found) == computed + max(between, 1)
    for layer, before in zip(program.layers[1:], program.layers):
        f = layer.fields
        passes = before.fields.passes
        passes = passes.tile_passes if before.fields.op is EngineOperator.CONV else passes.edge_passes
        count = units(f, tile_at(f, 0, 0, 0))
        assert f.loads.early_lines == 0 or f.loads.early_lines * (passes - f.loads.early_pass) >= count
        assert f.loads.slice_lines * f.passes.tile_passes >= count
