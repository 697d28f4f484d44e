"""Bit allocation: mantissa widths of every layer under a budget of bits, from measured sensitivity.

How much noise a layer's width causes at the network's output is measured, one
layer at a time: everything stays in float but its weights (or its output
tensor), which are rounded at the network's base width. From there to other
widths the noise is extrapolated: of weights in proportion to the squared
rounding error of the weights themselves, of activations by a factor of four a
bit (uniform rounding noise). Noises of different layers are taken to add up,
as independent ones do. Then bits are handed out one by one, each to the layer
where it takes away most noise for the memory that it costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from bfp.errors import BfpError
from bfp.format import MAX_BITS, MIN_BITS
from bfp.graph import Node
from calib.data.images import ImageSet
from calib.formats.activations import ActivationFormats
from calib.formats.layer_options import LayerWidths
from calib.formats.plan import FormatPlan, weight_splits
from calib.formats.weights import WeightBlocks
from calib.network import float_model
from calib.network.executor import downstream, execute
from calib.network.fake_quant import fake_quantise, weight_scales
from calib.network.float_network import FloatNetwork
from calib.observers.observer import few
from calib.observers.statistics import Statistics
from calib.progress import Progress
from calib.state import CalibrationState

WIDTHS = tuple(range(MIN_BITS, MAX_BITS + 1))


@dataclass(frozen=True)
class Noise:
    """What one layer's width costs. values: how many are stored; floor: least width allowed.

    by_width: squared error at the network's output, mean over images, at WIDTHS.
    """

    layer: str
    values: int
    floor: int
    by_width: tuple[float, ...]


def allocate_bits(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: a width of its own for every layer, so that the budgets are kept; the file's overrides win.

    Raises BfpError for a budget that no widths meet.
    """
    options, plan, network = state.options, state.plan, state.network
    batch = few(network, images)
    # what a budget does not decide stays
    weights, activations = ({n: bits for n, w in state.widths.items() if (bits := getattr(w, which))} for which in ("weights", "activations"))
    with Progress(f"{state.name}: bit allocation, sensitivity of layers on {len(batch)} images"):
        if options.weight_budget:
            noises = weight_noises(network, plan, batch)
            weights = allocate(noises, options.weight_budget, f"network {state.name}, weight_budget")
        if options.activation_budget:
            statistics = plan.new_statistics()
            float_model.run(network, batch, keep=(), observe=statistics.observe)
            noises = activation_noises(network, plan, statistics, batch)
            activations = allocate(noises, options.activation_budget, f"network {state.name}, activation_budget")
    names = dict.fromkeys([*weights, *activations])
    return state.with_widths({n: LayerWidths(weights.get(n), activations.get(n)) for n in names})


def allocate(noises: list[Noise], budget: float, where: str = "network") -> dict[str, int]:
    """Widths by layer whose mean over all stored values stays within ``budget`` bits.

    Greedy by noise removed for each bit of memory; optimal where noise falls
    convexly with the width. Raises BfpError where even the least widths exceed
    the budget; ``where`` names the option in its message.
    """
    widths = {n.layer: n.floor for n in noises}
    room = budget * sum(n.values for n in noises) - sum(n.floor * n.values for n in noises)
    if room < 0:
        least = sum(n.floor * n.values for n in noises) / sum(n.values for n in noises)
        raise BfpError(
            f"{where}: a budget of {budget:g} bits is below {least:.2f}, the mean of the least widths allowed; "
            "raise it, or lower sensitive"
        )
    while True:
        best, gain = None, 0.0
        for n in noises:
            w = widths[n.layer]
            if w == MAX_BITS or n.values > room:
                continue
            rate = (n.by_width[w - MIN_BITS] - n.by_width[w + 1 - MIN_BITS]) / n.values
            if rate > gain:
                best, gain = n, rate
        if best is None:
            return widths
        widths[best.layer] += 1
        room -= best.values


@torch.no_grad()
def weight_noises(network: FloatNetwork, plan: FormatPlan, images: torch.Tensor) -> list[Noise]:
    """One per layer with weights. images: normalised, float32 [N, C, H, W]."""
    common, segments, result = plan.options.weights, network.graph.segments(), []
    for name, noise in rounding_noises(network, plan, images, {n.name for n in network.graph.weighted()}).items():
        node, exact = network.graph.node(name), network.weights[name].weight
        squares = [float(((_rounded(network, plan, node, segments, b).astype(np.float64) - exact) ** 2).sum()) for b in WIDTHS]
        unit = noise / max(squares[common - MIN_BITS], 1e-300)
        floor = _floor(plan.layers[name].weights, common)
        result.append(Noise(name, exact.size, floor, tuple(unit * s for s in squares)))
    return result


@torch.no_grad()
def rounding_noises(
    network: FloatNetwork, plan: FormatPlan, images: torch.Tensor, layers: set[str]
) -> dict[str, float]:
    """Squared error at the output, mean over images, by node name, of each layer's weights rounded to nearest at the network's width.

    images: normalised, float32 [N, C, H, W]. layers: names of nodes with weights.
    """
    exact, segments, result = float_model.run(network, images), network.graph.segments(), {}
    for node in network.graph.weighted():
        if node.name in layers:
            weight = _rounded(network, plan, node, segments, plan.options.weights)
            rounded = replace(network.weights[node.name], weight=weight)
            changed = replace(network, weights={**network.weights, node.name: rounded})
            operands = [exact[t] for t in node.inputs]
            result[node.name] = _output_noise(changed, exact, node.output, float_model.compute(node, changed, operands))
    return result


def _rounded(
    network: FloatNetwork, plan: FormatPlan, node: Node, segments: dict[str, tuple[int, ...]], bits: int
) -> np.ndarray:
    """A layer's weights rounded to nearest, float32, in the blocks and by the method of the plan. segments: the graph's."""
    chosen = plan.layers[node.name]
    splits = weight_splits(node, segments, chosen.weight_group)
    blocks = WeightBlocks(network.weights[node.name].weight, splits, bits, node.operator, chosen.weight_method)
    weights = blocks.quantise(blocks.natural)
    return (weights.mantissas * weight_scales(weights)).astype(np.float32)


@torch.no_grad()
def activation_noises(
    network: FloatNetwork, plan: FormatPlan, statistics: Statistics, images: torch.Tensor, layers: set[str] | None = None
) -> list[Noise]:
    """One per node whose output is stored in a format of its own. layers: names of nodes, None for all."""
    graph = network.graph
    formats = ActivationFormats(plan, network, statistics).formats(plan.no_floors())
    exact = float_model.run(network, images)
    result = []
    for node in graph.computed():
        if node.output in plan.source_of or (layers is not None and node.name not in layers):
            continue
        fmt = formats[node.output]
        noise = _output_noise(network, exact, node.output, fake_quantise(exact[node.output], fmt))
        by_width = tuple(noise * 4.0 ** (fmt.bits - b) for b in WIDTHS)
        floor = _floor(plan.layers[node.name].activations, plan.options.activations)
        result.append(Noise(node.name, int(np.prod(graph.shapes[node.output])), floor, by_width))
    return result


def _floor(width: int, base: int) -> int:
    """A layer that ``sensitive`` or an override made wider than the rest keeps at least that."""
    return width if width > base else MIN_BITS


def _output_noise(network: FloatNetwork, exact: dict[str, torch.Tensor], tensor: str, values: torch.Tensor) -> float:
    """Squared error of the outputs, mean over images, where one tensor has other values.

    exact: the values of all tensors where nothing is changed. Only what depends on the tensor is computed again.
    Outputs count as of ``float_model.output_weights``.
    """
    part, counts = downstream(network.graph, tensor), float_model.output_weights(network.graph, exact)
    inputs = {**{t: exact[t] for t in part.inputs}, tensor: values}
    changed = execute(part, float_model.computing(network), inputs, keep=part.outputs)
    return sum(counts[t] * float(((x - exact[t]).double() ** 2).sum()) for t, x in changed.items()) / len(values)
