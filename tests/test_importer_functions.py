"""Functions of one value that users write out, as the importer recognises them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn, conv

from bfp.errors import BfpError
from calib.frontend.importer import import_module

ROOT = math.sqrt(2)
WRITTEN = {
    "hardswish by hardsigmoid": (lambda y: y * F.hardsigmoid(y), "hardswish"),
    "hardswish by relu6": (lambda y: y * F.relu6(y + 3) / 6, "hardswish"),
    "hardswish by relu6, divided first": (lambda y: y * (F.relu6(y + 3) / 6), "hardswish"),
    "hardswish by relu6, times a sixth": (lambda y: F.relu6(y + 3.0) * y * 0.16666667, "hardswish"),
    "hardswish by clamp": (lambda y: y * torch.clamp(y + 3, 0, 6) / 6, "hardswish"),
    "hardswish by clamp to 1": (lambda y: y * (y / 6 + 0.5).clamp(min=0, max=1), "hardswish"),
    "hardswish by hardtanh": (lambda y: y * F.hardtanh(y + 3, 0.0, 6.0) / 6.0, "hardswish"),
    "mish": (lambda y: y * torch.tanh(F.softplus(y)), "mish"),
    "gelu": (lambda y: 0.5 * y * (1 + torch.erf(y / ROOT)), "gelu"),
    "gelu, digits": (lambda y: y * 0.5 * (1.0 + torch.erf(y * 0.70710678)), "gelu"),
    "gelu by tanh": (lambda y: 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * torch.pow(y, 3)))), "gelu_tanh"),
    "gelu by tanh, digits": (lambda y: 0.5 * y * (1 + torch.tanh(0.7978845608 * y * (1 + 0.044715 * y * y))), "gelu_tanh"),
    "quick gelu": (lambda y: y * torch.sigmoid(1.702 * y), "swish(1.702)"),
    "swish that learned": (lambda y: y * torch.sigmoid(torch.tensor(0.7) * y), "swish(0.7)"),
    "silu": (lambda y: torch.sigmoid(y) * y, "silu"),
    "silu of half": (lambda y: (z := y / 2) * z.sigmoid(), "silu"),
    "softsign": (lambda y: y / (1 + y.abs()), "softsign"),
    "torch's softsign": (lambda y: F.softsign(y), "softsign"),
    "square": (lambda y: y**2, "square"),
    "cube": (lambda y: torch.pow(y, 3), "cube"),
    "erf": (lambda y: torch.erf(y), "erf"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_functions_that_are_written_out(case):
    function, name = WRITTEN[case]
    graph = check(Fn(lambda m, x: m[1](function(m[0](x))), conv(), conv(4)), operators="conv lookup conv")
    assert str(graph.nodes[1].function) == name


def test_no_factor_is_left():
    for sixth in (lambda y: y / 6, lambda y: y * 0.1666667):
        check(Fn(lambda m, x: m[1](sixth((y := m[0](x)) * F.relu6(y + 3))), conv(), torch.nn.MaxPool2d(2)), operators="conv lookup max_pool")


def test_in_another_order_and_in_place():
    def forward(m, x):
        y = m[0](x).permute(0, 2, 3, 1)
        y = y * F.hardsigmoid(y)
        return m[1](y.permute(0, 3, 1, 2))

    check(Fn(forward, conv(), conv(4)), operators="conv lookup conv")
    check(Fn(lambda m, x: (y := m[0](x)).mul_(torch.sigmoid(y)), conv()), operators="conv lookup")


def test_the_last_common_value_is_what_a_function_is_of():
    """Behind a scale that is the same for all channels, too."""
    graph = check(Fn(lambda m, x: (y := m[0](x) * 2 + 1) * torch.sigmoid(y), conv()), operators="conv lookup")
    assert str(graph.nodes[1].function) == "silu"


def test_a_factor_of_a_function_stays():
    check(Fn(lambda m, x: m[0](x * F.relu6(x + 3)), conv(3)), operators="identity lookup conv")
    check(Fn(lambda m, x: (y := m[0](x)) * F.relu6(y + 3), conv()), operators="conv lookup depthwise")


@pytest.mark.parametrize("limit", [F.relu, F.relu6])
def test_a_limit_behind_a_pool_stays_there(limit):
    """What a table makes is not limited once more."""
    check(Fn(lambda m, x: m[1](limit(F.max_pool2d(F.leaky_relu(m[0](x), 0.1), 2))), conv(), conv(4, 5, 2)), operators="conv lookup max_pool conv")


PRODUCTS = {
    "no function of a table": lambda m, x: (y := m[0](x)) * torch.tanh(y),
    "two values": lambda m, x: m[0](x) * torch.sigmoid(m[1](x)),
    "a value and one made of it": lambda m, x: (y := m[0](x)) * torch.sigmoid(y * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1)),
    "another order": lambda m, x: (y := m[0](x)) * torch.sigmoid(y.flip(1)),
    "a square": lambda m, x: (y := m[0](x)) * y,
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_other_products_are_products(case):
    graph = check(Fn(PRODUCTS[case], conv(), conv()))
    assert graph.nodes[-1].op == "multiply"


def test_powers_that_no_table_has():
    with pytest.raises(BfpError, match="the power 0.5 is not supported; -1 and whole ones above 0 are, and others"):
        import_module(Fn(lambda m, x: m[1](m[0](x) ** 0.5), conv(), conv(4)).eval(), (3, 9, 8), "net")
