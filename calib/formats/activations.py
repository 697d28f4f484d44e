"""The block format of every activation tensor, from statistics and the plan of formats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.artifact import ARRAY, Preprocessing, concat_format
from bfp.errors import BfpError
from bfp.format import BlockFormat, exponent_for_maximum, mantissa_range, round_half_up
from bfp.graph import Node
from calib.formats import logit_range, table_range
from calib.formats.exponent_rules import rule_of
from calib.formats.logit_range import LogitRange
from calib.formats.plan import FormatPlan
from calib.network.float_network import FloatNetwork
from calib.observers.statistics import Histogram, Statistics


class ActivationFormats:
    """Chooses the exponents of all activations of a network.

    plan: the rest of their formats. network: what its transforms have decided is obeyed, the input's scale and how far
    channels reach. statistics: of its calibration images.
    """

    def __init__(self, plan: FormatPlan, network: FloatNetwork, statistics: Statistics) -> None:
        self.plan, self.reach, self.statistics = plan, network.reach, statistics
        self.graph, self.output_range = plan.graph, network.output_range
        self.segments = plan.graph.segments()
        self.preprocessing = scaled_input(plan.preprocessing, network)
        self._chosen: dict[Histogram, np.ndarray] = {}  # floors change from pass to pass, histograms do not
        # of indices: by node, and by the widest index and the result that they were found for
        self._widths: dict[str, dict[tuple[BlockFormat, BlockFormat], int]] = {}

    def logit_range(self) -> LogitRange | None:
        """The range of logits that the mantissas of ``plan.logits`` resolve; None where they hold all of it."""
        output = self.plan.logits
        if output is None or not len(self.statistics.outputs[output]):
            return None
        if self.output_range is not None:
            exponent, largest = self.output_range
            return LogitRange(exponent, max(largest, float(self.statistics.outputs[output].max())))
        return logit_range.choose(self.statistics.outputs[output], self.plan.bits[output])

    def formats(self, floors: dict[str, np.ndarray], limited: bool = True) -> dict[str, BlockFormat]:
        """Block format of every tensor, in the graph's order; without ``limited``, however far its blocks lie apart.

        floors: lower limits of the exponents, int64 [blocks] by tensor.
        """
        floors = {t: f.copy() for t, f in floors.items()}
        result = self._formats(floors, limited)
        while self.plan.raise_phases(floors, result):
            result = self._formats(floors, limited)
        return result

    def _formats(self, floors: dict[str, np.ndarray], limited: bool) -> dict[str, BlockFormat]:
        """The same, but that phases may still have several exponents."""
        plan, producer = self.plan, {n.output: n for n in self.graph.nodes}
        result: dict[str, BlockFormat] = {}
        for tensor in (*self.graph.inputs, *producer):
            node = producer.get(tensor)
            if tensor in plan.source_of:
                source, blocks = result[plan.source_of[tensor]], plan.source_blocks(tensor)
                result[tensor] = BlockFormat(source.bits, source.signed, plan.splits[tensor], source.exponents[blocks])
            elif node is not None and not node.operator.computes:
                result[tensor] = concat_format([result[t] for t in node.inputs])
            else:
                e = np.maximum(self._exponents(tensor, node, result), floors[tensor])
                e = self._limit_spread(tensor, e) if limited else e
                e = np.full_like(e, e.max()) if tensor in plan.one_exponent else e
                if tensor in self.graph.outputs and self.graph.shapes[tensor][1:] == (1, 1):
                    # few images show few classes at their best: a class's logit needs the range of any class's
                    logits = self.logit_range() if tensor == plan.logits else None
                    own = e.max() if logits is None else logits.exponent
                    e = np.full_like(e, max(own, floors[tensor].max()))
                exponents = tuple(int(v) for v in e)
                result[tensor] = BlockFormat(plan.bits[tensor], plan.signed[tensor], plan.splits[tensor], exponents)
        return result | self._narrowed(result)

    def _narrowed(self, formats: dict[str, BlockFormat]) -> dict[str, BlockFormat]:
        """The indices of tables, all with the bits that the most demanding of them needs on the calibration images.

        The engine's tables are as long as the longest, and layers of equal formats read the same one.
        """
        nodes = self.plan.indexed.values()
        bits = max((self._index_bits(n, formats[n.main], formats[n.output]) for n in nodes), default=0)
        return {n.main: table_range.coarser(formats[n.main], bits) for n in nodes}

    def _index_bits(self, node: Node, index: BlockFormat, target: BlockFormat) -> int:
        """Bits that the index of a node's table needs for its results."""
        histogram = self.statistics.histograms.get(node.main)
        if histogram is None:
            raise BfpError(f"tensor {node.main}: its table needs a histogram; gather statistics with this plan")
        known = self._widths.setdefault(node.name, {})
        if (index, target) not in known:
            known[index, target] = table_range.index_bits(node.function, index, target, histogram, f"node {node.name}")
        return known[index, target]

    def _exponents(self, tensor: str, node: Node | None, known: dict[str, BlockFormat]) -> np.ndarray:
        plan = self.plan
        splits, bits, signed = plan.splits[tensor], plan.bits[tensor], plan.signed[tensor]
        if node is None and self.preprocessing.channels == ARRAY:
            return exponent_for_maximum(self.statistics.block_maximum(tensor, splits), bits, signed)
        if node is None:
            blocks = [range(a, b) for a, b in zip(splits, splits[1:])]
            return np.array([input_exponent(self.preprocessing, b, bits, signed) for b in blocks])
        maximum = self.statistics.block_maximum(tensor, splits)
        if node.operator.reach is not None:
            held = [float(np.exp2(known[t].exponents).max()) * known[t].high for t in node.inputs]
            maximum = np.minimum(maximum, node.operator.reach(held))
        if tensor in self.reach:
            wanted = np.maximum.reduceat(self.reach[tensor], splits[:-1])
            maximum = np.where(wanted > 0, wanted, maximum)
        if tensor in plan.indexed:
            return self._index_exponents(tensor, maximum)
        e = exponent_for_maximum(maximum, bits, signed)
        choose = rule_of(plan.layers[node.name].method).choose
        if choose is not None and tensor not in self.reach:
            histogram = self.statistics.histograms.get(tensor)
            if histogram is None:
                raise BfpError(f"tensor {tensor}: its method needs a histogram; gather statistics with this plan")
            if histogram not in self._chosen:
                every = self.statistics.block_maximum(tensor, splits)
                self._chosen[histogram] = choose(histogram, every, bits, signed)
            e = np.minimum(self._chosen[histogram], e)
        return self._with_room(node, e, maximum, known[node.main])

    def _index_exponents(self, tensor: str, maximum: np.ndarray) -> np.ndarray:
        """Of a table's index: its block's largest value, but no further than the function needs, int64 [blocks]."""
        plan, reader = self.plan, self.plan.indexed[tensor]
        low, high = float(self.statistics.minimum[tensor].min()), float(self.statistics.highest[tensor].max())
        end = min(table_range.index_end(reader.function, low, high, f"node {reader.name}"), float(maximum.max()))
        exponent = int(exponent_for_maximum(np.array(end), plan.bits[tensor], plan.signed[tensor]))
        return np.full(len(maximum), exponent)

    def _with_room(self, node: Node, e: np.ndarray, maximum: np.ndarray, source: BlockFormat) -> np.ndarray:
        """The exponents, those of blocks without a value as other images may need them."""
        plan = self.plan
        splits, bits, signed = plan.splits[node.output], plan.bits[node.output], plan.signed[node.output]
        dead = maximum == 0
        if dead.any():
            # other images may wake a block that calibration never saw: give it its source's range, but no
            # more than the tensor's own, or the limit on the spread would coarsen the live blocks for it
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
        segments = np.searchsorted(self.plan.splits[tensor], self.segments[tensor])[:-1]
        highest = np.maximum.reduceat(e, segments)
        per_block = np.repeat(highest, np.diff([*segments, len(e)]))
        return np.maximum(e, per_block - self.plan.options.max_spread)


def scaled_input(preprocessing: Preprocessing, network: FloatNetwork) -> Preprocessing:
    """The preprocessing of a file with the scale that the network's input has."""
    return replace(preprocessing, scale=network.input_scale)


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
