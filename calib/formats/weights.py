"""Exponents and mantissas of a layer's weights, for all filters and blocks at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat, exponent_for_maximum, mantissa_range, round_half_up
from bfp.limits import MAX_ALIGN_SHIFT, MAX_REQUANTISATION_SHIFT, NEVER
from bfp.operators import Alignment, Operator
from bfp.parameters import Weights
from calib.formats import fan2019
from calib.options import FAN2019, WEIGHT_METHODS

CANDIDATES = 3  # the maximum's exponent and two below it
WEIGHTED_CANDIDATES = 6  # where inputs count by their power: a large weight of a silent input may saturate
LEAST_IMPORTANCE = 0.02  # of the mean: other images may wake an input
CHUNK = 1 << 22  # weights that are scaled in float64 at a time
CACHED = 1 << 16  # weights that are judged at a time
CLOSE = 1 / 256  # relative distance of two errors that float32 sums do not settle
FLOAT32_ROUNDING = 2.0**-22  # of a sum, per term
FLOAT32_EXPONENTS = 100  # scales beyond 2**+-100 are left to float64
PROVABLE_SHIFT = 20  # shift of an operand beyond which its sum could not be proved inside 32 bits
MOST_SHIFT = {Alignment.BLOCKS: MAX_ALIGN_SHIFT, Alignment.OPERAND: PROVABLE_SHIFT}  # of sums of products
BIAS_BITS = 12  # resolution below the output's of a filter that has a bias only


@dataclass(frozen=True)
class Chosen:
    """Weight exponents of one layer and what they cost.

    exponents: int64 [filters, blocks]. finest, coarsest: exponents of the
    psums, int64 [filters]. raised: bits by which the constraints coarsened
    each block beyond its natural exponent, int64 [filters, blocks].
    """

    exponents: np.ndarray
    finest: np.ndarray
    coarsest: np.ndarray
    raised: np.ndarray


class WeightBlocks:
    """The block maxima of one layer's float weights, found once.

    weight: float32 [F, C (1 for depthwise), kh, kw]; splits: block boundaries
    over C; bits: mantissa width; kind: the layer's operator; method: "max", or
    "mse" for the exponent of least squared error at or up to CANDIDATES - 1
    below the maximum's, or "fan2019" for the published rule and its clip. power:
    mean square of every input channel, float64 [C]; with it, ``mse`` weighs the
    error of a weight by its input's power, which makes it the error of the
    output as far as inputs are independent. Raises BfpError for another method.
    """

    def __init__(
        self,
        weight: np.ndarray,
        splits: tuple[int, ...],
        bits: int,
        kind: Operator,
        method: str = "max",
        power: np.ndarray | None = None,
    ) -> None:
        self.weight, self.splits, self.bits, self.kind = weight, splits, bits, kind
        self.maxima = np.empty((len(weight), len(splits) - 1))
        for rows, blocks, part in self._parts():
            self.maxima[rows, blocks] = np.maximum(part.max(axis=2), -part.min(axis=2))
        self.natural = exponent_for_maximum(self.maxima, bits)
        self.top = mantissa_range(bits, True)[1]
        if method not in WEIGHT_METHODS:
            raise BfpError(f"method {method!r} of weights is not known; known are {', '.join(WEIGHT_METHODS)}")
        if method == FAN2019:
            self.natural, self.top = fan2019.exponent(self.maxima, bits), fan2019.clip_limit(bits)
        elif method == "mse":
            weighted = power is not None and not kind.weights.per_channel and power.any()
            self.importance = np.maximum(power / power.mean(), LEAST_IMPORTANCE) if weighted else None
            self.candidates = WEIGHTED_CANDIDATES if weighted else CANDIDATES
            self.natural = self._least_squares()

    def _parts(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """The weights in pieces that stay in the cache: rows of filters, blocks of equal size, [rows, blocks, size]."""
        weight, sizes = self.weight.reshape(*self.weight.shape[:2], -1), np.diff(self.splits)
        first = 0
        while first < len(sizes):
            last = first + 1
            while last < len(sizes) and sizes[last] == sizes[first]:
                last += 1
            run = weight[:, self.splits[first] : self.splits[last]]
            step = max(1, CACHED // run[0].size)
            for f in range(0, len(weight), step):
                rows = slice(f, f + step)
                yield rows, slice(first, last), run[rows].reshape(len(run[rows]), last - first, -1)
            first = last

    def _least_squares(self) -> np.ndarray:
        """The exponent of least squared error of every block; the coarser of equals.

        Errors are summed in float32 first. Filters with a block whose best two
        candidates lie so close that rounding could decide are judged in float64.
        """
        errors = np.empty((self.candidates, *self.natural.shape))
        for rows, blocks, part in self._parts():
            natural = np.clip(self.natural[rows, blocks], -FLOAT32_EXPONENTS, FLOAT32_EXPONENTS)
            scaled = part * np.exp2(-natural).astype(np.float32)[:, :, None]
            counts = self._importance_of(blocks)
            for step in range(self.candidates):
                error = np.floor(scaled + np.float32(0.5))
                if step:
                    np.clip(error, -self.top, self.top, out=error)
                error -= scaled
                weighed = error if counts is None else error * counts
                errors[step, rows, blocks] = np.einsum("fbk,fbk->fb", error, weighed) * 0.25**step
                scaled *= 2
        best, second = np.partition(errors, 1, axis=0)[:2]
        tolerance = np.maximum(CLOSE, np.diff(self.splits) * self.weight[0, 0].size * FLOAT32_ROUNDING)
        close = (second - best <= tolerance * second) | (np.abs(self.natural) > FLOAT32_EXPONENTS)
        choice = np.argmin(errors, axis=0)
        filters = np.flatnonzero((close & (self.maxima > 0)).any(axis=1))
        choice[filters] = self._exact_choice(filters)
        return self.natural - np.where(self.maxima > 0, choice, 0)

    def _importance_of(self, blocks: slice) -> np.ndarray | None:
        """Importance of the weights of equal blocks, float32 [blocks, size]."""
        if self.importance is None:
            return None
        channels = self.importance[self.splits[blocks.start] : self.splits[blocks.stop]]
        window = self.weight[0, 0].size
        return np.repeat(channels, window).reshape(blocks.stop - blocks.start, -1).astype(np.float32)

    def _exact_choice(self, filters: np.ndarray) -> np.ndarray:
        """Of these filters: how far below the maximum's exponent the squared error is least, [filters, blocks]."""
        weight, errors = self.weight[filters], []
        for step in range(self.candidates):
            exponents = self.natural[filters] - step
            scale = np.exp2(np.repeat(exponents, np.diff(self.splits), axis=1).astype(np.float64))[:, :, None, None]
            error = (self._mantissas(weight, exponents) * scale - weight) ** 2
            if self.importance is not None:
                error *= self.importance[:, None, None]
            errors.append(np.add.reduceat(error.sum(axis=(2, 3)), self.splits[:-1], axis=1))
        return np.argmin(np.stack(errors), axis=0)

    def choose(
        self, source: BlockFormat, out: np.ndarray, shortcut: np.ndarray | None, max_spread: int, lowest: np.ndarray
    ) -> Chosen:
        """The natural exponents, coarsened where the accumulator's shifts need it.

        out: exponents of the output channels [F]; shortcut: of the fused
        residual's or None; lowest: the finest psum exponent allowed, [F].
        """
        fine, coarse = self.kind.exponents.operand_range(source, self.splits)
        alive = self.maxima > 0
        top = np.where(alive, self.natural + coarse, NEVER).max(axis=1)
        free = np.maximum(lowest, out - MAX_REQUANTISATION_SHIFT)
        if shortcut is not None:
            free = np.maximum(free, shortcut - PROVABLE_SHIFT)
        low = np.maximum(free, top - max_spread)
        needed = self.kind.exponents.needed
        e = np.maximum(self.natural, needed(source, low, self.splits))
        finest = np.where(alive, e + fine, -NEVER).min(axis=1)
        # a filter without weights still has a bias: leave it some bits below the output's
        spare = out - BIAS_BITS if shortcut is None else np.minimum(out - BIAS_BITS, shortcut)
        finest = np.where(alive.any(axis=1), finest, np.maximum(free, spare))
        # a block without weights must not widen the spread
        e = np.where(alive, e, needed(source, finest, self.splits))
        raised = np.where(alive, e - self.natural, 0)
        return Chosen(e, (e + fine).min(axis=1), (e + coarse).max(axis=1), raised)

    def shortcut_floor(self, chosen: Chosen) -> np.ndarray:
        """The finest shortcut exponent to which every psum can be shifted, int64 [F]."""
        return chosen.coarsest - MOST_SHIFT[self.kind.alignment]

    def quantise(self, exponents: np.ndarray) -> Weights:
        """Mantissas at the given exponents [F, blocks], half up, saturated."""
        return Weights(self.bits, self._mantissas(self.weight, exponents), self.splits, exponents)

    def requantise(self, weights: Weights, exponents: np.ndarray) -> Weights:
        """As ``quantise``, but only the filters whose exponents differ from ``weights``' are computed."""
        changed = np.flatnonzero((weights.exponents != exponents).any(axis=1))
        if not len(changed):
            return weights
        mantissas = weights.mantissas.copy()
        mantissas[changed] = self._mantissas(self.weight[changed], exponents[changed])
        return Weights(self.bits, mantissas, self.splits, exponents)

    def _mantissas(self, weight: np.ndarray, exponents: np.ndarray) -> np.ndarray:
        scale = np.exp2(-np.repeat(exponents, np.diff(self.splits), axis=1).astype(np.float64))[:, :, None, None]
        result = np.empty(weight.shape, np.int8)
        step = max(1, CHUNK // max(1, weight[:1].size))
        for f in range(0, len(weight), step):
            part = round_half_up(weight[f : f + step] * scale[f : f + step])
            result[f : f + step] = np.clip(part, -self.top, self.top)
        return result
