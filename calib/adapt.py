"""What is done before exponents are chosen: channels scaled and sorted, widths handed out.

The float network's function stays the same. Each step looks at a few of the
calibration images, always the first ones, so that the same images give the
same artifact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from calib import float_model, mixed_widths
from calib.channel_order import sort_channels
from calib.config import NetworkConfig
from calib.equalise import equalise_weights, fill_ranges, scalable
from calib.float_network import FloatNetwork
from calib.formats import FormatPlan
from calib.images import ImageSet
from calib.input_range import fill_input
from calib.layer_options import resolve_options
from calib.progress import Progress
from calib.statistics import Statistics
from calib.streams import fill_streams, noise_gains, tensors_of

BATCH_VALUES = 1 << 23  # of the largest tensor, in one batch
MAX_BATCH = 32
SORT_IMAGES = 16
RANGE_IMAGES = 32
SENSITIVITY_IMAGES = 8


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
    if config.bfp.sort_channels:
        statistics = Statistics(network.graph, {})
        show(network, images, SORT_IMAGES, statistics.observe, f"{config.name}: order of channels")
        network = sort_channels(network, statistics.maximum)
    if config.bfp.equalise == "ranges":
        network, config = fill_input(network, config)
        network = filled_ranges(network, config, images)
        network = filled_streams(network, config, images)
    if config.bfp.weight_budget or config.bfp.activation_budget:
        config = with_widths(network, config, images)
    return network, config


def show(network: FloatNetwork, images: ImageSet, count: int, observe: Callable, what: str) -> None:
    """Let ``observe`` see every tensor of the float network for the first ``count`` images."""
    count, seen = min(count, len(images)), 0
    with Progress(what, count) as progress:
        for batch in images.batches(min(batch_size(network), count)):
            batch = batch[: count - seen]
            float_model.run(network, torch.from_numpy(batch), keep=(), observe=observe)
            seen += len(batch)
            progress.step(len(batch))
            if seen == count:
                return


def filled_ranges(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> FloatNetwork:
    """The same function with channels scaled to their mantissas' range."""
    fixed = format_plan(network, config)
    tensors = {node.output for node, _ in scalable(network.graph)}
    channels = {t: tuple(range(network.graph.shapes[t][0] + 1)) for t in tensors}
    statistics = Statistics(network.graph, channels, tensors)
    show(network, images, RANGE_IMAGES, statistics.observe, f"{config.name}: ranges of channels")
    return fill_ranges(network, statistics, fixed, clip=config.bfp.method != "max")


def filled_streams(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> FloatNetwork:
    """The same function with the channels that sums tie together scaled to their mantissas' range."""
    fixed = format_plan(network, config)
    tensors = set(tensors_of(network.graph, fixed))
    if not tensors:
        return network
    channels = {t: tuple(range(network.graph.shapes[t][0] + 1)) for t in tensors}
    statistics = Statistics(network.graph, channels, tensors)
    show(network, images, RANGE_IMAGES, statistics.observe, f"{config.name}: ranges of channels in sums")
    few = min(SENSITIVITY_IMAGES, batch_size(network), len(images))
    gains = noise_gains(network, torch.from_numpy(next(images.batches(few))), config.seed)
    return fill_streams(network, statistics, fixed, config.bfp.method != "max", gains)


def with_widths(network: FloatNetwork, config: NetworkConfig, images: ImageSet) -> NetworkConfig:
    """The file with one override per layer whose widths come from the budgets; the file's own overrides win."""
    options, fixed = config.bfp, format_plan(network, config)
    few = min(SENSITIVITY_IMAGES, batch_size(network), len(images))
    batch = torch.from_numpy(next(images.batches(few)))
    weights, activations = {}, {}
    with Progress(f"{config.name}: sensitivity of layers on {few} images"):
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
    options = config.bfp
    # any rule of histograms stands for auto here: widths, signs and blocks do not depend on it
    return FormatPlan(network.graph, options, resolve_options(network.graph, options), config.input)
