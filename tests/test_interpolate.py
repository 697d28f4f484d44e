"""Interpolation with shares of each row and column: against torch, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from support.imported import lively
from support.quantised import noise_db, quantised
from torch import nn
from torch.nn import functional as F

from bfp import golden
from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.golden.epilogue import epilogue
from bfp.golden.model import ACCUMULATE
from bfp.graph import Graph, Node
from bfp.limits import SHARE_BITS
from bfp.parameters import derive
from bfp.window import Window
from calib.frontend.interpolating import growth, places, share, towards
from calib.network.fake_quant import check
from calib.network.float_model import returned
from calib.options import BfpOptions


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
