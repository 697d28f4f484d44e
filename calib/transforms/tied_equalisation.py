"""Equalisation of tied channels: those that several tensors share in residual sums, slices, concatenations, and pools.

Channels that meet in a sum must be scaled alike. So every set of channels tied
in that way (a class of calib.transforms.tied_channels) gets one scale, by which
the filters that produce it are divided and the weights that read it multiplied;
the network's function stays the same. No channel of a class reaches beyond its
block in any tensor. The blocks' exponents that scales aim at are those that
leave the least noise at the network's output, to which every channel's rounding
contributes by the square of the output's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bfp.format import mantissa_range
from calib.data.images import ImageSet
from calib.formats.plan import FormatPlan
from calib.network.float_network import FloatNetwork
from calib.observers.noise_gains import noise_gains
from calib.observers.observer import few
from calib.state import CalibrationState
from calib.transforms.range_ends import range_ends
from calib.transforms.rescaling import rescaled
from calib.transforms.tied_channels import Change, TiedChannels, tied_channels

SWEEPS = 8  # over all blocks; most networks settle within three
ROUNDING = 2.0**-20  # of scales: no end may seem to lie beyond the power of two that it was brought to
GAIN = 1e-9  # of the noise, below which a change is none


def equalise_tied_channels(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: every class of tied channels reaches the end of its mantissas, as far as its blocks allow."""
    network = state.network
    tied = tied_channels(network.graph, Change.SCALE)
    tensors = shared_tensors(tied, state.plan)
    if not tensors:
        return state
    gains = noise_gains(network, few(network, images), state.seed)
    ends, state = range_ends(state, images, set(tensors), gains, "equalisation of tied channels")
    return state.with_network(tied_equalised(network, ends, state.plan, gains))


def shared_tensors(tied: TiedChannels, plan: FormatPlan) -> list[str]:
    """Tensors that are rounded, of channels that may be scaled and have no chain of their own."""
    graph = tied.graph
    alone = {c for chain in tied.chains() for c in tied.of[chain.tensors[0]]}
    rounded = [n.output for n in graph.computed() if n.output not in plan.source_of]
    return [t for t in rounded if any(tied.free[c] and c not in alone for c in tied.of[t])]


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


def tied_equalised(
    network: FloatNetwork, ends: dict[str, np.ndarray], plan: FormatPlan, gains: dict[str, np.ndarray]
) -> FloatNetwork:
    """The same function, up to float rounding, with the channels of ``shared_tensors`` ending where mantissas end.

    ends: furthest value that each channel of these tensors shall hold, float64 [C], 0 where it holds none. plan:
    blocks, widths and signs. gains: of ``noise_gains``.
    """
    tied = tied_channels(network.graph, Change.SCALE)
    of, tensors = tied.of, shared_tensors(tied, plan)
    scale = np.ones(len(tied.free))
    for group in _connected(tensors, tied):
        channels, exponents = _gathered(group, tied, ends, plan, gains)
        if len(channels.classes):
            known, index = np.unique(channels.classes, return_inverse=True)
            scale[known] = _settled(replace(channels, classes=index), exponents)
    factors = {t: scale[c].astype(np.float32) for t, c in of.items()}
    scaled = rescaled(network, {t: f for t, f in factors.items() if np.any(f != 1)})
    reach = {t: ends[t] / scale[of[t]] * (1 - ROUNDING) for t in tensors}
    return replace(scaled, reach={**network.reach, **reach})


def _gathered(
    group: list[str], tied: TiedChannels, ends: dict[str, np.ndarray], plan: FormatPlan, gains: dict[str, np.ndarray]
) -> tuple[_Channels, np.ndarray]:
    """The channels of a group of tensors that hold anything, and its blocks' exponents, to the nearest."""
    parts, exponents = [], []
    for tensor in group:
        end, splits = ends[tensor], np.asarray(plan.splits[tensor])
        top = mantissa_range(plan.bits[tensor], plan.signed[tensor])[1]
        sizes = np.diff(splits)
        largest = np.maximum.reduceat(end, splits[:-1])
        reach = end / top
        use = tied.free[tied.of[tensor]] & (reach > 0)
        block = np.repeat(np.arange(len(sizes)), sizes) + len(exponents)
        parts.append((tied.of[tensor][use], block[use], reach[use], gains[tensor][use]))
        exponents += np.round(np.log2(np.where(largest > 0, largest, top) / top)).tolist()
    return _Channels(*(np.concatenate(p) for p in zip(*parts))), np.array(exponents)


def _connected(tensors: list[str], tied: TiedChannels) -> list[list[str]]:
    """The tensors in groups that have no class in common."""
    of, free = tied.of, tied.free
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
