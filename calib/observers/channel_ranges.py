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
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from bfp.format import mantissa_range
from bfp.graph import Graph

BINS = 512  # an end is resolved to a 256th or finer
NOTHING = 1e-30  # what is smaller is nothing: BINS through it is still a float32
PIXELS = 1024  # of a map; larger ones are looked at in a grid of about as many
CLIPPED = np.exp2(np.arange(0, -25, -1) / 8)  # ends to choose from, in units of the channel's largest value
MARGINS = np.exp2(np.arange(13) / 4)  # factors by which ends may lie beyond those of the images seen
BELOW = (0.0, 0.5, 1.0, 2.0)  # octaves by which a channel's end may lie below its block's largest
UNJUDGED = (2**0.5, 1.0)  # margin and octaves where one image is all there is


class ChannelRanges:
    """Histograms of |x| of every channel of some tensors, for two halves of the images.

    An observer. variants: so many images in a row come from one photograph, and
    belong to one half. ``maximum``: largest |x|, float64 [C] by tensor.
    """

    def __init__(self, graph: Graph, tensors: set[str], variants: int = 1) -> None:
        self.input, self.variants, self.images = graph.input, variants, 0
        channels = {t: graph.shapes[t][0] for t in sorted(tensors)}
        self.maximum = {t: np.zeros(c) for t, c in channels.items()}
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

    def ends(
        self, tensor: str, splits: tuple[int, ...], bits: int, signed: bool, gain: np.ndarray, limit: np.ndarray | float
    ) -> np.ndarray:
        """End of each channel's range, float64 [C]; 0 where nothing but zeros was seen.

        splits: blocks that share an exponent. gain: weight of each channel's
        squared error, [C]. limit: beyond which there is nothing, [C] or one for all.
        """
        counts, tops, maximum = self._counts[tensor], self._tops[tensor], self.maximum[tensor]
        top = mantissa_range(bits, signed)[1]
        limit = np.broadcast_to(limit, maximum.shape)[:, None]
        factors = [(m, b) for b in BELOW for m in MARGINS]
        halves = [Moments.of(half, tops) for half in counts]
        errors = np.zeros(len(factors))
        for seen, other in ((0, 1), (1, 0)):
            own = halves[seen].least_error_ends(self._largest(tensor, seen), top)
            tried = np.minimum(np.stack([beyond(own, splits, *f) for f in factors], axis=1), limit)
            errors += gain @ halves[other].squared_error(tried, top)
        judged = all(half.any() for half in counts)
        chosen = factors[int(np.argmin(errors))] if judged else UNJUDGED
        every = Moments(halves[0].sums + halves[1].sums, halves[0].width)
        end = beyond(every.least_error_ends(maximum, top), splits, *chosen)
        return np.where(maximum > 0, np.minimum(end, limit[:, 0]), 0.0)

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
