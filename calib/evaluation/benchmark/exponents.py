"""Choosing all exponents of ResNet-50: against the float pass over its calibration images, and the published loop."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from calib import pipeline
from calib.network.float_network import FloatNetwork
from calib.evaluation.benchmark import published_loop
from calib.evaluation.benchmark.results import alternate, ratio
from calib.formats.activations import ActivationFormats
from calib.formats.plan import weight_splits
from calib.formats.solver import quantise_network
from calib.formats.weights import WeightBlocks
from calib.network import float_model
from calib.observers.channel_ranges import ChannelRanges
from calib.observers.observer import batch_size
from calib.observers.statistics import Statistics
from calib.pipeline import Prepared
from calib.progress import Progress
from calib.transforms.tied_channels import Change, tied_channels
from calib.transforms.tied_equalisation import shared_tensors

REPEATS = 3


def choose(prepared: Prepared, statistics: Statistics) -> dict[str, np.ndarray]:
    """Every exponent as the file's method asks, before limits: int64 by tensor [blocks] and by layer [F, blocks]."""
    network, plan = prepared.network, prepared.state.plan
    formats = ActivationFormats(plan, network, statistics).formats(plan.no_floors(), limited=False)
    found = {tensor: np.asarray(fmt.exponents) for tensor, fmt in formats.items()}
    segments = network.graph.segments()
    for node in network.graph.weighted():
        layer, weight = plan.layers[node.name], network.weights[node.name].weight
        splits = weight_splits(node, segments, layer.weight_group)
        blocks = WeightBlocks(weight, splits, layer.weights, node.operator, layer.weight_method)
        found[f"{node.name} weights"] = blocks.natural
    return found


def find_ends(prepared: Prepared, ranges: ChannelRanges) -> int:
    """Where every channel that may be scaled ends, each counted alike; how many there are."""
    plan = prepared.state.plan
    found = [
        ranges.ends(t, plan.splits[t], plan.bits[t], plan.signed[t], np.ones(len(maximum)), np.inf)
        for t, maximum in ranges.maximum.items()
    ]
    return sum(len(end) for end in found)


def published_weights(network: FloatNetwork, bits: int, progress: Progress) -> float:
    """Seconds of the published loop over all filters and groups of all layers."""
    start = time.perf_counter()
    for i, (name, floats) in enumerate(network.weights.items()):
        progress.text(f"published loop, weights of layer {i + 1} of {len(network.weights)}")
        dense = network.graph.node(name).output == network.graph.output
        published_loop.weight_exponents(torch.from_numpy(floats.weight), bits, 64, dense)
    return time.perf_counter() - start


def published_activations(network: FloatNetwork, images: np.ndarray, bits: int, progress: Progress) -> float:
    """Seconds of the published loop over all feature maps of all images, float32 [N, C, H, W]."""
    seconds = 0.0

    def observe(tensor: str, values: torch.Tensor) -> None:
        nonlocal seconds
        progress.text(f"published loop, tensor {tensor}")
        start = time.perf_counter()
        published_loop.activation_exponent(values, bits)
        seconds += time.perf_counter() - start

    float_model.run(network, torch.from_numpy(images), keep=(), observe=observe)
    return seconds


def measure(prepared: Prepared, repeats: int = REPEATS) -> dict:
    """Times of the float pass, of the pass with statistics, of choosing, and of the published loop, in one run.

    The loop is timed once, in full: all filters and groups of all layers, all
    feature maps of all images. Choosing is timed before, between and after its
    two halves.
    """
    network, plan, bits = prepared.network, prepared.state.plan, prepared.config.bfp.activations
    size = batch_size(network)
    images = pipeline.some_images(prepared, len(prepared.calibration))
    batches = [torch.from_numpy(images[i : i + size]) for i in range(0, len(images), size)]

    def forward(observe: Callable | None = None) -> None:
        for batch in batches:
            float_model.run(network, batch, keep=(), observe=observe)

    def with_statistics() -> Statistics:
        found = plan.new_statistics()
        forward(found.observe)
        return found

    statistics = with_statistics()
    tied = tied_channels(network.graph, Change.SCALE)
    tensors = {chain.tensors[0] for chain in tied.chains()} | set(shared_tensors(tied, plan))
    ranges = ChannelRanges(network.graph, tensors)
    forward(ranges.observe)
    mine, loop = {"choose": lambda: choose(prepared, statistics)}, {}
    with Progress(f"{network.graph.name}: exponents") as progress:
        progress.text("float passes")
        seconds = alternate(
            {
                "forward": forward,
                "statistics": with_statistics,
                **mine,
                "ends": lambda: find_ends(prepared, ranges),
                "artifact": lambda: quantise_network(network, statistics, plan),
            },
            repeats,
        )
        chosen = list(seconds["choose"])
        loop["weights"] = published_weights(network, bits, progress)
        chosen += alternate(mine, repeats)["choose"]
        loop["activations"] = published_activations(network, images, bits, progress)
        chosen += alternate(mine, repeats)["choose"]
    counts = {
        "images": len(images),
        "exponents": sum(v.size for v in choose(prepared, statistics).values()),
        "channels": find_ends(prepared, ranges),
    }
    return entry(network.graph.name, counts, seconds, float(np.median(chosen)), loop)


def entry(
    name: str, counts: dict[str, int], seconds: dict[str, list[float]], choosing: float, loop: dict[str, float]
) -> dict:
    """What the results file holds of one run.

    counts: images, exponents, channels whose ranges end somewhere. seconds: of each round, by what was timed; choosing:
    the median of all times of choosing; loop: seconds of the published loop's two halves.
    """
    figures = {what: float(np.median(values)) for what, values in seconds.items()}
    both, total = choosing + figures["ends"], loop["weights"] + loop["activations"]
    to_forward = ratio(seconds["choose"], seconds["forward"])
    ends = f"where the ranges of {counts['channels']} channels end, on two halves of the images"
    return {
        "network": name,
        "images": counts["images"],
        "exponents": counts["exponents"],
        "seconds": {**figures, "choose": choosing},
        "loop_seconds": loop,
        "choose_to_forward": to_forward,
        "loop_to_choose": total / choosing,
        "choose_and_ends_to_forward": both / figures["forward"],
        "loop_to_choose_and_ends": total / both,
        "loop_to_artifact": total / figures["artifact"],
        "table": [
            [f"float pass over {counts['images']} images", figures["forward"], "s"],
            ["the same with statistics", figures["statistics"], "s"],
            [f"choosing all {counts['exponents']} exponents", choosing, "s"],
            [ends, figures["ends"], "s"],
            ["choosing, limits, quantised weights and proof", figures["artifact"], "s"],
            ["published loop, weights", loop["weights"], "s"],
            ["published loop, feature maps", loop["activations"], "s"],
            ["choosing / float pass", to_forward, "(to be at most 1)"],
            ["choosing and ends of ranges / float pass", both / figures["forward"], "(to be at most 1)"],
            ["published loop / choosing", total / choosing, "(to be at least 50)"],
            ["published loop / choosing and ends of ranges", total / both, "(to be at least 50)"],
        ],
    }
