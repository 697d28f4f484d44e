"""Which option holds for which layer: the network's, unless an override's pattern matches the layer's name."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

from bfp.errors import BfpError
from bfp.graph import Graph
from calib.config import BfpOptions


@dataclass(frozen=True)
class LayerOptions:
    """Resolved options of one node; the fields are those of BfpOptions."""

    weights: int
    activations: int
    weight_group: int
    method: str
    weight_method: str


def residual_stream(graph: Graph) -> set[str]:
    """The trunk: what sums of shortcuts read as shortcut or write, and linear bottlenecks where it changes width."""
    sums = [n for n in graph.nodes if n.shortcut]
    mixing = [n for n in graph.weighted() if not n.operator.weights.per_channel]
    linear = {n.output for n in mixing if n.activation == "none" and n.output != graph.output}
    return {n.shortcut for n in sums} | {n.output for n in sums} | (linear if sums else set())


def resolve_options(graph: Graph, options: BfpOptions) -> dict[str, LayerOptions]:
    """Options by node name; a later override wins over an earlier one.

    Raises BfpError for an override that matches no layer, or that sets weights
    where no matching layer has any.
    """
    base = LayerOptions(**{f.name: getattr(options, f.name) for f in fields(LayerOptions)})
    result = {node.name: base for node in graph.nodes}
    layers = graph.weighted()
    stream = residual_stream(graph)
    for node in graph.nodes:
        if node.weighted and (node.operator.weights.per_channel or node in (layers[0], layers[-1])):
            result[node.name] = replace(result[node.name], weights=max(options.weights, options.sensitive))
        if node.output in stream:
            result[node.name] = replace(result[node.name], activations=max(options.activations, options.sensitive))
        if node.output == graph.output and options.method != "seed":
            # the largest output decides the class: it must not saturate
            result[node.name] = replace(result[node.name], method="max")
    for override in options.overrides:
        matched = [n for n in graph.nodes if fnmatchcase(n.name, override.layers)]
        changes = {k: v for k in vars(base) if (v := getattr(override, k)) is not None}
        where = f"network {graph.name}: override of layers {override.layers!r}"
        if not matched:
            example = ", ".join(n.name for n in graph.nodes[:3])
            count = len(graph.nodes)
            raise BfpError(f"{where} matches none of its {count} layers ({example}, ...); correct the pattern")
        of_weights = {"weights", "weight_group", "weight_method"} & set(changes)
        if of_weights and not any(n.weighted for n in matched):
            first = matched[0]
            raise BfpError(f"{where} sets weights, but {first.name} ({first.op}) has none; correct the pattern")
        for node in matched:
            result[node.name] = replace(result[node.name], **changes)
    return result
