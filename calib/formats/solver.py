"""From the float network and its statistics to an artifact whose accumulators are proved.

Exponents are first chosen freely. Where the integer datapath's limits (shift
ranges, 32-bit accumulator) do not hold, exponents are raised, never lowered:
a coarser block loses resolution but nothing saturates. What was raised is
recorded in the artifact's provenance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bfp.artifact import Artifact, NetworkInput, NetworkOutput, operand_formats, verify
from bfp.errors import BfpError
from bfp.format import BlockFormat, exact_exponent
from bfp.graph import Node
from bfp.limits import (
    ACC_LIMIT,
    MAX_ALIGN_SHIFT,
    MAX_OPERAND_SHIFT,
    MAX_REQUANTISATION_SHIFT,
    MIN_REQUANTISATION_SHIFT,
    NEVER,
)
from bfp.operators import Alignment
from bfp.parameters import (
    JOIN_EXPONENTS,
    Parameters,
    Weights,
    accumulator_bound,
    derive,
    prove,
)
from calib.formats.activations import ActivationFormats, scaled_input
from calib.formats.plan import FormatPlan, weight_splits
from calib.formats.weights import PROVABLE_SHIFT, Chosen, WeightBlocks
from calib.network.float_network import FloatNetwork
from calib.observers.statistics import Statistics

MAX_PASSES = 64
LEFT_ROOM = 8  # bits by which a mended output may still be finer than its accumulator


def quantise_network(
    network: FloatNetwork,
    statistics: Statistics,
    plan: FormatPlan,
    classes: tuple[str, ...] = (),
    float_digest: str = "",
    progress: Callable[[str], None] = lambda text: None,
) -> Artifact:
    """Choose every exponent, quantise weights and biases, prove every accumulator.

    Deterministic. classes: names of the values of ``plan.judged``; float_digest: of the float
    weights as imported. The artifact's provenance holds ``adjustments`` (per
    layer and tensor: what was coarsened, by how many bits) and the plan's
    ``notes``. Raises BfpError naming the layer that cannot be made to fit.
    """
    work = _Work(network, statistics, plan)
    for count in range(MAX_PASSES):
        progress(f"choosing exponents, pass {count + 1}")
        formats = work.fitted_formats()
        parameters = work.proved_parameters(formats, progress)
        if parameters is not None:
            break
    else:
        raise BfpError(
            f"network {network.graph.name}, node {work.troubled}: no exponents bring its accumulators inside 32 bits; "
            "the scales of its weights and operands lie too far apart, check the weights"
        )
    artifact = Artifact(
        *(network.graph, formats, parameters),
        inputs=_inputs(network, plan),
        outputs=tuple(
            NetworkOutput(
                tensor=t,
                offset=work.output_offset(t, formats),
                scale=network.output_scales.get(t, 1.0),
                classes=tuple(classes) if t == plan.judged else (),
                host=network.hosts.get(t, ()),
            )
            for t in network.graph.outputs
        ),
        provenance={"adjustments": work.adjustments(formats), "notes": list(plan.notes)},
        float_digest=float_digest,
        joins=network.joins,
    )
    verify(artifact)
    return artifact


def _inputs(network: FloatNetwork, plan: FormatPlan) -> tuple[NetworkInput, ...]:
    """The inputs, each with the part of the preprocessing that is of its channels."""
    whole, ends, start = scaled_input(plan.preprocessing, network), [], 0
    for tensor in network.graph.inputs:
        stop = start + network.graph.shapes[tensor][0]
        ends.append(NetworkInput(tensor, whole.part(start, stop)))
        start = stop
    return tuple(ends)


@dataclass
class _WeightedLayer:
    """A convolution while its exponents are sought. lowest: finest psum exponent that the proof allows, [F]."""

    blocks: WeightBlocks
    bias: np.ndarray
    limit: np.ndarray | None
    lowest: np.ndarray
    chosen: Chosen | None = None
    weights: Weights | None = None


class _Work:
    def __init__(self, network: FloatNetwork, statistics: Statistics, plan: FormatPlan) -> None:
        self.graph, self.plan = network.graph, plan
        self.activations = ActivationFormats(plan, network, statistics)
        self.floors = plan.no_floors()
        self.free = self.activations.formats(self.floors, limited=False)  # what would be chosen without limits
        segments = self.graph.segments()
        self.layers: dict[str, _WeightedLayer] = {}
        self.troubled = ""  # the last node that demanded a change
        for node in self.graph.weighted():
            chosen, floats = plan.layers[node.name], network.weights[node.name]
            splits = weight_splits(node, segments, chosen.weight_group)
            if not (np.isfinite(floats.weight).all() and np.isfinite(floats.bias).all()):
                raise BfpError(f"node {node.name}: its weights hold NaN or infinity; check the weights file")
            self.layers[node.name] = _WeightedLayer(
                WeightBlocks(
                    *(floats.weight, splits, chosen.weights, node.operator, chosen.weight_method),
                    statistics.power(node.main),
                ),
                floats.bias,
                floats.limit,
                np.full(len(floats.bias), NEVER),
            )

    def fitted_formats(self) -> dict[str, BlockFormat]:
        """Formats whose shifts are all within range; chooses the weights' exponents on the way."""
        for _ in range(MAX_PASSES):
            formats = self.activations.formats(self.floors)
            # every node is asked, so that one pass mends as much as it can
            mended = [n.name for n in self.graph.computed() if self._mend(n, formats)]
            if not mended:
                return formats
            self.troubled = mended[0]
        raise BfpError(
            f"network {self.graph.name}, node {self.troubled}: no exponents bring all its shifts into range; "
            "the scales of its weights and operands lie too far apart, check the weights"
        )

    def _raise(self, tensor: str, have: np.ndarray, need: np.ndarray) -> bool:
        """Demand at least ``need`` from the channels of a tensor that fall short."""
        if len(have) < len(need):  # its only channel meets all of them
            need = need.max(keepdims=True)
        short = need > have
        return bool(short.any()) and self.plan.raise_floor(self.floors, tensor, np.where(short, need, NEVER))

    def _mend(self, node: Node, formats: dict[str, BlockFormat]) -> bool:
        """Raise the floors of whichever tensor puts a shift of this node out of range."""
        source, target, residual = operand_formats(node, formats)
        out = target.channel_exponents()
        sc = residual.channel_exponents() if residual else None
        news = False
        if node.name in self.layers:
            layer = self.layers[node.name]
            chosen = layer.blocks.choose(source, out, sc, self.plan.options.max_spread, layer.lowest)
            layer.chosen = chosen
            acc = chosen.finest
            if sc is not None:
                need = np.maximum(layer.blocks.shortcut_floor(chosen), out - MAX_REQUANTISATION_SHIFT)
                news |= self._raise(node.shortcut, sc, need)
                acc = np.minimum(acc, sc)
            return news | self._mend_output(node, out, acc)
        rule = node.operator.exponents
        acc = own = rule.own(node, source, target, None)
        wanted = out - MAX_REQUANTISATION_SHIFT
        if sc is not None:
            acc = JOIN_EXPONENTS[node.operator.join](own, sc)
            if node.operator.join.aligns:
                news |= self._raise(node.shortcut, sc, np.maximum(own - PROVABLE_SHIFT, wanted))
                wanted = np.maximum(wanted, sc - PROVABLE_SHIFT)
            else:
                wanted = wanted - sc
        news |= self._raise(node.main, source.channel_exponents(), rule.needed(node, source, wanted))
        return news | self._mend_output(node, out, acc)

    def _mend_output(self, node: Node, out: np.ndarray, acc: np.ndarray) -> bool:
        far = out - acc < MIN_REQUANTISATION_SHIFT
        return self._raise(node.output, out, np.where(far, acc - LEFT_ROOM, NEVER))

    def proved_parameters(self, formats: dict[str, BlockFormat], progress: Callable) -> dict[str, Parameters] | None:
        """Parameters of every node, all accumulators inside 32 bits; None if formats had to be changed first."""
        result: dict[str, Parameters] = {}
        nodes = self.graph.computed()
        for i, node in enumerate(nodes):
            progress(f"quantising layer {i + 1} of {len(nodes)}")
            source, target, residual = operand_formats(node, formats)
            for _ in range(MAX_PASSES):
                p = self._derive(node, source, target, residual)
                bound = accumulator_bound(node, p, source, residual, self.graph.shapes[node.main][1:])
                if np.all(bound < ACC_LIMIT):
                    break
                excess = np.where(bound < ACC_LIMIT, 0, np.maximum(np.ceil(np.log2(bound / ACC_LIMIT)), 1)).astype(int)
                self.troubled = node.name
                if self._mend_sum(node, p, excess, formats):
                    return None
            prove(self.graph, node, p, formats)
            result[node.name] = p
        return result

    def _derive(self, node: Node, source: BlockFormat, target: BlockFormat, residual: BlockFormat | None) -> Parameters:
        layer = self.layers.get(node.name)
        weights, bias, limit = None, None, None
        if layer is not None:
            sc = residual.channel_exponents() if residual else None
            layer.chosen = layer.blocks.choose(
                source, target.channel_exponents(), sc, self.plan.options.max_spread, layer.lowest
            )
            if layer.weights is None:
                layer.weights = layer.blocks.quantise(layer.chosen.exponents)
            else:
                layer.weights = layer.blocks.requantise(layer.weights, layer.chosen.exponents)
            weights, bias, limit = layer.weights, layer.bias, layer.limit
            bias = bias - self._offset(node.output, target)
        p = derive(node, source, target, residual, weights, bias, limit=limit)
        alignment = node.operator.alignment
        if node.act.high is None or alignment is Alignment.NONE or p.acc_exponent.max() <= exact_exponent(node.act.high):
            return p
        # An accumulator so coarse that the limit is no integer: shift its operands left, as far as there is room.
        bound = accumulator_bound(node, p, source, residual, self.graph.shapes[node.main][1:])
        bound = bound * np.exp2(np.minimum(p.requantisation_shift, 0))  # a finer accumulator needs less of a left shift
        room = np.floor(np.log2(ACC_LIMIT / np.maximum(bound, 1.0))).astype(np.int64) - 1
        room = np.minimum(room, MAX_REQUANTISATION_SHIFT - p.requantisation_shift)
        if alignment is Alignment.BLOCKS:
            room = np.minimum(room, MAX_ALIGN_SHIFT - p.align_shift.max(axis=1))
        else:
            room = np.minimum(room, MAX_OPERAND_SHIFT - p.main_alignment)
        if residual is not None:
            room = np.minimum(room, MAX_OPERAND_SHIFT - p.shortcut_alignment)
        finer = p.acc_exponent - np.clip(p.acc_exponent - exact_exponent(node.act.high), 0, np.maximum(room, 0))
        return derive(node, source, target, residual, weights, bias, acc_exponent=finer, limit=limit)

    def _mend_sum(self, node: Node, p: Parameters, excess: np.ndarray, formats: dict[str, BlockFormat]) -> bool:
        """Make room in the accumulators that overflow, by ``excess`` bits [F] each.

        Returns whether formats have to be chosen again. Raises BfpError, in the
        proof's own words, where the output would lose bits that it stores.
        """
        _, target, residual = operand_formats(node, formats)
        out, over = target.channel_exponents(), excess > 0
        left = over & (p.requantisation_shift < 0)
        if np.any(left) and self._raise(node.output, out, np.where(left, out + excess, NEVER)):
            return True  # the sum is small; what overflows is its shift up to a much finer output
        if residual is not None:
            sc = residual.channel_exponents()
            finest = over & (sc == p.acc_exponent)
            if np.any(finest) and self._raise(node.shortcut, sc, np.where(finest, sc + excess, NEVER)):
                return True
        layer = self.layers.get(node.name)
        coarser = p.acc_exponent + excess
        if layer is None or np.any(over & (coarser > out)):
            prove(self.graph, node, p, formats)
        layer.lowest = np.where(over, coarser, layer.lowest)
        return residual is not None

    def _offset(self, tensor: str, fmt: BlockFormat) -> float:
        logits = self.activations.logit_range() if tensor == self.plan.logits else None
        return 0.0 if logits is None else logits.offset(max(fmt.exponents), fmt.bits)

    def output_offset(self, tensor: str, formats: dict[str, BlockFormat]) -> float:
        """What the biases of the layer that makes an output leave out, see calib.formats.logit_range."""
        return self._offset(tensor, formats[tensor])

    def adjustments(self, formats: dict[str, BlockFormat]) -> dict:
        """What the limits cost: per layer the weight blocks, per tensor the activation blocks made coarser."""
        weights, tensors = {}, {}
        for name, layer in self.layers.items():
            raised = layer.chosen.raised
            if raised.any():
                weights[name] = {
                    "blocks": int(np.count_nonzero(raised)),
                    "of": int(raised.size),
                    "bits": int(raised.max()),
                    "filters_for_accumulator": int(np.count_nonzero(layer.lowest > NEVER)),
                }
        for tensor, fmt in formats.items():
            raised = np.asarray(fmt.exponents) - np.asarray(self.free[tensor].exponents)
            if raised.any():
                tensors[tensor] = {"blocks": int(np.count_nonzero(raised)), "bits": int(raised.max())}
        return {"weights": weights, "activations": tensors}
