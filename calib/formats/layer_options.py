"""Which option holds for which layer: the network's, unless an override's pattern matches the layer's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

from bfp.errors import BfpError
from bfp.graph import Graph, Node
from bfp.operators import Join
from calib.options import FAN2019, BfpOptions, Override


NARROW = 4  # bits of activations from which on maps are sensitive by what they hold, not only by where shortcuts lead


@dataclass(frozen=True)
class LayerOptions:
    """Resolved options of one node; the fields are those of BfpOptions."""

    weights: int
    activations: int
    weight_group: int
    method: str
    weight_method: str


@dataclass(frozen=True)
class LayerWidths:
    """Mantissa widths that one layer was given, of its weights and of its output; None: left as they are."""

    weights: int | None = None
    activations: int | None = None

    def chosen(self) -> dict[str, int]:
        """The widths that are given, by option."""
        return {option: bits for option, bits in vars(self).items() if bits is not None}


def residual_stream(graph: Graph) -> set[str]:
    """The trunk: what sums of shortcuts read as shortcut or write, and linear bottlenecks where it changes width."""
    sums = [n for n in graph.nodes if n.shortcut and n.operator.join is Join.SUM]
    mixing = [n for n in graph.weighted() if not n.operator.weights.per_channel]
    linear = {n.output for n in mixing if n.act.is_identity and n.output not in graph.outputs}
    return {n.shortcut for n in sums} | {n.output for n in sums} | (linear if sums else set())


def ends_are_sensitive(options: BfpOptions) -> bool:
    """Whether ``sensitive`` is for the maps at the network's ends, too, and for the noisiest of the others (calib.formats.noisy_layers)."""
    return options.activations <= NARROW and options.sensitive > options.activations


def resolve_options(
    graph: Graph, options: BfpOptions, method: str | None = None, widths: Mapping[str, LayerWidths] | None = None
) -> dict[str, LayerOptions]:
    """Options by node name: the network's, then what ``sensitive`` and ``output_bits`` ask for, then ``widths``, then the overrides.

    method: in place of the network's own, where that was left open. widths: of single layers, by node name. A later
    override wins over an earlier one. Raises BfpError for an override that matches no layer, or that sets weights where
    no matching layer has any.
    """
    base = LayerOptions(**{f.name: getattr(options, f.name) for f in fields(LayerOptions)})
    base = replace(base, method=method or options.method)
    result = {node.name: base for node in graph.nodes}
    layers, stream = graph.weighted(), residual_stream(graph)
    ends = {layers[0].output, layers[-1].main} if layers and ends_are_sensitive(options) else set()
    for node in graph.nodes:
        changes: dict[str, object] = {}
        if node.weighted and (node.operator.weights.per_channel or node in (layers[0], layers[-1])):
            changes["weights"] = max(options.weights, options.sensitive)
        if node.output in stream or node.output in ends:
            changes["activations"] = max(options.activations, options.sensitive)
        if node.output in graph.outputs and options.output_bits and not graph.consumers(node.output):
            changes["activations"] = options.output_bits  # it is only written, which costs no multiplier
        if node.output in graph.outputs and base.method != FAN2019:
            # the largest output decides the class: it must not saturate
            changes["method"] = "max"
        result[node.name] = replace(base, **changes)
    for name, chosen in (widths or {}).items():
        result[name] = replace(result[name], **chosen.chosen())
    for override in options.overrides:
        changes = {option: v for option in vars(base) if (v := getattr(override, option)) is not None}
        for node in matched(graph, override, set(changes)):
            result[node.name] = replace(result[node.name], **changes)
    return result


def matched(graph: Graph, override: Override, changes: set[str]) -> list[Node]:
    """The nodes that an override is for; changes: what it sets. Raises BfpError where it cannot be meant."""
    found = [n for n in graph.nodes if fnmatchcase(n.name, override.layers)]
    where = f"network {graph.name}: override of layers {override.layers!r}"
    if not found:
        example = ", ".join(n.name for n in graph.nodes[:3])
        count = len(graph.nodes)
        raise BfpError(f"{where} matches none of its {count} layers ({example}, ...); correct the pattern")
    if changes & {"weights", "weight_group", "weight_method"} and not any(n.weighted for n in found):
        first = found[0]
        raise BfpError(f"{where} sets weights, but {first.name} ({first.op}) has none; correct the pattern")
    return found
