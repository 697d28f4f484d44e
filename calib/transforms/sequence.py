"""What is done before exponents are chosen: channels scaled and sorted, widths handed out.

The float network's function stays the same. Each step looks at a few of the
calibration images, always the same ones, so that the same images give the
same artifact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from calib.network import float_model
from calib.formats import bit_allocation as mixed_widths
from calib.transforms.range_centring import Middles, centre, centred
from calib.transforms.channel_permutation import sort_channels
from calib.observers.channel_ranges import ChannelRanges
from calib.config import NetworkConfig
from calib.transforms.cross_layer_equalisation import SIX, equalise_weights, fill_ranges, scalable
from calib.network.float_network import FloatNetwork
from calib.formats.activations import FormatPlan
from calib.data.images import ImageSet
from calib.transforms.input_scaling import fill_input
from calib.transforms.output_scaling import fill_output
from calib.progress import Progress
from calib.formats.solver import plan
from calib.observers.statistics import Statistics
from calib.transforms.tied_equalisation import fill_streams, noise_gains, tensors_of

BATCH_VALUES = 1 << 23  # of the largest tensor, in one batch
MAX_BATCH = 32
SORT_IMAGES = 16
RANGE_IMAGES = 64
OUTPUT_IMAGES = 64
SENSITIVITY_IMAGES = 8
MOST_VARIANTS = 4  # of one calibration image, where they are few


def batch_size(network: FloatNetwork) -> int:
    """Images at a time, so that the largest tensor of a batch stays within BATCH_VALUES."""
    largest = max(int(np.prod(s)) for s in network.graph.shapes.values())
    return int(np.clip(BATCH_VALUES // largest, 1, MAX_BATCH))


def adapt(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> tuple[FloatNetwork, NetworkConfig]:
    """The network with its channels scaled and sorted, and the file with the widths of its layers.

    Whatever the file's options do not ask for is left out. Raises BfpError for
    a budget that no widths meet.
    """
    if config.bfp.equalise == "weights":
        network = equalise_weights(network)
    if config.bfp.centre and (tensors := centred(network.graph)):
        middles = Middles(tensors)
        show(network, images, RANGE_IMAGES, middles.observe, f"{config.name}: middles of ranges")
        network = centre(network, middles.of)
    if config.bfp.sort_channels:
        statistics = Statistics(network.graph, {})
        show(network, images, SORT_IMAGES, statistics.observe, f"{config.name}: order of channels")
        network = sort_channels(network, statistics.maximum)
    if config.bfp.equalise == "ranges":
        network, config = fill_input(network, config)
        network = filled_ranges(network, config, images)
        network = filled_streams(network, config, images)
    network = filled_output(network, config, images)
    if config.bfp.weight_budget or config.bfp.activation_budget:
        config = with_widths(network, config, images)
    return network, config


def spread(images: ImageSet, count: int) -> ImageSet:
    """At most ``count`` of the images, evenly spread: sets are often ordered by class."""
    variants = min(images.augment, count)
    items = count // variants
    return replace(images, items=images.items[:: max(len(images.items) // items, 1)][:items], augment=variants)


def show(network: FloatNetwork, images: ImageSet, count: int, observe: Callable, what: str) -> None:
    """Let ``observe`` see every tensor of the float network for at most ``count`` of the images."""
    images = spread(images, count)
    with Progress(what, len(images)) as progress:
        for batch in images.batches(batch_size(network)):
            float_model.run(network, torch.from_numpy(batch), keep=(), observe=observe)
            progress.step(len(batch))


def filled_ranges(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> FloatNetwork:
    """The same function with channels scaled to their mantissas' range."""
    tensors = {node.output for node, _ in scalable(network.graph)}
    if not tensors:
        return network
    ends = ends_of(network, config, images, tensors, gains_of(network, config, images), "ranges of channels")
    return fill_ranges(network, ends, format_plan(network, config))


def filled_streams(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> FloatNetwork:
    """The same function with the channels that sums tie together scaled to their mantissas' range."""
    fixed = format_plan(network, config)
    tensors = set(tensors_of(network.graph, fixed))
    if not tensors:
        return network
    gains = gains_of(network, config, images)
    ends = ends_of(network, config, images, tensors, gains, "ranges of channels in sums")
    return fill_streams(network, ends, fixed, gains)


def gains_of(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> dict[str, np.ndarray]:
    """``noise_gains`` from a few of the images."""
    return noise_gains(network, a_batch(network, images), config.seed)


def a_batch(network: FloatNetwork, images: ImageSet) -> torch.Tensor:
    """A few of the images, normalised, [at most SENSITIVITY_IMAGES, C, H, W]."""
    few = spread(images, min(SENSITIVITY_IMAGES, batch_size(network)))
    return torch.from_numpy(next(few.batches(SENSITIVITY_IMAGES)))


def with_variants(images: ImageSet, limit: int) -> ImageSet:
    """The same, each image in as many seeded variants (up to MOST_VARIANTS) as ``limit`` has room for."""
    return replace(images, augment=max(images.augment, min(limit // len(images.items), MOST_VARIANTS)))


def ends_of(
    network: FloatNetwork,
    config: NetworkConfig,
    images: ImageSet,
    tensors: set[str],
    gains: dict[str, np.ndarray],
    what: str,
) -> dict[str, np.ndarray]:
    """Where the channels of some tensors shall end, float64 [C] by tensor; gains: of ``noise_gains``."""
    fixed, producer = format_plan(network, config), {n.output: n for n in network.graph.nodes}
    images = with_variants(images, RANGE_IMAGES)
    ranges = ChannelRanges(network.graph, tensors, images.augment)
    show(network, images, RANGE_IMAGES, ranges.observe, f"{config.name}: {what}")
    ends = {}
    for t in sorted(tensors):
        node = producer[t]
        if fixed.layers[node.name].method == "max":
            ends[t] = ranges.whole(t, fixed.splits[t])
            continue
        w = network.weights.get(node.name)
        limit = np.inf if node.activation != "relu6" else SIX if w is None or w.limit is None else w.limit
        ends[t] = ranges.ends(t, fixed.splits[t], fixed.bits[t], fixed.signed[t], gains[t], limit)
    return ends


def filled_output(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> FloatNetwork:
    """The same function with a classifier's output scaled to its logits' range."""
    fixed, output = format_plan(network, config), network.graph.output
    if not fixed.has_window():
        return network
    found = []
    show(
        *(network, images, OUTPUT_IMAGES),
        lambda tensor, x: found.append(x.flatten(1).numpy()) if tensor == output else None,
        f"{config.name}: range of logits",
    )
    return fill_output(network, np.concatenate(found), fixed.bits[output])


def with_widths(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> NetworkConfig:
    """The file with one override per layer whose widths come from the budgets; the file's own overrides win."""
    options, fixed = config.bfp, format_plan(network, config)
    batch = a_batch(network, images)
    weights, activations = {}, {}
    with Progress(f"{config.name}: sensitivity of layers on {len(batch)} images"):
        if options.weight_budget:
            noises = mixed_widths.weight_noises(network, fixed, options, batch)
            weights = mixed_widths.allocate(noises, options.weight_budget, f"network {config.name}, weight_budget")
        if options.activation_budget:
            statistics = Statistics(network.graph, fixed.splits, fixed.needs_histogram(), fixed.needs_signed_histogram())
            float_model.run(network, batch, keep=(), observe=statistics.observe)
            noises = mixed_widths.activation_noises(network, fixed, options, statistics, batch)
            activations = mixed_widths.allocate(
                *(noises, options.activation_budget, f"network {config.name}, activation_budget")
            )
    chosen = mixed_widths.overrides(weights, activations)
    return replace(config, bfp=replace(options, overrides=(*chosen, *options.overrides)))


def format_plan(network: FloatNetwork, config: NetworkConfig) -> FormatPlan:
    """What the file's options fix of every tensor's format. Raises BfpError for an override that matches nothing."""
    # any rule of histograms stands for auto here: widths, signs and blocks do not depend on it
    return plan(network.graph, config.bfp, config.input, network.reach)
