"""What is fixed of every tensor's format before an image is seen: its blocks, width and sign, and whom it copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfp.artifact import ARRAY, Preprocessing
from bfp.format import BlockFormat
from bfp.format import MAX_BITS
from bfp.graph import Graph, Node
from bfp.limits import MAX_INDEX_BITS, NEVER
from bfp.operators import Alignment, Channels
from calib.formats import logit_range
from calib.formats.exponent_rules import rule_of
from calib.formats.layer_options import LayerOptions, resolve_options
from calib.observers.statistics import Statistics
from calib.options import BfpOptions

NO_FLOOR = -(10**6)
MOST_CHANNELS = 3  # of an input that is wide by itself: those of a picture


def cut(segments: tuple[int, ...], group: int) -> tuple[int, ...]:
    """Block boundaries: every segment cut into groups of ``group`` channels (0: not cut)."""
    splits = [0]
    for start, stop in zip(segments, segments[1:]):
        splits += [*range(start + group, stop, group), stop] if group else [stop]
    return tuple(splits)


def weight_splits(node: Node, segments: dict[str, tuple[int, ...]], group: int) -> tuple[int, ...]:
    """Input-channel boundaries of a layer's weight blocks; segments: of ``Graph.segments``."""
    return (0, 1) if node.operator.weights.per_channel else cut(segments[node.main], group)


@dataclass(frozen=True)
class FormatPlan:
    """The formats as far as graph and options fix them.

    graph, options, layers (by node name), preprocessing: what the plan was made from. judged: the output that the
    task's figure is of; classes: whether that one's values are classes.
    splits: block boundaries by tensor. signed, bits: by tensor; tensors whose formats must agree (concatenation, max
    pooling, copies, slices of whole blocks) share them: signed if one of them is, the widest width asked for. source_of: tensors that keep
    their source's format exactly. indexed: by what indexes a table, the node that reads it. notes: widths that could not be obeyed, a sentence each.
    """

    graph: Graph
    options: BfpOptions
    layers: dict[str, LayerOptions]
    preprocessing: Preprocessing
    judged: str
    classes: bool
    splits: dict[str, tuple[int, ...]]
    source_of: dict[str, str]
    indexed: dict[str, Node]
    signed: dict[str, bool]
    bits: dict[str, int]
    notes: tuple[str, ...]

    @property
    def one_exponent(self) -> frozenset[str]:
        """Tensors all of whose blocks have the same exponent: indices and results of tables."""
        return frozenset(t for index, node in self.indexed.items() for t in (index, node.output))

    def needs_histogram(self) -> set[str]:
        """Tensors whose exponents, or as indices of tables their widths, are chosen from a histogram."""
        ruled = {n.output for n in self._chosen_by_rule() if rule_of(self.layers[n.name].method).choose is not None}
        return ruled | set(self.indexed)

    def needs_signed_histogram(self) -> set[str]:
        """Tensors of whose histograms both signs are looked at: by rules, and those that index tables."""
        signed = {t for t in self.indexed if self.signed[t]}
        return signed | {n.output for n in self._chosen_by_rule() if rule_of(self.layers[n.name].method).both_signs}

    def _chosen_by_rule(self) -> list[Node]:
        return [n for n in self.graph.computed() if n.output not in self.source_of]

    def new_statistics(self) -> Statistics:
        """Statistics, of no image yet, with all that the plan's methods ask for."""
        return Statistics(self.graph, self.splits, self.needs_histogram(), self.needs_signed_histogram())

    @property
    def logits(self) -> str | None:
        """The output whose values are logits that may be shifted and scaled, see calib.formats.logit_range, or None."""
        fits = self.classes and logit_range.applies(self.graph, self.judged, self.signed[self.judged])
        return self.judged if fits else None

    def no_floors(self) -> dict[str, np.ndarray]:
        """Lower limits of the exponents, none yet: int64 [blocks] by tensor. See ``raise_floor``."""
        return {t: np.full(len(s) - 1, NO_FLOOR, np.int64) for t, s in self.splits.items()}

    def source_blocks(self, tensor: str) -> slice:
        """Which blocks of its source a tensor of ``source_of`` has: of a slice some, otherwise all."""
        node = self.graph.producer(tensor)
        channels, whole = self.graph.channel_slice(node), self.splits[node.main]
        if channels is None or not _of_whole_blocks(channels, whole, self.splits[tensor]):
            return slice(None)
        return slice(whole.index(channels[0]), whole.index(channels[1]))

    def raise_floor(self, floors: dict[str, np.ndarray], tensor: str, channels: np.ndarray) -> bool:
        """Demand exponents of at least ``channels`` (int64 [C]) from a tensor, or from whom it copies.

        Returns whether that is news.
        """
        node = self.graph.producer(tensor)
        if tensor in self.source_of:
            if node.operator.channels is not Channels.KEPT:
                blocks, splits = self.source_blocks(tensor), self.splits[node.main]
                taken = np.full(splits[-1], NEVER)
                if blocks == slice(None):  # one block: whichever channel it is
                    taken[:] = channels.max()
                else:
                    taken[splits[blocks.start] : splits[blocks.stop]] = channels
                channels = taken
            return self.raise_floor(floors, self.source_of[tensor], channels)
        if node is not None and not node.operator.computes:
            news, start = False, 0
            for t in node.inputs:
                stop = start + self.splits[t][-1]
                news |= self.raise_floor(floors, t, channels[start:stop])
                start = stop
            return news
        wanted = np.maximum.reduceat(channels, self.splits[tensor][:-1])
        news = bool(np.any(wanted > floors[tensor]))
        floors[tensor] = np.maximum(floors[tensor], wanted)
        return news

    def raise_phases(self, floors: dict[str, np.ndarray], formats: dict[str, BlockFormat]) -> bool:
        """Demand of the phases that become pixels of one map the coarsest exponent that one of them has.

        Returns whether any of these formats has several.
        """
        several = [n.main for n in self.graph.nodes if self.graph.phases(n) and len(set(formats[n.main].exponents)) > 1]
        for tensor in several:
            self.raise_floor(floors, tensor, np.full(formats[tensor].channels, max(formats[tensor].exponents)))
        return bool(several)


def plan(
    graph: Graph,
    options: BfpOptions,
    preprocessing: Preprocessing,
    layers: dict[str, LayerOptions] | None = None,
    classes: bool | None = None,
    judged: str | None = None,
) -> FormatPlan:
    """Everything that is fixed before statistics are gathered.

    layers: options by node name, by default those that ``options`` give; judged: as of FormatPlan, by default the first
    output; classes: whether its values are classes, by default what ``options`` say. Raises BfpError for an override
    that matches no layer.
    """
    layers = resolve_options(graph, options) if layers is None else layers
    splits = {t: cut(s, options.activation_group) for t, s in graph.segments().items()}
    indexed = {n.main: n for n in graph.nodes if n.function is not None}
    source_of = {n.output: n.main for n in graph.nodes if _copies(n, graph, splits) and n.output not in indexed}
    negative = _can_be_negative(graph, preprocessing)
    signed, bits, notes = {}, {}, []
    for members in of_one_format(graph, source_of):
        asked = {
            t: input_width(t, graph, options, splits[t]) if t in graph.inputs else _asked(t, graph, options, layers, source_of)
            for t in members
        }
        widths = {b for b in asked.values() if b is not None}
        for t in members:
            signed[t] = not options.unsigned or any(negative[m] for m in members)
            bits[t] = MAX_INDEX_BITS if t in indexed else max(widths) if widths else options.activations
        if len(widths) > 1:
            notes.append(
                f"{', '.join(sorted(members))} must share one width: asked for {sorted(widths)}, used {max(widths)}"
            )
    classes = options.output == "classes" if classes is None else classes
    judged = judged or graph.outputs[0]
    return FormatPlan(
        graph, options, layers, preprocessing, judged, classes, splits, source_of, indexed, signed, bits, tuple(notes)
    )


def _of_whole_blocks(channels: tuple[int, int], whole: tuple[int, ...], splits: tuple[int, ...]) -> bool:
    """Whether a slice has the blocks of its operand, whose boundaries ``whole`` are, and no part of one."""
    start, stop = channels
    inside = tuple(s - start for s in whole if start <= s <= stop)
    return start in whole and stop in whole and inside == splits


def _copies(node: Node, graph: Graph, splits: dict[str, tuple[int, ...]]) -> bool:
    """Whether the node's output keeps its operand's format exactly."""
    kind, channels = node.operator, graph.channel_slice(node)
    if kind.keeps_exponents:
        return True
    if not kind.moves or not node.act.is_identity:
        return False
    if channels is not None and _of_whole_blocks(channels, splits[node.main], splits[node.output]):
        return True
    one_block = len(splits[node.main]) == 2 and len(splits[node.output]) == 2
    return kind.channels is Channels.KEPT or one_block


def input_width(tensor: str, graph: Graph, options: BfpOptions, splits: tuple[int, ...]) -> int:
    """Width of an input: what is asked for, or where that is left open the widest, if it does not decide for other layers.

    It does not where it has few channels, with one exponent, and only convolutions multiply it: their array then takes it
    in parts or as digits (codegen.lowering.arrangement). Elsewhere more layers than its own would take longer.
    """
    if options.input_bits is not None:
        return options.input_bits or options.activations
    readers = graph.consumers(tensor)
    mixed = all(n.operator.alignment is Alignment.BLOCKS and n.shortcut != tensor for n in readers)
    few = splits[-1] <= MOST_CHANNELS and len(splits) == 2
    return MAX_BITS if few and mixed and tensor not in graph.outputs else options.activations


def _asked(
    tensor: str, graph: Graph, options: BfpOptions, layers: dict[str, LayerOptions], source_of: dict[str, str]
) -> int | None:
    """Width of a tensor by its own layer; a copy or a concatenation asks only where its width is not the network's."""
    node = graph.producer(tensor)
    bits = layers[node.name].activations
    passive = not node.operator.computes or tensor in source_of
    return None if passive and bits == options.activations else bits


def _can_be_negative(graph: Graph, preprocessing: Preprocessing) -> dict[str, bool]:
    # pixels are 0 or more; of arrays nobody knows
    below = preprocessing.channels == ARRAY or any(m > 0 for m in preprocessing.mean)
    negative = dict.fromkeys(graph.inputs, below)
    for n in graph.nodes:
        negative[n.output] = n.can_be_negative([negative[t] for t in n.inputs])
    return negative


def of_one_format(graph: Graph, source_of: dict[str, str]) -> list[list[str]]:
    """All tensors, in groups that must have one width and sign; source_of: as of FormatPlan."""
    root = {t: t for t in graph.shapes}

    def find(t: str) -> str:
        while root[t] != t:
            t = root[t]
        return t

    pairs = list(source_of.items())
    pairs += [(n.output, t) for n in graph.nodes if not n.operator.computes for t in n.inputs]
    for a, b in pairs:
        root[find(a)] = find(b)
    groups: dict[str, list[str]] = {}
    for t in graph.shapes:
        groups.setdefault(find(t), []).append(t)
    return list(groups.values())
