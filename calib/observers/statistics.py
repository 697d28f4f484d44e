"""What calibration images show of every tensor, gathered in one pass.

Maximum and minimum per channel; for the KL method also a histogram of |x| per
block. Memory depends on the network only: a histogram's range doubles, and
its bins merge in pairs, when a larger value arrives.
"""

from __future__ import annotations

import numpy as np
import torch

from bfp.errors import BfpError
from bfp.graph import Graph

EXACT_SCALE = (2.0**-100, 2.0**100)
KEPT_OUTPUTS = 512  # images whose outputs are kept as they are
BINS = 4096  # at 8 unsigned bits and three exponents below the maximum, a level is still 2 bins wide


class Histogram:
    """Counts of |x| per block, float64 [blocks, BINS]; exact zeros are not counted (every format holds them).

    ``tops`` [blocks] are the ends of the ranges, powers of two, 0 while nothing
    but zeros was seen; bin ``i`` of block ``b`` is ``[i, i + 1) * tops[b] / BINS``.
    """

    def __init__(self, splits: tuple[int, ...]) -> None:
        self.splits = splits
        self.tops = np.zeros(len(splits) - 1)
        self.counts = np.zeros((len(splits) - 1, BINS))
        self.negative: Histogram | None = None  # of the negative values alone, where somebody asks for it
        self.zeros = np.zeros(len(splits) - 1)

    def add(self, magnitude: torch.Tensor, channel_maximum: np.ndarray) -> None:
        """Add |x| [N, C, H, W] whose largest value per channel [C] is known."""
        maximum = np.maximum.reduceat(channel_maximum, self.splits[:-1])
        # strictly above the maximum, so that the largest value falls into the last bin
        needed = np.where(maximum > 0, np.exp2(np.floor(np.log2(np.where(maximum > 0, maximum, 1))) + 1), 0)
        for block in np.flatnonzero(needed == 0):
            self.zeros[block] += magnitude[:, self.splits[block] : self.splits[block + 1]].numel()
        for block in np.flatnonzero(needed > 0):
            while 0 < self.tops[block] < needed[block]:
                merged = self.counts[block].reshape(-1, 2).sum(1)
                self.counts[block] = np.concatenate([merged, np.zeros(BINS // 2)])
                self.tops[block] *= 2
            self.tops[block] = self.tops[block] or needed[block]
            values = magnitude[:, self.splits[block] : self.splits[block + 1]].reshape(-1)
            # scaling by a power of two is exact in float32, too, as long as the power is within its range
            exact = EXACT_SCALE[0] < self.tops[block] < EXACT_SCALE[1]
            index = ((values if exact else values.double()) * (BINS / self.tops[block])).to(torch.int16)
            counts = torch.bincount(index, minlength=BINS).numpy().astype(np.float64)
            zeros = float(values.numel() - torch.count_nonzero(values))
            counts[0] -= zeros
            self.zeros[block] += zeros
            self.counts[block] += counts

    def values(self, block: int, parts: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """What was seen of a block, with its signs where ``negative`` has them: values and how often each, float64 [n].

        A bin that is not empty counts as ``parts`` values that lie evenly in it; zeros are one value more.
        """
        width = self.tops[block] / BINS
        counts, below = self.counts[block], np.zeros(BINS)
        if self.negative is not None and self.negative.tops[block] > 0:
            ratio = int(round(self.tops[block] / self.negative.tops[block]))  # powers of two, at least 1
            merged = self.negative.counts[block].reshape(-1, min(ratio, BINS)).sum(axis=1)
            below[: len(merged)] = merged
        within = (np.arange(parts) + 0.5) / parts
        values, weights = [np.zeros(1)], [self.zeros[block : block + 1]]
        for sign, found in ((1.0, counts - below), (-1.0, below)):
            bins = np.flatnonzero(found > 0)
            values.append(sign * ((bins[:, None] + within) * width).reshape(-1))
            weights.append(np.repeat(found[bins] / parts, parts))
        values, weights = np.concatenate(values), np.concatenate(weights)
        return values[weights > 0], weights[weights > 0]


class Statistics:
    """Statistics of every tensor of a graph, gathered batch by batch; an observer.

    splits: the block boundaries of each tensor (for the histograms).
    histograms_of: the tensors that need one; signed_of: those whose negative
    values need one of their own beside it. After the pass ``maximum`` is the
    largest |x|, ``minimum`` the smallest x, ``highest`` the largest and ``power()`` the mean of x**2,
    float64 [channels] by tensor.
    ``outputs`` are the values of the first KEPT_OUTPUTS images, float32
    [N, channels], of each output that is a vector.
    """

    def __init__(
        self,
        graph: Graph,
        splits: dict[str, tuple[int, ...]],
        histograms_of: set[str] = frozenset(),
        signed_of: set[str] = frozenset(),
    ) -> None:
        self.graph = graph
        self.maximum = {t: np.zeros(s[0]) for t, s in graph.shapes.items()}
        self.minimum = {t: np.full(s[0], np.inf) for t, s in graph.shapes.items()}
        self.highest = {t: np.full(s[0], -np.inf) for t, s in graph.shapes.items()}
        self.histograms = {t: Histogram(splits[t]) for t in sorted(histograms_of)}
        for t in signed_of:
            self.histograms[t].negative = Histogram(splits[t])
        self.images = 0
        self._squares = {t: np.zeros(s[0]) for t, s in graph.shapes.items()}
        vectors = [t for t in graph.outputs if graph.shapes[t][1:] == (1, 1)]
        self.outputs = {t: np.zeros((0, graph.shapes[t][0]), np.float32) for t in vectors}

    def observe(self, tensor: str, x: torch.Tensor) -> None:
        """Add one batch of a tensor, [N, C, H, W]. Raises BfpError naming the layer where a value is not finite."""
        low, high = x.amin((2, 3)).amin(0).double().numpy(), x.amax((2, 3)).amax(0).double().numpy()
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            producer = self.graph.producer(tensor)
            where = f"layer {producer.name}" if producer else "the input" if len(self.graph.inputs) == 1 else f"input {tensor}"
            raise BfpError(
                f"network {self.graph.name}: the activations of {where} hold NaN or infinity; "
                "check the weights file and the input's mean and std"
            )
        magnitude = np.maximum(np.abs(low), np.abs(high))
        np.maximum(self.maximum[tensor], magnitude, out=self.maximum[tensor])
        np.minimum(self.minimum[tensor], low, out=self.minimum[tensor])
        np.maximum(self.highest[tensor], high, out=self.highest[tensor])
        flat = x.flatten(2)
        self._squares[tensor] += torch.einsum("nci,nci->c", flat, flat).double().numpy()
        if tensor in self.histograms:
            histogram = self.histograms[tensor]
            histogram.add(x.abs(), magnitude)
            if histogram.negative is not None:
                histogram.negative.add((-x).clamp_(min=0), np.maximum(-low, 0))
        if tensor == self.graph.inputs[0]:
            self.images += len(x)
        if tensor in self.outputs:
            self.outputs[tensor] = np.concatenate([self.outputs[tensor], x.flatten(1).numpy()])[:KEPT_OUTPUTS]

    def power(self, tensor: str) -> np.ndarray:
        """Mean square of each channel, float64 [channels]."""
        _, height, width = self.graph.shapes[tensor]
        return self._squares[tensor] / max(self.images * height * width, 1)

    def block_maximum(self, tensor: str, splits: tuple[int, ...]) -> np.ndarray:
        """Largest |x| of each block, float64 [blocks]."""
        return np.maximum.reduceat(self.maximum[tensor], splits[:-1])
