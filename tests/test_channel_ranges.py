"""Ends of channels' ranges: least error on images that were not seen, not only on those that were."""

import numpy as np
import pytest
import torch
from torch import nn

from bfp.artifact import Preprocessing
from calib.network import float_model
from calib.observers.channel_ranges import BINS, CLIPPED, MARGINS, PIXELS, ChannelRanges, Moments
from calib.options import BfpOptions
from calib.transforms.cross_layer_equalisation import chains, ranges_equalised
from calib.frontend.importer import import_module
from calib.formats.activations import ActivationFormats
from calib.formats.plan import plan
from calib.observers.statistics import Statistics

PRE = Preprocessing((8, 8), (0.0,) * 3, (1.0,) * 3)


class Graph:
    inputs = ("x",)

    def __init__(self, channels):
        self.shapes = {"x": (channels, 4, 4), "t": (channels, 4, 4)}


def seen(values, variants=1, batch=5, tensor="t"):
    """ChannelRanges of one tensor, values [images, C, H, W], shown a few images at a time."""
    ranges = ChannelRanges(Graph(values.shape[1]), {"t"}, variants)
    for part in torch.from_numpy(np.asarray(values, np.float32)).split(batch):
        ranges.observe("x", part)
        ranges.observe(tensor, part)
    return ranges


def moments(ranges):
    return Moments.of(ranges._counts["t"].sum(0), ranges._tops["t"])


def rounded(values, end, top):
    step = end / top
    return np.clip(np.round(values / step), -top, top) * step


@pytest.mark.parametrize("top", [7, 31, 127])
def test_error_is_that_of_rounding(top):
    values = np.random.default_rng(0).laplace(size=(40, 2, 30, 30)) * np.array([1.0, 5.0])[:, None, None]
    ranges = seen(values)
    ends = ranges.maximum["t"][:, None] * np.array([1.5, 1.0, 0.6, 0.3, 0.1])
    found = moments(ranges).squared_error(ends, top)
    for c in range(2):
        for i, end in enumerate(ends[c]):
            exact = ((rounded(values[:, c], end, top) - values[:, c]) ** 2).sum()
            assert found[c, i] == pytest.approx(exact, rel=0.1 if top == 7 else 0.05)


def test_least_error_end_has_the_least_error():
    values = np.random.default_rng(0).laplace(size=(40, 2, 30, 30)) * np.array([1.0, 5.0])[:, None, None]
    ranges = seen(values)
    maximum = ranges.maximum["t"]
    ends = moments(ranges).least_error_ends(maximum, 7)
    for c, end in enumerate(ends):

        def error(e):
            return ((rounded(values[:, c], e, 7) - values[:, c]) ** 2).sum()

        assert end < maximum[c] / 1.5
        assert error(end) <= 1.02 * min(error(maximum[c] * k) for k in CLIPPED)


def test_histograms_do_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(16, 3, 4, 4)) * np.exp2(rng.uniform(-9, 9, (16, 3, 1, 1)))
    values[:, 1, :2] = 0
    values[:, 2] = 0
    one, other = seen(values, variants=16), seen(values[::-1].copy(), variants=16, batch=3)
    assert np.array_equal(one._counts["t"], other._counts["t"]) and np.array_equal(one._tops["t"], other._tops["t"])
    for c in range(2):
        x = np.abs(values[:, c].astype(np.float32))
        want, _ = np.histogram(x[x > 0], BINS, (0, one._tops["t"][c]))
        assert np.array_equal(one._counts["t"][0, c], want)
    assert not one._counts["t"][:, 2].any() and one._tops["t"][2] == 0


def test_large_maps_are_looked_at_in_a_grid():
    values = np.abs(np.random.default_rng(0).normal(size=(4, 2, 70, 130))) + 0.1
    values[1, 1, 1, 1] = 9
    ranges = seen(values)
    pixels = ranges._counts["t"][:, 0].sum() / 4
    assert PIXELS / 4 < pixels < 1.2 * PIXELS and ranges.maximum["t"][1] == 9


def test_variants_of_a_photograph_stay_in_one_half():
    values = np.repeat(np.array([1.0, 100.0, 2.0, 50.0]), 3)[:, None, None, None] * np.ones((1, 1, 4, 4))
    ranges = seen(values, variants=3, batch=4)
    assert ranges._largest("t", 0)[0] == pytest.approx(2, rel=0.2) and ranges._largest("t", 1)[0] == pytest.approx(100)


def bursts(images, seed, channels=32):
    """Channels that answer to one image in six, as strongly as an exponential draw says."""
    rng = np.random.default_rng(seed)
    active = rng.random((images, channels, 1, 1)) < 1 / 6
    return active * rng.exponential(size=(images, channels, 1, 1)) * rng.random((images, channels, 4, 4))


def test_ends_suit_images_not_seen():
    """Where the images seen say little about others, ends lie beyond theirs; where they say all, they do not."""
    splits, gain = (0, 16, 32), np.ones(32)

    def held_out(values, fresh, bits):
        ranges, top = seen(values), 2**bits - 1
        own = moments(ranges).least_error_ends(ranges.maximum["t"], top)
        ends = ranges.ends("t", splits, bits, False, gain, np.inf)

        def error(e):
            e = np.where(e > 0, e, np.inf)
            live = np.isfinite(e)
            return sum(float(((rounded(fresh[:, c], e[c], top) - fresh[:, c]) ** 2).sum()) for c in np.flatnonzero(live))

        return error(ends), error(own), ends / own

    better, plain, _ = held_out(bursts(32, 0), bursts(400, 1), 8)
    assert better < plain / 10
    rng = np.random.default_rng(2)
    same = np.clip(rng.normal(size=(32, 32, 16, 16)), 0, 3)
    better, plain, ratio = held_out(same, np.clip(rng.normal(size=(32, 32, 16, 16)), 0, 3), 4)
    assert better <= 1.02 * plain and np.median(ratio) < MARGINS[2]


def test_limits_dead_channels_and_single_images():
    values = bursts(32, 0)
    values[:, 5] = 0
    ranges = seen(values)
    ends = ranges.ends("t", (0, 32), 8, False, np.ones(32), np.linspace(0.1, 4, 32))
    assert np.all(ends <= np.linspace(0.1, 4, 32)) and ends[5] == 0 and np.all(np.delete(ends, 5) > 0)
    assert ranges.whole("t", (0, 32))[5] == 0 and np.all(ranges.whole("t", (0, 32)) >= ranges.maximum["t"])
    one = seen(np.abs(np.random.default_rng(0).normal(size=(1, 32, 4, 4))))
    ends = one.ends("t", (0, 32), 8, False, np.ones(32), np.inf)
    assert np.all(ends > one.maximum["t"]) and np.all(ends < 4 * one.maximum["t"].max())
    assert not seen(np.zeros((4, 32, 4, 4))).ends("t", (0, 32), 8, False, np.ones(32), np.inf).any()


def test_what_is_not_finite_is_left_to_the_statistics():
    values = bursts(6, 0)
    bad = values.copy()
    bad[5, 3, 0, 0] = np.inf
    assert np.array_equal(seen(bad, batch=1)._counts["t"][:, :3], seen(values[:5], batch=1)._counts["t"][:, :3])
    assert not seen(values, tensor="other")._counts["t"].any()


@pytest.mark.parametrize("method", ["mse", "kl", "percentile", "max"])
def test_scaled_channels_keep_the_ends_that_were_chosen(method):
    """No rule of histograms takes the room away again that images not seen need."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval()
    network = import_module(module, (3, 8, 8), "toy")
    images = torch.randn(12, 3, 8, 8)
    options = BfpOptions(activation_group=8, method=method)
    fixed = plan(network.graph, options, PRE)
    (tensor,) = {c.tensors[0] for c in chains(network.graph)}
    ranges = ChannelRanges(network.graph, {tensor})
    float_model.run(network, images, keep=(), observe=ranges.observe)
    ends = 3 * ranges.whole(tensor, fixed.splits[tensor])
    even = ranges_equalised(network, {tensor: ends}, fixed)
    statistics = Statistics(even.graph, fixed.splits, fixed.needs_histogram())
    float_model.run(even, images, keep=(), observe=statistics.observe)
    fmt = ActivationFormats(fixed, even, statistics).formats(fixed.no_floors())[tensor]
    reached = fmt.high * np.exp2(fmt.channel_exponents())
    # a channel's largest value is as far from its end as it was before
    assert np.allclose(statistics.maximum[tensor] / reached, ranges.maximum[tensor] / ends)
