"""Powers and roots in the middle of a network, as generalised-mean pooling has them, from tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import check, lively
from support.quantised import quantised
from support.small_modules import Fn, conv
from torch import nn

from bfp import golden
from bfp.errors import BfpError
from bfp.functions import FUNCTIONS, limited_power
from calib.frontend.importer import import_module


class GeM(nn.Module):
    """As retrieval networks have it, its exponent learned."""

    def __init__(self, p=3.0):
        super().__init__()
        self.p = nn.Parameter(torch.ones(1) * p)

    def forward(self, x):
        return F.avg_pool2d(x.clamp(min=1e-6).pow(self.p), (x.size(-2), x.size(-1))).pow(1.0 / self.p)


FORMS = {
    "learned": (lambda m, x: m[1](m[2](m[0](x))), "conv lookup avg_pool lookup conv"),
    "of whole powers": (lambda m, x: m[1](F.avg_pool2d(m[0](x).clamp(min=0.1).pow(2.0), 7).pow(0.5)), None),
    "root of a ReLU": (lambda m, x: m[1](F.relu(m[0](x)).sqrt()), "conv lookup conv"),
    "root of a mean of squares": (lambda m, x: m[1](m[0](x).pow(2).mean((2, 3), keepdim=True).sqrt()), "conv lookup avg_pool lookup conv"),
    "within two limits": (lambda m, x: m[1](m[0](x).clamp(0.25, 2).pow(2.5)), None),
    "a constant of one element": (lambda m, x: m[1](torch.pow(F.relu(m[0](x)), torch.tensor(1.5))), "conv lookup conv"),
}


@pytest.mark.parametrize("case", FORMS)
def test_powers_of_what_is_not_negative(case):
    function, operators = FORMS[case]
    check(Fn(function, conv(3, 4, 3, padding=1), conv(4, 3, 1), GeM(2.7)), operators=operators, shape=(3, 7, 7))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y**0.5,
        lambda y: y.clamp(min=-1) ** 1.5,
        lambda y: (y - 1) ** -0.5,
        lambda y: (F.relu(y) - 0.1).sqrt(),
        lambda y: F.relu(y) ** torch.arange(1.0, 5)[:, None, None],
    ],
)
def test_powers_of_what_may_be_negative_are_refused(function):
    with pytest.raises(BfpError, match="the power .* is not supported"):
        import_module(lively(Fn(lambda m, x: m[1](function(m[0](x))), conv(), conv(4))), (3, 9, 8), "net")


def test_generalised_mean_keeps_its_accuracy():
    """At 8 bits, of learned exponents: the pooled vector, and what a linear layer makes of it."""
    layers = conv(3, 16, 3, padding=1), nn.Linear(16, 5), GeM(2.7)
    artifact, _, images = quantised(Fn(lambda m, x: m[1](m[2](F.relu(m[0](x))).flatten(1)), *layers), (3, 12, 12))
    module = Fn(lambda m, x: m[1](m[2](F.relu(m[0](x))).flatten(1)), *layers)
    found = golden.returned(artifact, golden.quantise_input(artifact, images.numpy()))
    wanted = module(images).detach().numpy()
    noise = ((found - wanted) ** 2).sum() / (wanted**2).sum()
    assert 10 * np.log10(1 / noise) > 20


def test_the_function_is_never_of_a_negative_number():
    x = np.linspace(-3, 3, 31)
    assert np.isfinite(limited_power(x, 0.5, -1.0)).all() and (limited_power(x, 0.5, 0.25) >= 0.5).all()
    assert FUNCTIONS["limited_power"].least(0.5, 0.1) >= 0
