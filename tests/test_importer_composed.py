"""Norms by an image's own statistics, softmax, quotients, exponentials and logarithms in front of layers: from tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import check, lively
from support.quantised import noise_db, quantised
from support.small_modules import Fn, conv
from torch import nn

from bfp import golden
from bfp.errors import BfpError
from bfp.functions import FunctionCall
from calib.evaluation.integer_model import IntegerModel
from calib.formats.table_range import index_end
from calib.frontend.importer import import_module


def norm(kind, *arguments):
    """A norm whose weights matter."""
    torch.manual_seed(2)
    made = kind(*arguments)
    for p in made.parameters():
        nn.init.normal_(p, 1.0 if p is made.weight else 0.0, 0.2)
    return made


def between(function, *modules, channels=8):
    """Convolution, function, convolution, ReLU, and a vector."""
    return Fn(lambda m, x: m[1](function(m, m[0](x))).relu().mean((2, 3)), conv(3, 8, 3, padding=1), conv(channels, 6, 3), *modules)


# module, least signal to noise in dB at 8 bits
FORMS = {
    "instance norm": (between(lambda m, x: m[2](x), norm(nn.InstanceNorm2d, 8, 1e-5, 0.1, True)), 30),
    "instance norm, measured": (between(lambda m, x: m[2](x), norm(nn.InstanceNorm2d, 8, 1e-5, 0.1, True, True)), 30),
    "group norm": (between(lambda m, x: m[2](x), norm(nn.GroupNorm, 4, 8)), 30),
    "group norm of all": (between(lambda m, x: m[2](x), norm(nn.GroupNorm, 1, 8)), 30),
    "softmax of channels": (between(lambda m, x: torch.softmax(x, 1)), 20),
    "softmax of pixels": (between(lambda m, x: x * torch.softmax(x.mean(1).flatten(1), 1).reshape(-1, 1, *x.shape[2:]) * 8), 20),
    "quotient of maps": (between(lambda m, x: x / (1 + x.abs().mean(1, keepdim=True))), 25),
    "quotient that may be negative": (between(lambda m, x: x / (x.flip(1) * 0.01 + 3)), 25),
    "one by a map": (between(lambda m, x: 2 / (x.sigmoid() + 0.5)), 25),
    "exponential": (between(lambda m, x: (-x.abs()).exp()), 20),
    "logarithm": (between(lambda m, x: (x.relu() + 0.5).log()), 20),
    "logarithm of one and more": (between(lambda m, x: x.relu().log1p()), 25),
    "largest, smoothly": (between(lambda m, x: x * x.flatten(2).logsumexp(2)[:, :, None, None]), 25),
    "means and deviations": (between(lambda m, x: torch.cat([x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)], 1).expand(-1, -1, 5, 5), channels=16), 25),
    "by its own statistics": (between(lambda m, x: (x - torch.var_mean(x, (2, 3), keepdim=True)[1]) / (torch.var_mean(x, (2, 3), keepdim=True)[0] + 1e-5).sqrt()), 25),
    "response norm": (between(lambda m, x: F.local_response_norm(x, 3, 0.1)), 25),
    "response to all pixels": (between(lambda m, x: x * x.norm(dim=(2, 3), keepdim=True) / (x.norm(dim=(2, 3), keepdim=True).mean(1, keepdim=True) + 1e-6)), 25),
    "from the least to the most": (between(lambda m, x: (x - x.amin((1, 2, 3), True)) / (x.amax((1, 2, 3), True) - x.amin((1, 2, 3), True) + 1e-6)), 25),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_is_computed_from_tables(form):
    module, least = FORMS[form]
    check(module, (3, 9, 8))
    artifact, network, images = quantised(lively(module), (3, 9, 8))
    assert noise_db(artifact, network, images) > least
    mantissas = golden.quantise_input(artifact, images.numpy())
    assert np.array_equal(golden.logits(artifact, mantissas), IntegerModel(artifact, "cpu").logits(mantissas))


def test_sequences_and_films_have_their_own_statistics():
    one = nn.Sequential(nn.Conv1d(3, 8, 3), norm(nn.InstanceNorm1d, 8, 1e-5, 0.1, True), nn.Conv1d(8, 4, 3))
    check(one, (3, 12))
    all_ = nn.Sequential(nn.Conv1d(3, 8, 3), norm(nn.GroupNorm, 1, 8), nn.Conv1d(8, 4, 3))
    check(all_, (3, 12))


def test_the_host_keeps_what_it_computes_more_exactly():
    """What ends a network is no table of eight bits."""
    module = Fn(lambda m, x: torch.softmax(m[0](x).flatten(1), 1) / 3 + (-m[0](x).flatten(1).abs()).exp(), conv(3, 2, 3))
    network = import_module(lively(module), (3, 6, 5), "net")
    assert {n.op for n in network.graph.nodes} == {"conv"}


def test_a_pole_is_reached_by_no_value():
    """The index of a reciprocal's table goes as far as its values do, however flat it is there."""
    call = FunctionCall("limited_power", (-0.5, 1e-5))
    assert index_end(call, 0.1, 0.6, "here") == 0.6
    assert np.isposinf(FunctionCall("reciprocal").record("here").evaluate(np.zeros(1))).all()
    assert np.isneginf(FunctionCall("limited_log", (0.0,)).record("here").evaluate(-np.ones(1), 0.0)).all()


@pytest.mark.parametrize(
    "function, reason",
    [
        (lambda x: (x - 2).log(), "logarithm of what may be negative"),
        (lambda x: (x - 2) ** -0.5, "the power -0.5 is not supported"),
        (lambda x: x / x, "division of a value by itself"),
        (lambda x: torch.softmax(x, 0), "softmax over the batch"),
    ],
)
def test_refusals(function, reason):
    module = Fn(lambda m, x: m[1](function(m[0](x))), conv(3, 8, 3), conv(8, 4, 3))
    with pytest.raises(BfpError, match=reason):
        import_module(module.eval(), (3, 9, 8), "net")
