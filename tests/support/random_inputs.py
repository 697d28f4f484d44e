"""Seeded random mantissas for all inputs of a network."""

from __future__ import annotations

import numpy as np

from bfp.artifact import Artifact
from bfp.format import BlockFormat


def random_input(artifact: Artifact, seed: int) -> np.ndarray:
    """One image [1, C, H, W], of each input uniform, at the ends of the range, mostly zero, or constant."""
    rng, graph = np.random.default_rng(seed), artifact.graph
    drawn = [_random_part(rng, artifact.formats[t], (1, *graph.shapes[t])) for t in graph.inputs]
    return np.concatenate(drawn, axis=1).astype(np.int16)


def _random_part(rng: np.random.Generator, fmt: BlockFormat, shape: tuple[int, ...]) -> np.ndarray:
    style = rng.integers(4)
    if style == 0:
        x = rng.integers(fmt.low, fmt.high + 1, shape)
    elif style == 1:
        x = rng.choice([fmt.low, fmt.high], shape)
    elif style == 2:
        x = rng.integers(fmt.low, fmt.high + 1, shape) * (rng.random(shape) < 0.1)
    else:
        x = np.full(shape, fmt.high)
    return x
