"""The one loop that walks a graph: what it computes, stores, shows, keeps and lets go."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from support.random_graphs import random_artifact

from bfp import BfpError
from bfp.graph import Graph, Node
from calib.network import float_model
from calib.network.executor import downstream, execute
from calib.network.fake_quant import exact_exponent, real_network


def diamond() -> Graph:
    """Two inputs; ``left`` and ``right`` meet in a sum, and a copy of it is placed behind a copy of ``left``."""
    nodes = (
        Node("n0", "identity", ("a",), "left"),
        Node("n1", "identity", ("b",), "right"),
        Node("n2", "add", ("left", "right"), "sum"),
        Node("n3", "identity", ("left",), "copy"),
        Node("n4", "concat", ("copy", "sum"), "out"),
    )
    shapes = {t: (1, 1, 1) for t in ("a", "b", "left", "right", "sum", "copy")} | {"out": (2, 1, 1)}
    graph = Graph("diamond", ("a", "b"), ("out", "right"), nodes, shapes)
    graph.validate()
    return graph


def text(node: Node, operands: list[str]) -> str:
    """A result that says what it was made of."""
    return f"{node.op}({','.join(operands)})"


def test_values_of_any_kind_are_computed_in_order_and_seen_as_stored():
    seen = []
    got = execute(
        diamond(),
        text,
        {"a": "A", "b": "B"},
        observe=lambda tensor, value: seen.append((tensor, value)),
        store=lambda tensor, value: value.lower() if tensor == "a" else f"<{value}>",
    )
    left, right = "<identity(a)>", "<identity(<B>)>"
    wanted = {"a": "a", "b": "<B>", "left": left, "right": right, "sum": f"<add({left},{right})>"}
    wanted["copy"] = f"<identity({left})>"
    wanted["out"] = f"concat({wanted['copy']},{wanted['sum']})"  # placed, not stored once more
    assert got == wanted and list(got) == list(wanted)
    assert seen == list(wanted.items())


def test_only_what_is_asked_for_is_kept():
    assert execute(diamond(), text, {"a": "A", "b": "B"}, keep=()) == {}
    got = execute(diamond(), text, {"a": "A", "b": "B"}, keep=["right", "b"])
    assert got == {"b": "B", "right": "identity(B)"}


class Value:
    """Something that a weak reference can watch."""


def test_a_value_is_let_go_after_its_last_use():
    alive: dict[str, weakref.ref] = {}
    living = []

    def compute(node: Node, operands: list[Value]) -> Value:
        living.append({tensor for tensor, value in alive.items() if value() is not None})
        return Value()

    def observe(tensor: str, value: Value) -> None:
        alive[tensor] = weakref.ref(value)

    inputs = {"a": Value(), "b": Value()}  # these are held here
    execute(diamond(), compute, inputs, keep=["right"], observe=observe)
    held = {"a", "b"}
    assert [found - held for found in living] == [
        set(),
        {"left"},
        {"left", "right"},
        {"left", "right", "sum"},
        {"copy", "right", "sum"},
    ]
    assert alive["right"]() is None and alive["out"]() is None  # nobody kept the result


@pytest.mark.parametrize(
    "given, words", [({"a": 1}, "needs a value for its input 'b'"), ({"a": 1, "b": 1, "c": 1}, "no input named 'c'")]
)
def test_every_input_has_a_value_and_nothing_else(given, words):
    with pytest.raises(BfpError, match=f"network diamond .*{words}"):
        execute(diamond(), text, given)


def test_gradients_flow_through_it():
    x = {t: torch.ones(1, 1, 1, 1, requires_grad=True) for t in "ab"}
    hooks = {}
    weights = {"left": 3.0, "right": 5.0, "sum": 1.0, "copy": 1.0}

    def compute(node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(operands, 1) if node.output == "out" else weights[node.output] * sum(operands)

    def observe(tensor: str, value: torch.Tensor) -> None:
        value.register_hook(lambda gradient: hooks.__setitem__(tensor, float(gradient.sum())))

    execute(diamond(), compute, x, keep=["out"], observe=observe)["out"].sum().backward()
    assert hooks == {"a": 6.0, "b": 5.0, "left": 2.0, "right": 1.0, "sum": 1.0, "copy": 1.0, "out": 2.0}


def test_downstream_is_what_depends_on_a_tensor():
    graph = diamond()
    part = downstream(graph, "sum")
    assert [n.name for n in part.nodes] == ["n4"] and part.inputs == ("sum", "copy") and part.outputs == ("out",)
    part = downstream(graph, "left")
    assert [n.name for n in part.nodes] == ["n2", "n3", "n4"] and part.inputs == ("left", "right")
    assert downstream(graph, "right").outputs == ("out", "right")
    dead = replace(graph, outputs=("right",))
    assert downstream(dead, "copy").outputs == () and downstream(dead, "out").nodes == ()


@pytest.mark.parametrize("seed", range(6))
def test_executing_what_is_downstream_gives_what_executing_all_does(seed):
    """One tensor after the other is changed: while the whole network is executed, and in its downstream part only."""
    network = real_network(random_artifact(seed, lanes=8))
    graph, compute = network.graph, float_model.computing(network)
    x = torch.randn(1, *graph.shapes[graph.input], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        exact = execute(graph, compute, {graph.input: x})
        for changed in graph.stored_tensors():

            def store(tensor: str, value: torch.Tensor) -> torch.Tensor:
                return value + 1 if tensor == changed else value

            whole = execute(graph, compute, {graph.input: x}, store=store)
            part = downstream(graph, changed)
            again = execute(part, compute, {**{t: exact[t] for t in part.inputs}, changed: exact[changed] + 1})
            assert all(torch.equal(value, whole[tensor]) for tensor, value in again.items())
            assert all(torch.equal(exact[tensor], whole[tensor]) for tensor in set(whole) - set(again))


def test_exact_exponents():
    assert [exact_exponent(v) for v in (6.0, 1.0, 8.0, 0.75, -3.0)] == [1, 0, 3, -2, 0]
