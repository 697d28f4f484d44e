"""Interpolation with shares of each row and column: against loops over Python integers, against torch, and what is refused."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from support.imported import lively
from support.quantised import noise_db, quantised
from support.random_addresses import shares
from torch import nn
from torch.nn import functional as F

from bfp import golden
from bfp.artifact import operand_formats
from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.golden.epilogue import epilogue
from bfp.golden.model import ACCUMULATE
from bfp.graph import Graph, Node
from bfp.limits import SHARE_BITS
from bfp.parameters import derive, prove
from bfp.window import Window
from calib.frontend.interpolating import growth, places, share, towards
from calib.network.fake_quant import check
from calib.network.float_model import returned
from calib.options import BfpOptions


def drawn_format(rng: np.random.Generator, channels: int, exponent: int) -> BlockFormat:
    cuts = tuple(sorted({0, channels, int(rng.integers(1, channels + 1))}))
    exponents = tuple(int(exponent + e) for e in rng.integers(0, 4, len(cuts) - 1))
    return BlockFormat(int(rng.integers(2, 9)), bool(rng.random() < 0.6), cuts, exponents)


def in_loops(node: Node, x, moved, formats: dict[str, BlockFormat], axis: int, away: int, back: bool, seen: Counter):
    """Output mantissas of one image [C, H, W], in exact arithmetic with one rounding."""
    ein, eside, eout = (formats[t].channel_exponents() for t in ("in", "side", "out"))
    out, target = np.zeros(x.shape, np.int64), formats["out"]
    for c, y, q in np.ndindex(*x.shape):
        at = [y, q]
        at[axis] += -away if back else away
        inside = 0 <= at[axis] < x.shape[1 + axis]
        difference = (int(x[c, at[0], at[1]]) if inside else 0) - int(x[c, y, q])
        value = Fraction(difference * node.shares[(y, q)[axis]], 2**SHARE_BITS) * Fraction(2) ** int(ein[c])
        value += int(moved[c, y, q]) * Fraction(2) ** int(eside[c])
        value = max(value, Fraction(0)) if node.activation != "none" else value
        rounded = (value / Fraction(2) ** int(eout[c]) * 2 + 1) // 2
        seen["half"] += value / Fraction(2) ** int(eout[c]) * 2 % 2 == 1
        seen["high"] += rounded > target.high
        seen["low"] += rounded < target.low
        seen["inside"] += target.low < rounded < target.high
        out[c, y, q] = min(max(rounded, target.low), target.high)
    return out


def test_equals_loops_over_python_integers():
    seen: Counter = Counter()
    for seed in range(120):
        rng = np.random.default_rng(seed)
        channels, *sizes = rng.integers(1, 8, 3).tolist()
        axis, back, away = int(rng.integers(2)), bool(rng.random() < 0.5), int(rng.integers(1, 4))
        parts = shares(rng, sizes[axis], away, back)
        activation = str(rng.choice(["none", "relu"]))
        node = Node("node", "interpolate", ("in", "side"), "out", towards(axis, away, back), activation, shares=parts)
        base, shape = int(rng.integers(-9, 5)), (channels, *sizes)
        formats = {t: drawn_format(rng, channels, base + int(rng.integers(-2, 3))) for t in ("in", "side", "out")}
        shapes = dict.fromkeys(formats, shape)
        source, target, side = operand_formats(node, formats)
        p = derive(node, source, target, side)
        prove(Graph("", ("in", "side"), ("out",), (), shapes), node, p, formats)
        x, moved = (rng.integers(f.low, f.high + 1, (2, *shape)).astype(np.int16) for f in (source, side))
        got = epilogue(ACCUMULATE["interpolate"](node, p, x, source, target), node, p, target, moved)
        for n in range(2):
            assert np.array_equal(got[n], in_loops(node, x[n], moved[n], formats, axis, away, back, seen)), (seed, node)
        seen["two blocks"] += len(source.exponents) > 1
    assert all(seen[corner] for corner in ("half", "high", "low", "inside", "two blocks"))


SIZES = [(1, 2), (2, 2), (5, 10), (7, 21), (3, 12), (16, 64), (9, 72), (4, 4), (7, 13), (13, 25), (7, 15), (33, 129), (24, 25), (12, 23)]


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("size, count", SIZES)
def test_places_are_those_of_torch(size, count, corners):
    """Of a ramp, linear interpolation gives the place where each value is taken."""
    ramp = torch.arange(size, dtype=torch.float64).reshape(1, 1, 1, size)
    wanted = F.interpolate(ramp, size=(1, count), mode="bilinear", align_corners=corners)[0, 0, 0]
    assert np.abs(np.array([float(p) for p in places(size, count, corners)]) - wanted.numpy()).max() < 1e-6
    found = growth(size, places(size, count, corners))
    if found is not None:
        at = [n // found.factor + float(step) for n, step in enumerate(found.offsets)]
        assert np.abs(np.array(at[:count]) - wanted.numpy()).max() < 1e-6
    assert (found is None) == ((size, count, corners) == (33, 129, False))


def test_shares_are_rounded_half_up():
    unit = Fraction(1, 2**SHARE_BITS)
    assert [share(step) for step in (unit / 2, unit / 3, 3 * unit / 2, -unit, Fraction(1, 3))] == [1, 0, 2, 0, 21845]


def enlarging(factor, **fields) -> nn.Module:
    head = nn.Sequential(nn.Conv2d(3, 20, 3, padding=1), nn.ReLU())
    return nn.Sequential(head, nn.Upsample(scale_factor=factor, mode="bilinear", **fields), nn.Conv2d(20, 6, 3))


@pytest.mark.parametrize("module", [enlarging(2, align_corners=True), enlarging((4, 2), align_corners=True), enlarging(3)])
@pytest.mark.parametrize("bits", [8, 5])
def test_calibrated_networks_keep_their_function(module, bits):
    """Integers equal quantised torch, and stay as near to the float network as their widths allow."""
    options = BfpOptions(activations=bits, weights=bits)
    artifact, network, images = quantised(lively(module, 1), (3, 7, 5), options, seed=bits)
    wanted = module(images).detach().numpy()
    assert np.abs(returned(network, images).reshape(wanted.shape) - wanted).max() <= 1e-4 * np.abs(wanted).max()
    check(artifact, golden.quantise_input(artifact, images.numpy()))
    assert noise_db(artifact, network, images) > {8: 30, 5: 14}[bits]


def test_corners_and_pixels_that_stay_keep_their_mantissas():
    """With aligned corners the outermost pixels are those of the operand, whatever is computed between them."""
    x = np.random.default_rng(0).integers(-127, 128, (1, 1, 3, 4)).astype(np.int16)
    fmt, value = BlockFormat(8, True, (0, 1), (0,)), x.repeat(2, 2)
    parts = growth(3, places(3, 6, True)).offsets
    for back in (True, False):
        steps = tuple(share(-step if back else step) for step in parts)
        node = Node("node", "interpolate", ("in", "side"), "out", towards(0, 2, back), shares=steps)
        p = derive(node, fmt, fmt, fmt)
        value = epilogue(ACCUMULATE["interpolate"](node, p, x.repeat(2, 2), fmt, fmt), node, p, fmt, value)
    assert np.array_equal(value[:, :, [0, -1]], x[:, :, [0, -1]])
    wanted = F.interpolate(torch.from_numpy(x).double(), size=(6, 4), mode="bilinear", align_corners=True).numpy()
    assert np.abs(value - wanted).max() <= 0.51 and np.any(value != x.repeat(2, 2))


WINDOW = towards(0, 2, True)
WRONG = {
    "another window": (Window((3, 1), (1, 1), (1, 0, 1, 0)), (0,) * 5, "not that of a pixel and one other"),
    "padding on both sides": (Window((2, 1), (1, 1), (1, 0, 1, 0), (2, 1)), (0,) * 5, "not that of a pixel and one other"),
    "too few shares": (WINDOW, (0,) * 4, "4 shares for 5 rows"),
    "a share beyond the edge": (WINDOW, (0, 1, 0, 0, 0), "beyond the edge is not zero"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_interpolation_is_refused(case):
    window, parts, message = WRONG[case]
    node = Node("node", "interpolate", ("in", "in"), "out", window, shares=parts)
    with pytest.raises(BfpError, match=f"node node.*{message}"):
        node.operator.check(node, (1, 5, 5))


def test_shares_mean_nothing_elsewhere():
    graph = Graph("net", ("in",), ("out",), (Node("node", "identity", ("in",), "out", shares=(1,)),), {"in": (1, 1, 1), "out": (1, 1, 1)})
    with pytest.raises(BfpError, match="identity takes no shares"):
        graph.validate()
