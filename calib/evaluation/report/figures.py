"""The figures of every layer, as layers.json holds them and the page shows them."""

from __future__ import annotations

import math

import numpy as np

from bfp.artifact import Artifact
from bfp.format import exponent_for_maximum, mantissa_range
from bfp.graph import Node
from calib.network.fake_quant import weight_scales
from calib.network.float_network import FloatNetwork
from calib.evaluation.report.candidates import bars, judge
from calib.evaluation.report.causes import inherited_cause, own_cause
from calib.evaluation.report.measure import Totals

WORST = 10
NEAREST = 0.51  # of a mantissa: as far as the nearest one can be from the weight, and a little for float32


def decibels(signal: float, noise: float) -> float | None:
    """Signal to noise ratio in dB; None where one of them is zero."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def remark(signal: float, noise: float) -> str:
    """Why a ratio is None: "exact" (no noise), "no signal" (all zero, yet with noise); empty where it is a number."""
    return "exact" if noise == 0 else "no signal" if signal == 0 else ""


def extremes(values: np.ndarray) -> list[int] | None:
    """[smallest, largest], or None where there is nothing."""
    return [int(values.min()), int(values.max())] if values.size else None


def layer_figures(artifact: Artifact, network: FloatNetwork, totals: dict[str, Totals]) -> list[dict]:
    """One dict per layer in the graph's order, the network's inputs first.

    Ratios in dB; rates and shares 0..1; exponents are those of the least
    significant bit; shifts in bits, as [smallest, largest]. The
    functions below say what the fields mean.
    """
    graph = artifact.graph
    result = []
    several = len(graph.inputs) > 1
    for node, tensor in [*((None, t) for t in graph.inputs), *((n, n.output) for n in graph.nodes)]:
        t, fmt = totals[tensor], artifact.formats[tensor]
        weighted = node is not None and node.weighted
        raised = artifact.provenance.get("adjustments", {}).get("activations", {})
        figures = {
            "name": node.name if node else f"input {tensor}" if several else "input",
            "op": "input" if node is None else node.op,
            "tensor": tensor,
            "shape": list(graph.shapes[tensor]),
            "source": [] if node is None else list(node.source),
            "activation": "none" if node is None else node.activation,
            "inputs": [] if node is None else list(node.inputs),
            "shortcut": None if node is None else node.shortcut,
            "bits": fmt.bits,
            "signed": fmt.signed,
            "blocks": len(fmt.exponents),
            "exponents": list(fmt.exponents),
            "limit": fmt.high,
            **errors(t),
            **ranges(t),
            "coarsened_bits": raised.get(tensor, {}).get("bits", 0),
            "coarsened_share": coarsened_share(t) if tensor in raised else 0.0,
            "weights": weight_figures(artifact, network, node, t, totals[node.main]) if weighted else None,
            "shifts": None if node is None or not node.operator.computes else shifts(artifact, node),
            "candidates": judge(t.histogram, t.maximum, fmt, t.values),
            "histogram": histogram(t),
        }
        result.append(figures)
    by_tensor = {f["tensor"]: f for f in result}
    for figures in result:
        figures["cause"] = own_cause(figures)
        figures["inherited"] = inherited_cause(figures, [by_tensor[t] for t in figures["inputs"]])
    return result


def errors(t: Totals) -> dict:
    """Error figures; the parts of the own error are shares of its power and add up to 1.

    offset_share: what of that power is a constant error of each channel.
    """
    weights = max(t.noise - t.saturation - t.rounding, 0.0)
    whole = weights + t.saturation + t.rounding
    offset = float((t.channel_error**2).sum()) * len(t.channel_error) / t.values
    parts = {"saturation": t.saturation, "rounding": t.rounding, "weights": weights}
    return {
        "own_sqnr_db": decibels(t.signal, t.noise),
        "own_remark": remark(t.signal, t.noise),
        "accumulated_sqnr_db": decibels(t.reference, t.difference),
        "accumulated_remark": remark(t.reference, t.difference),
        "own_parts": {k: v / whole for k, v in parts.items()} if whole > 0 and t.noise > 0 else None,
        "own_share_of_accumulated": min(t.noise / t.difference, 1.0) if t.difference > 0 else None,
        "noisiest_channel": int(np.argmax(t.channel_noise)),
        "noisiest_share": float(t.channel_noise.max() / t.noise) if t.noise > 0 else 0.0,
        "offset_share": offset / t.noise if t.noise > 0 else 0.0,
        "saturation_rate": t.saturated / t.values,
        "vanished_rate": t.vanished / t.values,
    }


def ranges(t: Totals) -> dict:
    """How much of the mantissa range the values reach, over all channels and channel by channel."""
    used = t.top / t.fmt.high
    order = np.sort(used)
    # power in squares of each channel's own least significant bit
    levels = t.channel_power * np.exp2(2.0 * (max(t.fmt.exponents) - t.fmt.channel_exponents()))
    return {
        "range_used": float(order[-1]),
        "range_used_median_channel": float(np.median(used)),
        "range_used_second_channel": float(order[-2]) if len(order) > 1 else None,
        "widest_channel": int(np.argmax(used)),
        "dead_channels": int(np.count_nonzero(t.top == 0)),
        "channels": len(used),
        "rms_used": math.sqrt(levels.sum() / t.values) / t.fmt.high,
    }


def coarsened_share(t: Totals) -> float:
    """Part of the layer's own error in the blocks whose exponents lie above what their values need."""
    needed = exponent_for_maximum(np.maximum.reduceat(t.maximum, t.fmt.splits[:-1]), t.fmt.bits, t.fmt.signed)
    raised = np.repeat(np.asarray(t.fmt.exponents) > needed, np.diff(t.fmt.splits))
    return float(t.channel_noise[raised].sum() / t.noise) if t.noise > 0 else 0.0


def weight_figures(artifact: Artifact, network: FloatNetwork, node: Node, t: Totals, source: Totals) -> dict:
    """Width, exponents and error of a layer's weights.

    coarsened: blocks whose exponents lie above what their largest weight
    needs, because of the limits of shifts and accumulators; coarsened_share:
    the part of the layer's own error in the filters that have such blocks.
    weighted_sqnr_db: with each weight's square counted by the power of its
    input channel, as the output would see it were all products independent;
    noisiest: the same of the filter with most of the layer's own error.
    moved: share of the mantissas that are not the nearest to the float weight;
    biases_moved: how many biases are not.
    """
    p = artifact.parameters[node.name]
    w, floats = p.weights, network.weights[node.name]
    exact = floats.weight.astype(np.float64)
    scale = weight_scales(w)
    error = w.mantissas * scale - exact
    power = node.operator.weights.along_inputs(source.channel_power)[:, :, 0, 0]
    noise, signal = (((e**2).sum(axis=(2, 3)) * power).sum(axis=1) for e in (error, exact))
    low, high = mantissa_range(w.bits, True)
    away = np.abs(w.mantissas - np.clip(exact / scale, low, high)) > NEAREST
    left_out = artifact.offset(node.output)
    bias_away = np.abs(p.bias - (floats.bias - left_out) * np.exp2(-p.acc_exponent.astype(np.float64)))
    noisiest = int(np.argmax(t.channel_noise))
    largest = np.maximum.reduceat(np.abs(exact).max(axis=(2, 3)), w.splits[:-1], axis=1)
    coarsened = np.where(largest > 0, w.exponents - exponent_for_maximum(largest, w.bits), 0)
    filters = (coarsened > 0).any(axis=1)
    return {
        "bits": w.bits,
        "blocks": int(w.exponents.size),
        "exponents": extremes(w.exponents),
        "sqnr_db": decibels((exact**2).sum(), (error**2).sum()),
        "remark": remark((exact**2).sum(), (error**2).sum()),
        "weighted_sqnr_db": decibels(signal.sum(), noise.sum()),
        "noisiest_sqnr_db": decibels(signal[noisiest], noise[noisiest]),
        "moved": float(np.mean(away)),
        "biases_moved": int(np.count_nonzero(bias_away > NEAREST)),
        "zero_filters": int(np.count_nonzero(~w.mantissas.any(axis=(1, 2, 3)))),
        "filters": len(w.mantissas),
        "coarsened_blocks": int(np.count_nonzero(coarsened > 0)),
        "coarsened_bits": int(max(coarsened.max(), 0)),
        "coarsened_share": float(t.channel_noise[filters].sum() / t.noise) if t.noise > 0 else 0.0,
    }


def shifts(artifact: Artifact, node: Node) -> dict:
    """Ranges of the layer's static shifts, in bits; None where it has no such shift."""
    p = artifact.parameters[node.name]
    return {
        "rounding": extremes(p.requantisation_shift),
        "alignment": extremes(p.align_shift),
        "operand": extremes(p.main_alignment),
        "shortcut": None if p.shortcut_alignment is None else extremes(p.shortcut_alignment),
    }


def histogram(t: Totals) -> dict:
    """Counts of non-zero |x| per bar; ``bar`` is their width in least significant bits of the value's block."""
    width, counts = bars(t.histogram, t.maximum, t.fmt)
    return {"bar": width, "counts": [int(c) for c in counts], "zeros": int(t.values - t.histogram.counts.sum())}


def worst_layers(layers: list[dict]) -> list[str]:
    """Names of the layers with the lowest own signal-to-noise ratio, worst first; exact layers never count."""
    lossy = [f for f in layers if f["own_sqnr_db"] is not None]
    return [f["name"] for f in sorted(lossy, key=lambda f: f["own_sqnr_db"])[:WORST]]
