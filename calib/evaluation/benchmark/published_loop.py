"""The published method, block after block, as its code goes about it: the reference that `doit benchmark` times.

Source: lib/Utils.py of os-hxfan/Static_BFP_CNN, ``find_exp_KL_weight`` and
``find_exp_KL_act``, written anew. For every block: a histogram of its values,
one of its quantised values for each candidate exponent, both smoothed, and
the candidate of least Kullback-Leibler divergence. Weights: each filter and
group of channels, E and E - 1 (E - 2, too, for depthwise); the fully connected
layer keeps E. Activations: each whole feature map of all images, E to E - 2.

In one respect the published code does less: in its last version blocks with
E < 2, which are nearly all blocks of weights, keep E without a search. What is
timed here is the search.
"""

from __future__ import annotations

import math

import torch

ACTIVATION_INTERVALS, WEIGHT_INTERVALS = 128, 8
ACTIVATION_CANDIDATES, WEIGHT_CANDIDATES, DEPTHWISE_CANDIDATES = 3, 2, 3
ACTIVATION_EPSILON, WEIGHT_EPSILON = 1e-4, 1e-9


def block_exponents(values: torch.Tensor) -> torch.Tensor:
    """E = floor(log2 max|x|) of each block, [filters, blocks] from [filters, blocks, values]."""
    return torch.floor(torch.clamp(torch.log2(values.abs()), -128, 127)).amax(2)


def quantise(values: torch.Tensor, exponents: torch.Tensor, bits: int) -> torch.Tensor:
    """Rounded to multiples of 2**(E - bits + 2) and clipped at the published limit, same shape as values."""
    scale = torch.exp2(bits - exponents - 2)[:, :, None]
    limit = (2 - 2.0 ** (3 - bits)) * torch.exp2(exponents)[:, :, None]
    return torch.clamp(torch.round(values * scale) / scale, -limit, limit)


def smoothed(histogram: torch.Tensor, epsilon: float) -> torch.Tensor:
    """A normalised histogram without empty bins."""
    empty = (histogram == 0).float()
    share = epsilon * empty.sum().item() / max((1 - empty).sum().item(), 1)
    histogram = histogram + epsilon * empty - share * (1 - empty)
    return histogram / histogram.sum()


def search(values: torch.Tensor, bits: int, candidates: int, intervals: int, epsilon: float) -> torch.Tensor:
    """Exponents E of least divergence, [filters, blocks], of values [filters, blocks, values]."""
    highest = block_exponents(values)
    best = highest.clone()
    filters, blocks = highest.shape
    targets = {}
    for f in range(filters):
        for b in range(blocks):
            block = values[f, b]
            largest, smallest = block.max().item(), block.min().item()
            if largest == smallest:
                continue  # the published code divides by zero here
            low, high = math.floor(smallest), math.ceil(largest)
            bins = 1 + int((high - low) / ((largest - smallest) / intervals))
            targets[f, b] = (smoothed(torch.histc(block, bins, low, high), epsilon), bins, low, high)
    least = dict.fromkeys(targets, math.inf)
    for step in range(candidates):
        quantised = quantise(values, highest - step, bits)
        for (f, b), (target, bins, low, high) in targets.items():
            block = quantised[f, b]
            if block.max().item() < low or block.min().item() > high:
                continue
            found = smoothed(torch.histc(block, bins, low, high), epsilon)
            divergence = (target * (target.log() - found.log())).mean().item()
            if divergence < least[f, b]:
                least[f, b] = divergence
                best[f, b] = highest[f, b] - step
    return best


def weight_exponents(weight: torch.Tensor, bits: int, group: int, dense: bool = False) -> list[torch.Tensor]:
    """Exponents of [F, C, kh, kw], [F, blocks] for the full groups of channels and, where there is one, the rest.

    dense: a fully connected layer, whose filters are one block each that keeps E.
    """
    filters, channels = weight.shape[:2]
    if dense:
        return [block_exponents(weight.reshape(filters, 1, -1))]
    group = min(group, channels)
    whole = channels // group * group
    candidates = DEPTHWISE_CANDIDATES if channels == 1 else WEIGHT_CANDIDATES
    parts = [weight[:, :whole].reshape(filters, whole // group, -1)]
    if whole < channels:
        parts.append(weight[:, whole:].reshape(filters, 1, -1))
    return [search(part, bits, candidates, WEIGHT_INTERVALS, WEIGHT_EPSILON) for part in parts]


def activation_exponent(values: torch.Tensor, bits: int) -> float:
    """Exponent E of a whole feature map over all images, [N, C, H, W]."""
    found = search(values.reshape(1, 1, -1), bits, ACTIVATION_CANDIDATES, ACTIVATION_INTERVALS, ACTIVATION_EPSILON)
    return float(found)
