"""Maps and weights that make more noise than the others at the network's output, which get one bit more.

With narrow mantissas a few layers can make most of all noise: of EfficientNet-Lite0 at 4 bits five of 32 maps 77 % of
what maps make, and eight of 32 layers 81 % of what weights make. One bit more takes three quarters of theirs away (uniform
rounding noise), and costs little time where few layers have it.
"""

from __future__ import annotations

import sys

from calib.data.images import ImageSet
from calib.formats.bit_allocation import WIDTHS, activation_noises, rounding_noises
from calib.formats.layer_options import NARROW, LayerWidths, ends_are_sensitive, matched
from calib.formats.plan import FormatPlan, of_one_format
from calib.network import float_model
from calib.observers.observer import few
from calib.options import BfpOptions
from calib.progress import Progress
from calib.state import CalibrationState

OUTLYING = 1.25  # times the mean noise of all maps, or of all weights, of the network's width: of layers alike none is outlying
GROUP = 16  # channels that share an exponent while noise is measured


def applies(options: BfpOptions) -> bool:
    """Whether layers are looked for: where ``sensitive`` asks for it at narrow activations, and budgets do not decide all widths."""
    return ends_are_sensitive(options) and not (options.activation_budget and _weights_are_given(options))


def widen_noisy_layers(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: one bit more for maps and weights whose noise at the output is OUTLYING; the file's overrides win.

    Noise is measured with the same exponents whatever the options say but for widths: methods are then compared at the
    same widths (but for the published rule where channels were brought to canonical scales, which it does without), and a
    file that gives what was chosen as overrides asks for the same. What a budget is for, the budget
    decides.
    """
    network, options, base = state.network, state.options, measured_plan(state)
    batch = few(network, images)
    weights: dict[str, int] = {}
    activations: dict[str, int] = {}
    with Progress(f"{state.name}: sensitivity of layers on {len(batch)} images"):
        if not options.activation_budget:
            statistics = base.new_statistics()
            float_model.run(network, batch, keep=(), observe=statistics.observe)
            place = WIDTHS.index(options.activations)
            found = {n.layer: n.by_width[place] for n in activation_noises(network, base, statistics, batch, narrow_maps(base))}
            activations = outlying(found, options.activations, overridden_maps(state))
        if not _weights_are_given(options):
            found = rounding_noises(network, base, batch, narrow_weights(base))
            weights = outlying(found, options.weights, overridden_weights(state))
    for what, widths in (("the weights of", weights), ("what is computed by", activations)):
        if widths:
            print(f"{state.name}: {max(widths.values())} bits for {what} {', '.join(widths)}", file=sys.stderr)
    names = dict.fromkeys([*weights, *activations])
    return state.with_widths({n: LayerWidths(weights.get(n), activations.get(n)) for n in names})


def measured_plan(state: CalibrationState) -> FormatPlan:
    """The formats that noise is measured with: of the file's options, the widths alone.

    Weights have exponents of least squared error, since what GPTQ and descent start from has.
    """
    o = state.options
    widths = {"weights": o.weights, "activations": o.activations, "sensitive": o.sensitive}
    ends = {"input_bits": o.input_bits, "output_bits": o.output_bits}
    plain = BfpOptions(**widths, **ends, weight_group=GROUP, activation_group=GROUP, weight_method="mse")
    return state.with_options(plain).with_widths({}).plan


def narrow_maps(plan: FormatPlan) -> set[str]:
    """Nodes whose output has the network's own width, and shares its format with no other node's but copies.

    Inputs and outputs have options of their own, which are obeyed.
    """
    graph, result = plan.graph, set()
    computed = {n.output: n for n in graph.computed() if n.output not in plan.source_of}
    fixed = {*graph.inputs, *graph.outputs}
    for members in of_one_format(graph, plan.source_of):
        nodes = [computed[t] for t in members if t in computed]
        if len(nodes) == 1 and not fixed & set(members) and plan.bits[nodes[0].output] == plan.options.activations:
            result.add(nodes[0].name)
    return result


def narrow_weights(plan: FormatPlan) -> set[str]:
    """Nodes whose weights have the network's own width, and none that ``sensitive`` asks for."""
    return {n.name for n in plan.graph.weighted() if plan.layers[n.name].weights == plan.options.weights}


def overridden_maps(state: CalibrationState) -> set[str]:
    """Nodes whose output's width an override says, by itself or by that of a copy, which must have the same."""
    graph, plan = state.network.graph, state.plan
    named = {n.output for o in state.options.overrides if o.activations for n in matched(graph, o, {"activations"})}
    groups = (members for members in of_one_format(graph, plan.source_of) if named & set(members))
    return {graph.producer(t).name for members in groups for t in members if t not in graph.inputs}


def overridden_weights(state: CalibrationState) -> set[str]:
    """Nodes whose weights' width an override says."""
    graph = state.network.graph
    return {n.name for o in state.options.overrides if o.weights for n in matched(graph, o, {"weights"})}


def _weights_are_given(options: BfpOptions) -> bool:
    """Whether the widths of weights are not for this pass to choose: wide ones, and those that a budget decides."""
    return bool(options.weight_budget) or options.weights > NARROW or options.weights >= options.sensitive


def outlying(noises: dict[str, float], bits: int, spoken_for: set[str]) -> dict[str, int]:
    """One bit more than ``bits``, by node name, for those whose noise is OUTLYING, but for those spoken for."""
    limit = OUTLYING * sum(noises.values()) / max(len(noises), 1)
    return {layer: bits + 1 for layer, noise in noises.items() if noise > limit and layer not in spoken_for}
