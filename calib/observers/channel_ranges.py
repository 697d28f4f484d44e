"""Where the range of each channel ends, chosen so that images not seen yet suit it, too.

An end trades rounding errors, which grow with it, for saturated values. The
calibration images alone would have it just where theirs end; but a channel
that answers to few images reaches further for others, and saturation errs to
the same side wherever it happens. (EfficientNet-Lite1 at 8 bits: with ends
of least squared error on its 64 calibration images, saturation alone put the
depthwise outputs of its last stage 16 dB above their noise on other
photographs; without it they would have been 50 dB above.)

So the images are dealt into two halves, and ends found on one half are judged
on the other. Two numbers are learnt that way for every tensor: by how much
its ends lie beyond those of the images seen, and how far below its block's
largest a channel may end. Both are then applied to the ends of all images.

One photograph has no other half. Its ends lie beyond what it shows by as much
as the number of values behind each of them asks for, see
calib.observers.extreme_values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from bfp.format import mantissa_range
from bfp.graph import Graph
from calib.observers.extreme_values import margins

BINS = 512  # an end is resolved to a 256th or finer
NOTHING = 1e-30  # what is smaller is nothing: BINS through it is still a float32
PIXELS = 1024  # of a map; larger ones are looked at in a grid of about as many
CLIPPED = np.exp2(np.arange(0, -25, -1) / 8)  # ends to choose from, in units of the channel's largest value
MARGINS = np.exp2(np.arange(13) / 4)  # factors by which ends may lie beyond those of the images seen
BELOW = (0.0, 0.5, 1.0, 2.0)  # octaves by which a channel's end may lie below its block's largest
UNJUDGED = 1.0  # octaves where one photograph is all there is


@dataclass(frozen=True)
class HeldOut:
    """What became of values that had no part in the choice of the ends that they were judged by.

    values: how many, zeros aside. saturated: how many of them did. noise: power of what rounding and saturation add to
    the network's output for one image, as squared gradients predict it.
    """

    values: float = 0.0
    saturated: float = 0.0
    noise: float = 0.0

    def __add__(self, other: HeldOut) -> HeldOut:
        return HeldOut(self.values + other.values, self.saturated + other.saturated, self.noise + other.noise)


class ChannelRanges:
    """Histograms of |x| of every channel of some tensors, for two halves of the images.

    An observer. variants: so many images in a row come from one photograph, and
    belong to one half. ``maximum``: largest |x|, float64 [C] by tensor. ``held_out``: what became, at the ends that
    were chosen on one half, of the other one's values, over all tensors that have been asked for.
    """

    def __init__(self, graph: Graph, tensors: set[str], variants: int = 1) -> None:
        self.input, self.variants, self.images = graph.inputs[0], variants, 0
        channels = {t: graph.shapes[t][0] for t in sorted(tensors)}
        self.maximum = {t: np.zeros(c) for t, c in channels.items()}
        self.held_out = HeldOut()
        self._pixels: dict[str, int] = {}  # of a map that are looked at
        self._tops = {t: np.zeros(c) for t, c in channels.items()}  # powers of two; 0 while nothing but zeros was seen
        self._counts = {t: np.zeros((2, c, BINS)) for t, c in channels.items()}  # without zeros

    def observe(self, tensor: str, x: torch.Tensor) -> None:
        """Add a batch [N, C, H, W] of a tensor, the network's input first; tensors not asked for are not looked at.

        A batch that holds NaN or infinity is left out: who gathers the statistics names the layer.
        """
        if tensor == self.input:
            self._half = torch.from_numpy((self.images + np.arange(len(x))) // self.variants % 2)
            self.images += len(x)
        if tensor not in self._counts:
            return
        largest = torch.maximum(x.amax((0, 2, 3)), -x.amin((0, 2, 3))).double().numpy()
        if not np.isfinite(largest).all():
            return
        largest[largest < NOTHING] = 0
        self.maximum[tensor] = np.maximum(self.maximum[tensor], largest)
        self._widen(tensor, largest)
        pitch = math.ceil(math.sqrt(x.shape[2] * x.shape[3] / PIXELS))
        x, channels = x[:, :, ::pitch, ::pitch].abs(), x.shape[1]
        self._pixels[tensor] = x.shape[2] * x.shape[3]
        tops = self._tops[tensor]
        first = (self._half[:, None] * channels + torch.arange(channels)) * BINS
        factor = torch.from_numpy(BINS / np.where(tops > 0, tops, 1.0)).float()
        cell = (x * factor[:, None, None]).to(torch.int64) + first[:, :, None, None]
        found = torch.bincount(cell.reshape(-1), minlength=2 * channels * BINS).reshape(2, channels, BINS).numpy()
        zeros = (x < NOTHING).sum((2, 3)).numpy()
        self._counts[tensor] += found
        for half in (0, 1):
            self._counts[tensor][half, :, 0] -= zeros[self._half.numpy() == half].sum(0)

    def _widen(self, tensor: str, largest: np.ndarray) -> None:
        """Double the histograms' ranges, merging bins in pairs, until they hold the largest values seen."""
        tops, counts = self._tops[tensor], self._counts[tensor]
        needed = np.where(largest > 0, np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1))) + 1), 0)
        tops[tops == 0] = needed[tops == 0]
        while (short := tops < needed).any():
            merged = counts[:, short].reshape(2, -1, BINS // 2, 2).sum(3)
            counts[:, short] = np.concatenate([merged, np.zeros_like(merged)], axis=2)
            tops[short] *= 2

    @property
    def photographs(self) -> int:
        """How many were seen, in whatever number of variants."""
        return self.images // self.variants

    @property
    def samples(self) -> int:
        """How many values, zeros among them, these photographs give a channel of the smallest map.

        Variants show no new ones.
        """
        return self.photographs * min(self._pixels.values(), default=0)

    def ends(
        self,
        tensor: str,
        splits: tuple[int, ...],
        bits: int,
        signed: bool,
        gain: np.ndarray,
        limit: np.ndarray | float,
        trained: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """End of each channel's range, float64 [C]; 0 where nothing but zeros was seen and nothing is known.

        splits: blocks that share an exponent. gain: weight of each channel's
        squared error, [C], see ``noise_gains``. limit: beyond which there is nothing, [C] or one for all.
        trained: before which no channel ends, by what training has seen of it, [C] or one for all; 0: not known.
        """
        counts, tops, maximum = self._counts[tensor], self._tops[tensor], self.maximum[tensor]
        top = mantissa_range(bits, signed)[1]
        limit = np.broadcast_to(limit, maximum.shape)[:, None]
        factors = [(m, b) for b in BELOW for m in MARGINS]
        halves = [Moments.of(half, tops) for half in counts]
        errors, saturated = np.zeros((2, len(factors)))
        for seen, other in ((0, 1), (1, 0)):
            own = halves[seen].least_error_ends(self._largest(tensor, seen), top)
            tried = np.minimum(np.stack([beyond(own, splits, *f) for f in factors], axis=1), limit)
            errors += gain @ halves[other].squared_error(tried, top)
            saturated += halves[other].beyond(tried).sum(axis=0)
        every = Moments(halves[0].sums + halves[1].sums, halves[0].width)
        own = every.least_error_ends(maximum, top)
        if self._judged(tensor):
            best = int(np.argmin(errors))
            end = beyond(own, splits, *factors[best])
            self._judge(tensor, saturated[best], errors[best])
        else:
            # one photograph's values are all that says how far others reach, unless training does
            margin = self._margins(tensor, top, trained)
            end = np.maximum(own * margin, beyond(own, splits, 1.0, UNJUDGED))
        return np.minimum(np.maximum(np.where(maximum > 0, end, 0.0), trained), limit[:, 0])

    def bounds(
        self,
        tensor: str,
        splits: tuple[int, ...],
        bits: int,
        signed: bool,
        gain: np.ndarray,
        trained: np.ndarray | float = 0.0,
    ) -> np.ndarray | None:
        """How far the blocks have to reach beyond the largest values seen, float64 [C], equal in all of a block.

        For exponents that are powers of two whatever the ends are. None where the largest values seen are far enough.
        Arguments as of ``ends``.
        """
        top = mantissa_range(bits, signed)[1]
        if not self._judged(tensor):
            margin = self._margins(tensor, top, trained)
            return beyond(np.maximum(self.maximum[tensor] * margin, trained), splits, 1.0, 0.0)
        counts, tops = self._counts[tensor], self._tops[tensor]
        errors, saturated = np.zeros((2, len(MARGINS)))
        for seen, other in ((0, 1), (1, 0)):
            whole = beyond(self._largest(tensor, seen), splits, 1.0, 0.0)[:, None] * MARGINS
            level = np.where(whole > 0, whole, top) / top
            tried, moments = top * np.exp2(np.ceil(np.log2(level))), Moments.of(counts[other], tops)
            errors += gain @ moments.squared_error(tried, top)
            saturated += moments.beyond(tried).sum(axis=0)
        best = int(np.argmin(errors))
        self._judge(tensor, saturated[best], errors[best])
        if MARGINS[best] == 1 and not np.any(trained):
            return None
        return beyond(np.maximum(self.maximum[tensor] * MARGINS[best], trained), splits, 1.0, 0.0)

    def _judged(self, tensor: str) -> bool:
        """Whether both halves have something to show."""
        return all(half.any() for half in self._counts[tensor])

    def _judge(self, tensor: str, saturated: float, error: float) -> None:
        """error: sum over all values that were looked at, each times its channel's gain."""
        places = self.images * self._pixels[tensor]
        self.held_out += HeldOut(float(self._counts[tensor].sum()), float(saturated), float(error) / places)

    def _margins(self, tensor: str, top: int, trained: np.ndarray | float) -> np.ndarray:
        """Factor, [C], of each channel's largest value by the number of values behind it; variants show no new ones.

        One where training says how far it reaches.
        """
        found = margins(np.maximum(self._counts[tensor].sum((0, 2)) / self.variants, 1), top)
        return np.where(np.asarray(trained) > 0, 1.0, found)

    def whole(self, tensor: str, splits: tuple[int, ...]) -> np.ndarray:
        """Ends at which no value seen saturates; otherwise as ``ends``."""
        maximum = self.maximum[tensor]
        return np.where(maximum > 0, beyond(maximum, splits, 1.0, BELOW[-1]), 0.0)

    def _largest(self, tensor: str, half: int) -> np.ndarray:
        """Largest |x| of one half, to the end of its bin, float64 [C]."""
        held = self._counts[tensor][half] > 0
        last = BINS - np.argmax(held[:, ::-1], axis=1)
        return np.where(held.any(axis=1), np.minimum(last * self._tops[tensor] / BINS, self.maximum[tensor]), 0.0)


def beyond(end: np.ndarray, splits: tuple[int, ...], margin: float, below: float) -> np.ndarray:
    """Ends times ``margin``, none of them more than ``below`` octaves below its block's largest; [C]."""
    largest = np.repeat(np.maximum.reduceat(end, splits[:-1]), np.diff(splits))
    return np.maximum(end, largest * 2.0**-below) * margin


@dataclass(frozen=True)
class Moments:
    """Histograms of |x|, one a channel, as sums that give the error of any end at once.

    sums: of 1, x and x**2 over all bins below one, float64 [3, C, BINS + 1], x
    in bins. width: of a bin, [C, 1].
    """

    sums: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, tops: np.ndarray) -> Moments:
        """counts: [C, BINS] over [0, tops)."""
        centre, sums = np.arange(BINS) + 0.5, np.zeros((3, len(counts), BINS + 1))
        for power in range(3):
            np.cumsum(counts * centre**power, axis=1, out=sums[power, :, 1:])
        return cls(sums, np.where(tops > 0, tops, 1.0)[:, None] / BINS)

    def least_error_ends(self, maximum: np.ndarray, top: int) -> np.ndarray:
        """End of least squared error of each channel, float64 [C]. maximum: largest |x|; top: see ``squared_error``."""
        ends = maximum[:, None] * CLIPPED
        # argmin takes the first of equals: the one that clips least
        return np.take_along_axis(ends, self.squared_error(ends, top).argmin(axis=1)[:, None], axis=1)[:, 0]

    def beyond(self, ends: np.ndarray) -> np.ndarray:
        """How many values lie beyond each end; both [C, ends]. Those in the end's own bin are not among them."""
        inside = np.clip(np.floor(ends / self.width) + 1, 0, BINS).astype(np.int64)
        return self.sums[0][:, -1:] - np.take_along_axis(self.sums[0], inside, axis=1)

    def squared_error(self, ends: np.ndarray, top: int) -> np.ndarray:
        """Sum of squared errors of values rounded to ``top`` levels up to an end and saturated there; both [C, ends].

        Values below half a level become 0; rounding the others leaves a twelfth
        of a level's square (Widrow and Kollar, Quantization Noise, 2008).
        """
        end = ends / self.width
        level = end / top
        vanishing = np.minimum(level / 2, end)
        inside, small = (np.clip(np.floor(v + 0.5), 0, BINS).astype(np.int64) for v in (end, vanishing))

        def below(power: int, index: np.ndarray) -> np.ndarray:
            return np.take_along_axis(self.sums[power], index, axis=1)

        held = below(0, inside)
        number, linear, square = (
            self.sums[power][:, -1:] - (below(power, inside) if power else held) for power in range(3)
        )
        saturated = square - 2 * end * linear + end**2 * number
        rounded = below(2, small) + (held - below(0, small)) * level**2 / 12
        return (np.maximum(saturated, 0) + rounded) * self.width**2
