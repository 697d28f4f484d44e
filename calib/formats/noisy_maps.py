"""Maps that make much more noise than the others at the network's output, which get one bit more.

With narrow activations a few maps can make most of all noise: of EfficientNet-Lite0 and Lite1 at 4 bits the three of
the first two blocks two thirds of it. One bit more takes three quarters of a map's noise away (uniform rounding noise),
and costs little time where few maps have it, and some logic, once.
"""

from __future__ import annotations

from calib.data.images import ImageSet
from calib.formats.bit_allocation import WIDTHS, activation_noises
from calib.formats.layer_options import LayerWidths, ends_are_sensitive, matched
from calib.formats.plan import FormatPlan, of_one_format
from calib.network import float_model
from calib.observers.observer import few
from calib.options import BfpOptions
from calib.progress import Progress
from calib.state import CalibrationState

OUTLYING = 2.5  # times the mean noise of all maps of the network's width; the three of EfficientNet are the same from 2.1 to 3.0
GROUP = 16  # channels that share an exponent while noise is measured


def applies(options: BfpOptions) -> bool:
    """Whether maps are looked for: where ``sensitive`` asks for it at narrow activations, and no budget gives widths to all."""
    return ends_are_sensitive(options) and not options.activation_budget


def widen_noisy_maps(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: one bit more for maps whose noise at the output is OUTLYING; the file's overrides win.

    Noise is measured with plain exponents, of largest values, whatever the options say but for widths: methods are then
    compared at the same widths, and a file that gives what was chosen as overrides asks for the same.
    """
    network, base = state.network, measured_plan(state)
    batch = few(network, images)
    with Progress(f"{state.name}: sensitivity of maps on {len(batch)} images") as progress:
        statistics = base.new_statistics()
        float_model.run(network, batch, keep=(), observe=statistics.observe)
        found = activation_noises(network, base, statistics, batch, narrow_maps(base))
        place = WIDTHS.index(base.options.activations)
        noises = {n.layer: n.by_width[place] for n in found}
        limit = OUTLYING * sum(noises.values()) / max(len(noises), 1)
        spoken_for = overridden(state)
        wider = [layer for layer, noise in noises.items() if noise > limit and layer not in spoken_for]
        if wider:
            progress.text(f"{base.options.activations + 1} bits for what {', '.join(wider)} give")
    return state.with_widths(dict.fromkeys(wider, LayerWidths(activations=base.options.activations + 1)))


def measured_plan(state: CalibrationState) -> FormatPlan:
    """The formats that noise is measured with: of the file's options, the widths alone."""
    o = state.options
    widths = {"weights": o.weights, "activations": o.activations, "sensitive": o.sensitive}
    ends = {"input_bits": o.input_bits, "output_bits": o.output_bits}
    return state.with_options(BfpOptions(**widths, **ends, activation_group=GROUP)).with_widths({}).plan


def overridden(state: CalibrationState) -> set[str]:
    """Nodes whose output's width an override says, by itself or by that of a copy, which must have the same."""
    graph, plan = state.network.graph, state.plan
    named = {n.output for o in state.options.overrides if o.activations for n in matched(graph, o, {"activations"})}
    groups = (members for members in of_one_format(graph, plan.source_of) if named & set(members))
    return {graph.producer(t).name for members in groups for t in members if t not in graph.inputs}


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
