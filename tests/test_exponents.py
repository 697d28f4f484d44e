"""Statistics in one pass, and the exponents chosen from them."""

import numpy as np
import pytest
import torch
from support.histograms import histogram, squared_error

from bfp import BfpError
from bfp.format import exponent_for_maximum
from bfp.graph import Graph, Node
from calib.formats.exponent_rules import CANDIDATES, by_kl
from calib.observers.statistics import BINS, Histogram, Statistics


def choose(values, bits=8, signed=True):
    h = histogram(values[:, None])
    maximum = np.array([np.abs(values.astype(np.float32)).max()], float)
    return int(by_kl(h.counts, h.tops, maximum, bits, signed)[0]), int(exponent_for_maximum(maximum, bits, signed)[0])


def test_histogram_grown_in_steps_is_the_histogram_of_all():
    values = np.random.default_rng(0).laplace(size=(4000, 3)).astype(np.float32) * [1, 1e-6, 1e5]
    values[:5, 0] = 0
    h = histogram(values.astype(np.float32), (0, 2, 3))
    for block, columns in enumerate((slice(0, 2), slice(2, 3))):
        x = np.abs(values.astype(np.float32)[:, columns]).astype(float).ravel()
        assert h.tops[block] / 2 <= x.max() < h.tops[block] and np.log2(h.tops[block]) % 1 == 0
        expected = np.histogram(x[x > 0], BINS, (0, h.tops[block]))[0]
        assert np.array_equal(h.counts[block], expected)


def test_maximum_at_a_power_of_two_and_dead_channels():
    h = histogram(np.array([[1.0, 0.0], [4.0, 0.0]]), (0, 1, 2))
    assert h.tops.tolist() == [8.0, 0.0] and h.counts[0].sum() == 2 and h.counts[1].sum() == 0


def test_zeros_are_counted_in_batches_with_and_without_other_values():
    h = Histogram((0, 1, 3))
    for values in (np.zeros((5, 3)), np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]), np.zeros((4, 3))):
        x = torch.from_numpy(values)[:, :, None, None]
        h.add(x.abs(), x.abs().amax(dim=(0, 2, 3)).numpy())
    assert h.zeros.tolist() == [10, 21] and h.counts.sum(axis=1).tolist() == [1, 1]


def graph():
    return Graph("toy", ("in",), ("out",), (Node("first", "identity", ("in",), "out"),), {"in": (2, 3, 3), "out": (2, 3, 3)})


def test_statistics_stream():
    g = graph()
    s = Statistics(g, {t: (0, 2) for t in g.shapes}, {"out"})
    x = torch.randn(6, 2, 3, 3)
    for batch in x.split(2):
        s.observe("in", batch)
        s.observe("out", batch)
    assert np.array_equal(s.maximum["in"], x.abs().amax(dim=(0, 2, 3)).numpy())
    assert np.array_equal(s.minimum["in"], x.amin(dim=(0, 2, 3)).numpy())
    assert s.images == 6 and s.histograms["out"].counts.sum() == x.numel()
    assert s.block_maximum("in", (0, 2)) == x.abs().max().item()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_with_the_layer(value):
    s = Statistics(graph(), {"in": (0, 2), "out": (0, 2)}, {"out"})
    x = torch.ones(1, 2, 3, 3)
    x[0, 1, 2, 0] = value
    with pytest.raises(BfpError, match="activations of layer first hold NaN or infinity"):
        s.observe("out", x)
    with pytest.raises(BfpError, match="activations of the input hold"):
        s.observe("in", x)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shape", ["normal", "laplace", "uniform", "outlier", "two scales", "constant"])
def test_kl_never_has_a_larger_error_than_max(bits, signed, shape):
    rng = np.random.default_rng(bits)
    x = {
        "normal": lambda: rng.normal(size=20000),
        "laplace": lambda: rng.laplace(size=20000),
        "uniform": lambda: rng.uniform(-1, 1, 20000),
        "outlier": lambda: np.append(rng.normal(size=20000), 40.0),
        "two scales": lambda: np.where(rng.random(20000) < 0.9, 0.01, 1) * rng.normal(size=20000),
        "constant": lambda: np.full(20000, 0.7),
    }[shape]()
    x = (x if signed else np.abs(x)).astype(np.float32).astype(float)
    kl, highest = choose(x, bits, signed)
    assert highest - CANDIDATES < kl <= highest
    # histograms resolve a level to 1/16 or finer, so the guard holds up to that
    assert squared_error(x, kl, bits, signed) <= 1.05 * squared_error(x, highest, bits, signed)


def test_kl_clips_a_lone_outlier_at_few_bits_and_nothing_of_a_uniform_distribution():
    rng = np.random.default_rng(0)
    kl, highest = choose(np.append(rng.normal(size=200000), 9.0), bits=4)
    assert kl < highest
    kl, highest = choose(rng.uniform(-0.99, 0.99, 200000), bits=8)
    assert kl == highest


def test_scaling_by_a_power_of_two_shifts_the_choice():
    x = np.random.default_rng(1).laplace(size=50000)
    for bits in (3, 8):
        kl, _ = choose(x, bits)
        assert choose(x * 2.0**-20, bits)[0] == kl - 20


def test_blocks_are_judged_independently():
    rng = np.random.default_rng(2)
    x = np.stack([rng.laplace(size=5000), 1e-4 * rng.normal(size=5000), np.zeros(5000), rng.uniform(size=5000)], 1)
    h = histogram(x, (0, 1, 2, 3, 4))
    together = by_kl(h.counts, h.tops, np.abs(x.astype(np.float32)).max(0).astype(float), 5, True)
    assert together[2] == 0
    for c in (0, 1, 3):
        assert together[c] == choose(x[:, c], 5)[0]


@pytest.mark.parametrize("power", [-140, -110, -3, 0, 90, 120])
def test_histogram_bins_are_exact_at_every_scale(power):
    """Bins are counted in float32 where that is exact and in float64 beyond: the same as in plain integers."""
    x = np.concatenate([np.random.default_rng(0).random(5000), [0.0, 0.0, 1 - 2.0**-24, 2.0**-12, 0.5]])
    x = np.ldexp(x.astype(np.float32), power)
    found = Histogram((0, 1))
    found.add(torch.from_numpy(x)[None, None, None], np.array([np.abs(x).max()], np.float64))
    index = np.floor(x.astype(np.float64) * (BINS / found.tops[0])).astype(int)
    want = np.bincount(index[x > 0], minlength=BINS)
    # the smallest powers round the largest value up to the next
    assert found.tops[0] == 2.0 ** (power if power > -126 else power + 1) and found.zeros[0] == np.count_nonzero(x == 0)
    assert np.array_equal(found.counts[0], want)
