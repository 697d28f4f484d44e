"""Weight blocks, vectorised in float32 where that settles them, against a loop in float64."""

from __future__ import annotations

import numpy as np
import pytest

from bfp.operators import OPERATORS
from bfp.format import exponent_for_maximum
from calib.formats import weights as weight_blocks
from calib.formats.weights import CANDIDATES, WeightBlocks


def by_loop(weight: np.ndarray, splits: tuple[int, ...], bits: int) -> np.ndarray:
    """The exponent of least squared error of every block, one block at a time."""
    top = 2 ** (bits - 1) - 1
    found = np.zeros((len(weight), len(splits) - 1), np.int64)
    for f in range(len(weight)):
        for b, (start, stop) in enumerate(zip(splits, splits[1:])):
            values = weight[f, start:stop].astype(np.float64)
            if not values.any():
                continue
            highest = int(exponent_for_maximum(np.abs(values).max(), bits))
            errors = []
            for e in range(highest, highest - CANDIDATES, -1):
                lsb = 2.0**e
                errors.append(((np.clip(np.floor(values / lsb + 0.5), -top, top) * lsb - values) ** 2).sum())
            found[f, b] = highest - int(np.argmin(errors))
    return found


def weights_of(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    weight = rng.normal(size=shape) * np.exp2(rng.integers(-20, 20, (shape[0], 1, 1, 1)))
    if kind == "sparse":
        weight *= rng.random(shape) < 0.05
    if kind == "ties":  # exactly representable: all candidates that do not saturate are equally good
        weight = rng.integers(-16, 17, shape) / 16.0
    if kind == "tiny":
        weight *= 2.0**-115
    if kind == "huge":
        weight *= 2.0**95
    return weight.astype(np.float32)


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("kind", ["normal", "sparse", "ties", "tiny", "huge"])
def test_least_squares_equal_a_loop(kind, bits):
    rng = np.random.default_rng(bits)
    for shape, splits in (
        ((9, 70, 3, 3), (0, 16, 32, 48, 64, 70)),
        ((5, 40, 1, 1), (0, 7, 8, 40)),
        ((3, 6, 7, 5), (0, 6)),
        ((12, 1, 3, 3), (0, 1)),
    ):
        weight = weights_of(kind, rng, shape)
        weight[0, : splits[1]] = 0
        with np.errstate(over="ignore", under="ignore"):
            blocks = WeightBlocks(weight, splits, bits, OPERATORS["depthwise" if shape[1] == 1 else "conv"], "mse")
        assert np.array_equal(blocks.natural, by_loop(weight, splits, bits))
        for b, (start, stop) in enumerate(zip(splits, splits[1:])):
            assert np.array_equal(blocks.maxima[:, b], np.abs(weight[:, start:stop]).max(axis=(1, 2, 3)))


def test_pieces_and_doubt_do_not_change_the_choice(monkeypatch):
    """One filter at a time, and every block judged in float64: the same exponents."""
    weight = weights_of("normal", np.random.default_rng(3), (20, 64, 3, 3))
    want = WeightBlocks(weight, (0, 16, 32, 64), 4, OPERATORS["conv"], "mse").natural
    monkeypatch.setattr(weight_blocks, "CACHED", 1)
    assert np.array_equal(WeightBlocks(weight, (0, 16, 32, 64), 4, OPERATORS["conv"], "mse").natural, want)
    monkeypatch.setattr(weight_blocks, "CLOSE", 2.0)
    assert np.array_equal(WeightBlocks(weight, (0, 16, 32, 64), 4, OPERATORS["conv"], "mse").natural, want)
    assert len(np.unique(want - exponent_for_maximum(np.abs(weight).max(), 4))) > 1
