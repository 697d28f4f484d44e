"""Functions of one value from static tables: against torch, against loops over Python integers, and as users write them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.small_modules import Fn
from support.quantised import noise_db, quantised
from torch import nn
from torch.nn import functional as F

from bfp import BfpError, artifact_file, golden
from bfp.artifact import verify
from bfp.format import BlockFormat
from bfp.functions import FUNCTIONS, FunctionCall, table_of
from calib.evaluation.integer_model import IntegerModel
from calib.formats.table_range import SHARE, index_bits, index_end
from calib.frontend.importer import import_module
from calib.network import fake_quant
from calib.options import BfpOptions
from calib.network.float_ops import FUNCTION
from calib.observers.statistics import Histogram

ARGUMENTS = {"softplus": (1.0,), "leaky_relu": (0.1,), "elu": (1.2, 0.9, 1.1), "swish": (1.702,), "limited_power": (0.4, 0.1), "limited_log": (0.1,),
             "whole_power": (4.0,), "softshrink": (0.5,), "hardshrink": (0.5,), "threshold": (0.3, -0.2)}  # fmt: skip
CALLS = [FunctionCall(name, ARGUMENTS.get(name, ())) for name in FUNCTIONS]


def block(bits: int, signed: bool, exponent: int) -> BlockFormat:
    return BlockFormat(bits, signed, (0, 3), (exponent,))


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_function_is_torch_s(call):
    x = np.linspace(-30, 30, 2001)
    wanted = FUNCTION[call.name](torch.from_numpy(x), *call.arguments).numpy()
    assert np.allclose(call.record("here").evaluate(x, *call.arguments), wanted, atol=1e-9)
    assert call.can_be_negative("here") == bool((wanted < 0).any())


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 5, 10])
def test_entries_of_a_table_are_rounded_once(bits, signed):
    """Against plain loops: half up, saturated, the index in two's complement."""
    source, target = block(bits, signed, -bits + 3), block(4, True, -2)
    table = table_of(FunctionCall("silu"), source, target, "here")
    assert table.shape == (2**bits,)
    for q in range(source.low, source.high + 1):
        x = q * 2.0**source.exponents[0]
        y = x / (1 + np.exp(-x)) * 4
        assert table[q % 2**bits] == min(max(int(np.floor(y + 0.5)), -7), 7)


def test_two_exponents_have_no_table():
    several = BlockFormat(8, True, (0, 1, 3), (0, 1))
    with pytest.raises(BfpError, match="the operand of a table has one exponent, not 2"):
        table_of(FunctionCall("silu"), several, block(8, True, 0), "here")


@pytest.mark.parametrize(
    "call, words",
    [
        (FunctionCall("sine"), "function 'sine' is not supported; known are sigmoid"),
        (FunctionCall("silu", (1.0,)), "it takes none, finite numbers"),
        (FunctionCall("leaky_relu", (float("nan"),)), "it takes slope, finite numbers"),
    ],
)
def test_unknown_functions_and_arguments_are_refused(call, words):
    with pytest.raises(BfpError, match=words):
        call.record("node x")


def modules() -> nn.Sequential:
    """Functions behind convolutions of both kinds, a pool and a mean."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 24, 3, stride=2), nn.Hardswish()),
        *(nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.GELU()),
        *(nn.AdaptiveAvgPool2d(1), nn.ELU(), nn.Flatten(), nn.Linear(24, 5)),
    )


@pytest.fixture(scope="module")
def made():
    return quantised(modules(), (3, 18, 18))


def test_the_artifact_keeps_tables_and_integers(made, tmp_path):
    """Golden model, the integer model in torch, the file, and the float view of it agree."""
    artifact, network, images = made
    assert noise_db(*made) > 35
    mantissas = golden.quantise_input(artifact, images.numpy())
    assert all(d.ok for d in fake_quant.check(artifact, mantissas))
    again = artifact_file.load((artifact_file.save(artifact, tmp_path / "a.npz"), tmp_path / "a.npz")[1])
    assert np.array_equal(golden.logits(again, mantissas), golden.logits(artifact, mantissas))
    emulated = IntegerModel(again, torch.device("cpu"))
    assert np.array_equal(emulated.logits(mantissas), golden.logits(artifact, mantissas))


def test_an_index_is_stored_nowhere_and_narrow_tensors_stay_so(made):
    artifact = made[0]
    indices = {n.main for n in artifact.graph.nodes if n.function}
    assert {t for t, f in artifact.formats.items() if f.bits > 8} == indices
    for node in artifact.graph.nodes:
        assert not indices & set(node.inputs) or node.function


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda t: t[:-1], "its table does not have 1024 entries"),
        (lambda t: t + 300, "its table does not have 1024 entries in -127..127"),
        (lambda t: None, "lookup has no table"),
    ],
)
def test_wrong_tables_are_refused(made, damage, words):
    artifact = made[0]
    node = next(n for n in artifact.graph.nodes if n.function)
    p = artifact.parameters[node.name]
    wrong = {**artifact.parameters, node.name: replace(p, table=damage(p.table))}
    with pytest.raises(BfpError, match=words):
        verify(replace(artifact, parameters=wrong))


def test_nothing_but_an_index_is_wider_than_eight_bits(made):
    artifact = made[0]
    tensor = artifact.graph.nodes[-1].main
    wide = replace(artifact.formats[tensor], bits=10)
    with pytest.raises(BfpError, match=f"tensor '{tensor}' has 10 bits; what is stored has at most 8"):
        verify(replace(artifact, formats={**artifact.formats, tensor: wide}))


CONV = [nn.Conv2d(3, 4, 1)]


@pytest.mark.parametrize(
    "function, name",
    [
        (lambda m, x: F.silu(m(x)), "silu"),
        (lambda m, x: (y := m(x)) * torch.sigmoid(y), "silu"),
        (lambda m, x: torch.sigmoid(y := m(x)) * y, "silu"),
        (lambda m, x: F.gelu(m(x), approximate="tanh"), "gelu_tanh"),
        (lambda m, x: F.prelu(m(x), torch.tensor([0.2])), "leaky_relu(0.2)"),
        (lambda m, x: F.celu(m(x), 2.0), "elu(2, 1, 0.5)"),
        (lambda m, x: F.softplus(m(x)), "softplus(1)"),
        (lambda m, x: torch.abs(m(x)), "abs"),
    ],
)
def test_forms_that_users_write(function, name):
    network = import_module(Fn(lambda m, x: m[1](function(m[0], x)), *CONV, nn.Conv2d(4, 2, 1)).eval(), (3, 5, 5), "form")
    assert [n.op for n in network.graph.nodes] == ["conv", "lookup", "conv"]
    assert str(network.graph.nodes[1].function) == name


def test_a_value_with_another_reader_is_copied_for_its_table():
    module = Fn(lambda m, x: m[1]((y := m[0](x)) + F.silu(y)), *CONV, nn.Conv2d(4, 2, 1)).eval()
    graph = import_module(module, (3, 5, 5), "form").graph
    assert sorted(n.op for n in graph.nodes) == ["add", "conv", "conv", "identity", "lookup"]


def test_the_index_ends_where_the_function_is_flat():
    """Far to the left SiLU is zero; to the right it is not flat at all."""
    assert 5 < index_end(FunctionCall("silu"), -100, 4, "here") < 12
    assert index_end(FunctionCall("silu"), -3, 40, "here") > 39.8
    assert index_end(FunctionCall("leaky_relu", (0.1,)), -7, 3, "here") > 6.9
    assert 4 < index_end(FunctionCall("sigmoid"), -100, 100, "here") < 9


def seen(values: np.ndarray, signed: bool = True) -> Histogram:
    """The histogram of a tensor of one block."""
    histogram, x = Histogram((0, 1)), torch.from_numpy(values.astype(np.float32)).reshape(1, 1, 1, -1)
    histogram.add(x.abs(), np.array([np.abs(values).max()]))
    if signed:
        histogram.negative = Histogram((0, 1))
        histogram.negative.add((-x).clamp(min=0), np.array([max(-values.min(), 0.0)]))
    return histogram


@pytest.mark.parametrize("call", [FunctionCall("hardswish"), FunctionCall("sigmoid"), FunctionCall("leaky_relu", (0.1,))], ids=str)
@pytest.mark.parametrize("bits", [3, 5, 8])
def test_an_index_has_the_bits_that_its_results_need(call, bits):
    """Against the squared errors of the values themselves, entry by entry."""
    values = np.random.default_rng(bits).normal(0, 1.2, 40_000)
    index, target = BlockFormat(10, True, (0, 1), (-6,)), BlockFormat(bits, True, (0, 1), (3 - bits,))
    step, wanted = 2.0 ** target.exponents[0], call.record("here").evaluate(values, *call.arguments)

    def error(width: int) -> float:
        source = BlockFormat(width, True, (0, 1), (4 - width,))
        table = table_of(call, source, target, "here")
        q = np.clip(np.floor(values / 2.0 ** source.exponents[0] + 0.5), source.low, source.high).astype(int)
        return float(((table[q % 2**width] * step - wanted) ** 2).mean())

    own = float(((np.clip(np.floor(wanted / step + 0.5), target.low, target.high) * step - wanted) ** 2).mean())
    found = index_bits(call, index, target, seen(values), "here")
    assert all(error(width) <= (1 + SHARE) * own * 1.02 for width in range(found, 10))
    assert found == 2 or error(found - 1) > (1 + SHARE) * own * 0.98
    assert found <= bits + 4


def test_the_width_of_a_signed_index_needs_signs():
    index, target = BlockFormat(10, True, (0, 1), (-6,)), BlockFormat(8, True, (0, 1), (-5,))
    with pytest.raises(BfpError, match="here: the width of its table's index needs the signs of its operand"):
        index_bits(FunctionCall("silu"), index, target, seen(np.ones(4), signed=False), "here")


@pytest.mark.parametrize("bits", [4, 5])
def test_narrow_results_have_short_tables_of_one_length(bits, monkeypatch):
    artifact, *rest = quantised(modules(), (3, 18, 18), BfpOptions(activations=bits))
    lengths = {len(p.table) for p in artifact.parameters.values() if p.table is not None}
    assert len(lengths) == 1 and max(lengths) < 2**10
    monkeypatch.setattr("calib.formats.table_range.SHARE", -1.0)  # no error is small enough: ten bits
    widest, *others = quantised(modules(), (3, 18, 18), BfpOptions(activations=bits))
    assert {len(p.table) for p in widest.parameters.values() if p.table is not None} == {2**10}
    assert noise_db(artifact, *rest) > noise_db(widest, *others) - 1
