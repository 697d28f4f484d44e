"""The block format of every activation tensor, from statistics and the graph's constraints."""

from __future__ import annotations

import numpy as np

from bfp.artifact import Preprocessing, concat_format
from bfp.format import BlockFormat, exponent_for_maximum, mantissa_range, round_half_up
from bfp.graph import Graph, Node
from bfp.operators import Channels
from calib.transforms import output_scaling as output_window
from calib.config import BfpOptions
from calib.formats.exponent_rules import HISTOGRAM_RULES
from calib.formats.layer_options import LayerOptions
from calib.transforms.output_scaling import OutputWindow
from calib.formats.fan2019 import by_seed
from calib.observers.statistics import Histogram, Statistics

NO_FLOOR = -(10**6)


def cut(segments: tuple[int, ...], group: int) -> tuple[int, ...]:
    """Block boundaries: every segment cut into groups of ``group`` channels (0: not cut)."""
    splits = [0]
    for start, stop in zip(segments, segments[1:]):
        splits += [*range(start + group, stop, group), stop] if group else [stop]
    return tuple(splits)


def weight_splits(node: Node, segments: dict[str, tuple[int, ...]], group: int) -> tuple[int, ...]:
    """Input-channel boundaries of a layer's weight blocks; segments: of ``Graph.segments``."""
    return (0, 1) if node.operator.weights.per_channel else cut(segments[node.main], group)


class FormatPlan:
    """What the graph and the options fix before any statistics: boundaries, sign, width, and who copies whom.

    splits: block boundaries by tensor. signed, bits: by tensor; tensors whose
    formats must agree (concatenation, max pooling, copies) share them: signed
    if one of them is, the widest width asked for. source_of: tensors that keep
    their source's format exactly. reach: what channels shall hold, see FloatNetwork. notes: widths that could not be obeyed.
    """

    def __init__(
        self,
        graph: Graph,
        options: BfpOptions,
        layers: dict[str, LayerOptions],
        pre: Preprocessing,
        reach: dict[str, np.ndarray],
    ) -> None:
        self.graph, self.options, self.layers, self.pre, self.reach = graph, options, layers, pre, reach
        self.splits = {t: cut(s, options.activation_group) for t, s in graph.segments().items()}
        self.producer = {n.output: n for n in graph.nodes}
        self.source_of = {n.output: n.main for n in graph.nodes if self._copies(n)}
        self.notes: list[str] = []
        self._chosen: dict[Histogram, np.ndarray] = {}
        negative = self._can_be_negative()
        tied = self._ties()
        self.signed, self.bits = {}, {}
        for members in tied:
            asked = {t: self._asked(t) for t in members}
            widths = {b for b in asked.values() if b is not None}
            for t in members:
                self.signed[t] = not options.unsigned or any(negative[m] for m in members)
                self.bits[t] = max(widths) if widths else options.activations
            if len(widths) > 1:
                self.notes.append(
                    f"{', '.join(sorted(members))} must share one width: asked for {sorted(widths)}, used {max(widths)}"
                )

    def _copies(self, node: Node) -> bool:
        """Whether the node's output keeps its operand's format exactly."""
        kind = node.operator
        if kind.keeps_exponents:
            return True
        if not kind.moves or node.activation != "none":
            return False
        one_block = len(self.splits[node.main]) == 2 and len(self.splits[node.output]) == 2
        return kind.channels is Channels.KEPT or one_block

    def _asked(self, tensor: str) -> int | None:
        """Width of a tensor by its own layer; a copy or a concatenation asks only through an override."""
        node = self.producer.get(tensor)
        if node is None:
            return self.options.activations
        bits = self.layers[node.name].activations
        passive = not node.operator.computes or tensor in self.source_of
        return None if passive and bits == self.options.activations else bits

    def _can_be_negative(self) -> dict[str, bool]:
        negative = {self.graph.input: any(m > 0 for m in self.pre.mean)}
        for n in self.graph.nodes:
            negative[n.output] = not n.act.non_negative and n.operator.negative([negative[t] for t in n.inputs])
        return negative

    def _ties(self) -> list[list[str]]:
        root = {t: t for t in self.graph.shapes}

        def find(t: str) -> str:
            while root[t] != t:
                t = root[t]
            return t

        pairs = list(self.source_of.items())
        pairs += [(n.output, t) for n in self.graph.nodes if not n.operator.computes for t in n.inputs]
        for a, b in pairs:
            root[find(a)] = find(b)
        groups: dict[str, list[str]] = {}
        for t in self.graph.shapes:
            groups.setdefault(find(t), []).append(t)
        return list(groups.values())

    def needs_signed_histogram(self) -> set[str]:
        """Tensors whose exponents are chosen by the published rule, which looks at both signs."""
        return {t for t in self.needs_histogram() if self.layers[self.producer[t].name].method == "seed"}

    def needs_histogram(self) -> set[str]:
        """Tensors whose exponents are chosen from a histogram."""
        rules = (*HISTOGRAM_RULES, "seed")
        computed = [n for n in self.graph.computed() if n.output not in self.source_of]
        return {n.output for n in computed if self.layers[n.name].method in rules}

    def has_window(self) -> bool:
        """Whether the network's outputs are classes, whose logits may be shifted and scaled (calib.transforms.output_scaling)."""
        return self.options.output == "classes" and output_window.applies(self.graph, self.signed[self.graph.output])

    def output_window(self, statistics: Statistics) -> OutputWindow | None:
        """The range of logits that the output's mantissas resolve; None where they hold all of it."""
        bits = self.bits[self.graph.output]
        if not self.has_window() or not len(statistics.outputs):
            return None
        return output_window.choose(statistics.outputs, bits)

    def no_floors(self) -> dict[str, np.ndarray]:
        """Lower limits of the exponents, none yet: int64 [blocks] by tensor. See ``raise_floor``."""
        return {t: np.full(len(s) - 1, NO_FLOOR, np.int64) for t, s in self.splits.items()}

    def raise_floor(self, floors: dict[str, np.ndarray], tensor: str, channels: np.ndarray) -> bool:
        """Demand exponents of at least ``channels`` (int64 [C]) from a tensor, or from whom it copies.

        Returns whether that is news.
        """
        node = self.producer.get(tensor)
        if tensor in self.source_of:
            if node.operator.channels is not Channels.KEPT:  # one block: whichever channel it is
                channels = np.full(self.splits[node.main][-1], channels.max())
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

    def formats(
        self, statistics: Statistics, floors: dict[str, np.ndarray], limited: bool = True
    ) -> dict[str, BlockFormat]:
        """Block format of every tensor, in the graph's order; without ``limited``, however far its blocks lie apart."""
        result: dict[str, BlockFormat] = {}
        for tensor in (self.graph.input, *self.producer):
            node = self.producer.get(tensor)
            if tensor in self.source_of:
                source = result[self.source_of[tensor]]
                result[tensor] = BlockFormat(source.bits, source.signed, self.splits[tensor], source.exponents)
            elif node is not None and not node.operator.computes:
                result[tensor] = concat_format([result[t] for t in node.inputs])
            else:
                e = np.maximum(self._exponents(tensor, node, statistics, result), floors[tensor])
                e = self._limit_spread(tensor, e) if limited else e
                if tensor == self.graph.output and self.graph.shapes[tensor][1:] == (1, 1):
                    # few images show few classes at their best: a class's logit needs the range of any class's
                    window = self.output_window(statistics)
                    own = e.max() if window is None else window.exponent
                    e = np.full_like(e, max(own, floors[tensor].max()))
                result[tensor] = BlockFormat(
                    self.bits[tensor], self.signed[tensor], self.splits[tensor], tuple(int(v) for v in e)
                )
        return result

    def _exponents(
        self, tensor: str, node: Node | None, statistics: Statistics, known: dict[str, BlockFormat]
    ) -> np.ndarray:
        splits, bits, signed = self.splits[tensor], self.bits[tensor], self.signed[tensor]
        if node is None:
            return np.array([input_exponent(self.pre, range(a, b), bits, signed) for a, b in zip(splits, splits[1:])])
        maximum = statistics.block_maximum(tensor, splits)
        if node.operator.reach is not None:
            held = [float(np.exp2(known[t].exponents).max()) * known[t].high for t in node.inputs]
            maximum = np.minimum(maximum, node.operator.reach(held))
        if tensor in self.reach:
            wanted = np.maximum.reduceat(self.reach[tensor], splits[:-1])
            maximum = np.where(maximum > 0, np.where(wanted > 0, wanted, maximum), 0)
            histogram = None
        else:
            histogram = statistics.histograms.get(tensor)
        method = self.layers[node.name].method
        if histogram is not None and method in (*HISTOGRAM_RULES, "seed"):
            if histogram not in self._chosen:  # floors change from pass to pass, histograms do not
                every = statistics.block_maximum(tensor, splits)
                if method == "seed":
                    self._chosen[histogram] = by_seed(histogram, every, bits)
                else:
                    rule = HISTOGRAM_RULES[method]
                    self._chosen[histogram] = rule(histogram.counts, histogram.tops, every, bits, signed)
            e = np.minimum(self._chosen[histogram], exponent_for_maximum(maximum, bits, signed))
        else:
            e = exponent_for_maximum(maximum, bits, signed)
        dead = maximum == 0
        if dead.any():
            # other images may wake a block that calibration never saw: give it its source's range, but no
            # more than the tensor's own, or the limit on the spread would coarsen the live blocks for it
            source = known[node.main]
            same = not node.weighted and source.splits == splits
            spare = np.asarray(source.exponents) if same else np.full(len(e), max(source.exponents))
            if not dead.all():
                spare = np.minimum(spare, e[~dead].max()) if same else e[~dead].max()
            e = np.where(dead, spare, e)
            if node.act.high is not None:
                e = np.minimum(e, exponent_for_maximum(np.full(len(e), node.act.high), bits, signed))
        return e

    def _limit_spread(self, tensor: str, e: np.ndarray) -> np.ndarray:
        """Raise fine blocks until no two of a segment are further apart than a filter's psums may be."""
        segments = np.searchsorted(self.splits[tensor], self.graph.segments()[tensor])[:-1]
        highest = np.maximum.reduceat(e, segments)
        per_block = np.repeat(highest, np.diff([*segments, len(e)]))
        return np.maximum(e, per_block - self.options.max_spread)


def input_exponent(pre: Preprocessing, channels: range, bits: int, signed: bool) -> int:
    """Exponent that represents the 256 pixel codes of these channels with the least squared error.

    The input's range is known exactly. Where the largest code lies just above
    a power of two, saturating that one code is better than halving the
    resolution of all others.
    """
    codes = np.arange(256.0)[:, None]
    scale = pre.scale or (1.0,) * len(pre.mean)
    mean, std = np.array(sorted({(pre.mean[c], pre.std[c] * scale[c]) for c in channels})).T
    values = (codes - mean) / std
    low, high = mantissa_range(bits, signed)
    highest = int(exponent_for_maximum(np.abs(values).max(), bits, signed))

    def error(e: int) -> float:
        scale = 2.0**e
        return float(((np.clip(round_half_up(values / scale), low, high) * scale - values) ** 2).sum())

    return min((highest, highest - 1, highest - 2), key=error)
