"""Ranges of channels that several tensors share: residual sums, slices, concatenations, and the pools behind them.

Channels that meet in a sum must be scaled alike. So every set of channels tied
in that way (a class) gets one scale, by which the filters that produce it are
divided and the weights that read it multiplied; the network's function stays
the same. No channel of a class reaches beyond its block in any tensor. The
blocks' exponents that scales aim at are those that leave the least noise at
the network's output, to which every channel's rounding contributes by the
square of the output's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from bfp.format import mantissa_range
from bfp.graph import Graph
from calib.transforms.cross_layer_equalisation import SIX, scalable
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.formats.activations import FormatPlan

SWEEPS = 8  # over all blocks; most networks settle within three
ROUNDING = 2.0**-20  # of scales: no end may seem to lie beyond the power of two that it was brought to
GAIN = 1e-9  # of the noise, below which a change is none


def classes(graph: Graph) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Class of every channel of every tensor, int64 [C] by tensor, and which may be scaled, bool [classes].

    Not scaled: the network's input and output, and what a ReLU6 limits that no weights belong to.
    """
    first, count = {}, 0
    for tensor, shape in graph.shapes.items():
        first[tensor] = np.arange(count, count + shape[0])
        count += shape[0]
    parent = np.arange(count)

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def tie(one: np.ndarray, other: np.ndarray) -> None:
        for a, b in zip(one, other):
            parent[find(a)] = find(b)

    fixed = [first[graph.input], first[graph.output]]
    for node in graph.nodes:
        out, has_weights = first[node.output], node.op in ("conv", "depthwise")
        if node.op == "concat":
            tie(out, np.concatenate([first[t] for t in node.inputs]))
        elif node.op == "slice_pad":
            source = np.arange(len(out)) - node.channel_offset
            inside = (source >= 0) & (source < len(first[node.main]))
            tie(out[inside], first[node.main][source[inside]])
        elif not has_weights:
            tie(out, first[node.main])
        if node.shortcut:
            tie(out, first[node.shortcut])
        if node.activation == "relu6" and not has_weights:
            fixed.append(out)
    roots = np.array([find(i) for i in range(count)])
    _, index = np.unique(roots, return_inverse=True)
    free = np.ones(index.max() + 1, bool)
    free[index[np.concatenate(fixed)]] = False
    return {t: index[i] for t, i in first.items()}, free


def tensors_of(graph: Graph, plan: FormatPlan) -> list[str]:
    """Tensors that are rounded, of channels that may be scaled, and not of a chain of their own (``scalable``)."""
    of, free = classes(graph)
    alone = {c for node, _ in scalable(graph) for c in of[node.output]}
    rounded = [n.output for n in graph.nodes if n.op != "concat" and n.output not in plan.source_of]
    return [t for t in rounded if any(free[c] and c not in alone for c in of[t])]


@dataclass(frozen=True)
class _Channels:
    """One entry for each channel of each tensor, of one group of tensors, all [entries].

    classes, blocks: indices. reach: furthest value over the largest mantissa.
    gain: noise at the network's output for noise of power one in the channel.
    """

    classes: np.ndarray
    blocks: np.ndarray
    reach: np.ndarray
    gain: np.ndarray

    def of(self, chosen: np.ndarray) -> "_Channels":
        return _Channels(*(v[chosen] for v in (self.classes, self.blocks, self.reach, self.gain)))

    def scales(self, exponents: np.ndarray) -> np.ndarray:
        """Scale of every class at which none of its channels reaches beyond its block; 0 where there is no channel."""
        result = np.zeros(self.classes.max() + 1)
        np.maximum.at(result, self.classes, self.reach * np.exp2(-exponents[self.blocks]))
        return result

    def noise(self, exponents: np.ndarray) -> float:
        step = self.scales(exponents)[self.classes] * np.exp2(exponents[self.blocks])
        return float((self.gain * step**2).sum())


def noise_gains(network: FloatNetwork, images: torch.Tensor, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise power at the network's output for noise of power one in each channel, float64 [C] by tensor.

    From the gradients of a seeded random projection of the outputs: to first
    order, and summed over the channel's pixels. images: normalised [N, C, H, W].
    """
    graph = network.graph
    signs = np.random.default_rng(seed).integers(0, 2, (len(images), *graph.shapes[graph.output])) * 2 - 1
    gains = {}

    def watched(tensor: str, x: torch.Tensor) -> torch.Tensor:
        def observe(gradient: torch.Tensor) -> None:
            gains[tensor] = gradient.double().square().sum((0, 2, 3)).numpy() / len(images)

        x.register_hook(observe)  # no gradient is kept
        return x

    with torch.enable_grad():
        values = {graph.input: watched(graph.input, network.entry(images).clone().requires_grad_(True))}
        for node in graph.nodes:
            out = float_model.compute(node, network, [values[t] for t in node.inputs])
            values[node.output] = watched(node.output, out)
        (values[graph.output] * torch.from_numpy(signs).float()).sum().backward()
    return gains


def fill_streams(
    network: FloatNetwork, ends: dict[str, np.ndarray], plan: FormatPlan, gains: dict[str, np.ndarray]
) -> FloatNetwork:
    """The same function, up to float rounding, with the channels of ``tensors_of`` scaled to their mantissas' range.

    gains: of ``noise_gains``; the other arguments as of ``calib.transforms.cross_layer_equalisation.fill_ranges``.
    """
    graph = network.graph
    of, free = classes(graph)
    scale = np.ones(len(free))
    for group in _connected(tensors_of(graph, plan), of, free):
        parts, exponents = [], []
        for tensor in group:
            end, splits = ends[tensor], np.asarray(plan.splits[tensor])
            top = mantissa_range(plan.bits[tensor], plan.signed[tensor])[1]
            sizes = np.diff(splits)
            largest = np.maximum.reduceat(end, splits[:-1])
            reach = end / top
            use = free[of[tensor]] & (reach > 0)
            block = np.repeat(np.arange(len(sizes)), sizes) + len(exponents)
            parts.append((of[tensor][use], block[use], reach[use], gains[tensor][use]))
            exponents += np.round(np.log2(np.where(largest > 0, largest, top) / top)).tolist()
        channels = _Channels(*(np.concatenate(p) for p in zip(*parts)))
        if len(channels.classes):
            known, index = np.unique(channels.classes, return_inverse=True)
            scale[known] = _settled(replace(channels, classes=index), np.array(exponents))
    scaled = _scaled(network, of, scale)
    reach = {t: ends[t] / scale[of[t]] * (1 - ROUNDING) for t in tensors_of(graph, plan)}
    return replace(scaled, reach={**network.reach, **reach})


def _connected(tensors: list[str], of: dict[str, np.ndarray], free: np.ndarray) -> list[list[str]]:
    """The tensors in groups that have no class in common."""
    groups: list[tuple[list[str], set[int]]] = []
    for tensor in tensors:
        members, held = [tensor], set(of[tensor][free[of[tensor]]].tolist())
        for group in [g for g in groups if g[1] & held]:
            groups.remove(group)
            members, held = group[0] + members, held | group[1]
        groups.append((members, held))
    return [members for members, _ in groups]


def _settled(channels: _Channels, exponents: np.ndarray) -> np.ndarray:
    """Scales of the classes once no block's exponent, one up or down, would lessen the noise."""
    members = []  # of each block: the channels of all classes that meet in it, wherever they are
    for b in range(len(exponents)):
        own = np.isin(channels.classes, channels.classes[channels.blocks == b])
        part = channels.of(own)
        members.append(replace(part, classes=np.unique(part.classes, return_inverse=True)[1]))
    for _ in range(SWEEPS):
        settled = True
        for b, part in enumerate(members):
            least = part.noise(exponents) if len(part.classes) else 0.0
            for step in (1, -1) if least else ():
                tried = exponents.copy()
                tried[b] += step
                noise = part.noise(tried)
                if noise < least * (1 - GAIN):
                    least, exponents, settled = noise, tried, False
        if settled:
            break
    return channels.scales(exponents)


def _scaled(network: FloatNetwork, of: dict[str, np.ndarray], scale: np.ndarray) -> FloatNetwork:
    """Every class divided by its scale."""
    weights = dict(network.weights)
    for node in network.graph.nodes:
        if node.op not in ("conv", "depthwise"):
            continue
        w = weights[node.name]
        out, source = (scale[of[t]].astype(np.float32) for t in (node.output, node.main))
        source = source[:, None, None, None] if node.op == "depthwise" else source[None, :, None, None]
        limit = w.limit
        if node.activation == "relu6" and not np.all(out == 1):
            limit = ((SIX if limit is None else limit) / out).astype(np.float32)
        weight = w.weight * source / out[:, None, None, None]
        weights[node.name] = replace(w, weight=weight, bias=w.bias / out, limit=limit)
    return replace(network, weights=weights)
