"""Where the channels of some tensors shall end, as calibration images show it, and as training has.

Where the images do not say how far others reach, because there is only one, or
because they do not look like what the network was trained on, no channel ends
before the range that its batch normalisation stands for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.format import mantissa_range
from bfp.graph import Node
from calib.data.images import ImageSet
from calib.network.float_network import FloatNetwork, TrainedSums
from calib.observers.channel_ranges import ChannelRanges
from calib.observers.noise_gains import noise_gains
from calib.observers.observer import evenly, few, observe, with_variants
from calib.observers.trained_ranges import trained_ends, trained_values
from calib.state import CalibrationState

IMAGES = 64


def range_ends(
    state: CalibrationState, images: ImageSet, tensors: set[str], gains: dict[str, np.ndarray], what: str
) -> tuple[dict[str, np.ndarray], CalibrationState]:
    """Ends of the channels of some tensors, float64 [C] by tensor, and the state with what held-out images say of them.

    gains: of ``noise_gains``. what: for the line of progress.
    """
    plan, network = state.plan, state.network
    ranges, known = _seen(state, images, tensors, what)
    ends = {}
    for t in sorted(tensors):
        node = network.graph.producer(t)
        if plan.layers[node.name].method == "max":
            ends[t] = ranges.whole(t, plan.splits[t])
        else:
            limit = activation_limit(network, node)
            trained = _trained(state, node, known)
            ends[t] = ranges.ends(t, plan.splits[t], plan.bits[t], plan.signed[t], gains[t], limit, trained)
    return ends, _judged(state, ranges)


def bound_others(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: tensors that nothing has scaled reach further than what was seen, where other images do.

    Their exponents are chosen by a rule from what was seen; where the images held out saturate there, it is left out.
    """
    network, plan = state.network, state.plan
    free = [n for n in network.graph.computed() if n.output not in plan.source_of and n.output not in network.reach]
    tensors = {n.output for n in free if plan.layers[n.name].method != "max"} - set(network.graph.outputs)
    if not tensors:
        return state
    gains = noise_gains(network, few(network, images), state.seed)
    ranges, known = _seen(state, images, tensors, "ranges of what is not scaled")
    reach = {}
    for t in sorted(tensors):
        node = network.graph.producer(t)
        trained = _trained(state, node, known)
        bound = ranges.bounds(t, plan.splits[t], plan.bits[t], plan.signed[t], gains[t], trained)
        if bound is not None:
            reach[t] = np.minimum(bound, activation_limit(network, node))
    return _judged(state, ranges).with_network(replace(network, reach={**network.reach, **reach}))


def _seen(
    state: CalibrationState, images: ImageSet, tensors: set[str], what: str
) -> tuple[ChannelRanges, dict[str, TrainedSums]]:
    """Ranges on some images, and what training has seen where it has to make up for them."""
    network = state.network
    several = evenly(with_variants(images, IMAGES), IMAGES)
    ranges = ChannelRanges(network.graph, tensors, several.augment)
    observe(network, several, ranges, what)
    enough = ranges.photographs > 1 and state.evidence.likeness.alike
    return ranges, {} if enough else trained_values(network)


def _judged(state: CalibrationState, ranges: ChannelRanges) -> CalibrationState:
    before = state.evidence
    samples = min(filter(None, (before.samples, ranges.samples)), default=0)
    held_out = before.held_out + ranges.held_out
    return replace(state, evidence=replace(before, photographs=ranges.photographs, samples=samples, held_out=held_out))


def _trained(state: CalibrationState, node: Node, known: dict[str, TrainedSums]) -> np.ndarray:
    """Where each channel of the node's output ends by what training has seen, float64 [C]; 0 where that is not known."""
    tensor, plan = node.output, state.plan
    if tensor not in known:
        return np.zeros(plan.graph.shapes[tensor][0])
    top = mantissa_range(plan.bits[tensor], plan.signed[tensor])[1]
    return trained_ends(known[tensor], top, node.act.non_negative)


def activation_limit(network: FloatNetwork, node: Node) -> np.ndarray | float:
    """Beyond which the node's activation lets nothing, [C] or one for all channels; infinite where it has no limit."""
    weights = network.weights.get(node.name)
    if weights is not None and weights.limit is not None:
        return weights.limit
    return np.inf if node.act.high is None else node.act.high
