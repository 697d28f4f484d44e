"""Forms that a network may come in: programs, scripts, contexts, and what it returns beside its output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import check, lively
from support.small_modules import Fn, conv
from torch import nn
from torchvision.transforms import Normalize, functional

from bfp.errors import BfpError
from calib.frontend.importer import import_module
from calib.frontend.tracing import as_module
from calib.network.float_model import run

CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "autocast off": lambda: torch.autocast("cpu", enabled=False),
    "autocast of another device": lambda: torch.autocast("cuda"),
}


def block():
    return lively(nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(168, 4)))


@pytest.mark.parametrize("case", CONTEXTS)
def test_contexts_of_gradients_and_precision(case):
    def forward(m, x):
        with CONTEXTS[case]():
            y = F.relu(m[1](m[0](x)))
        return m[2](y)

    check(Fn(forward, conv(), nn.BatchNorm2d(4), conv(4)), operators="conv conv")


def test_decorated_forward():
    check(Fn(torch.no_grad()(lambda m, x: F.relu(m[0](x))), conv()), operators="conv")


def test_autocast_to_a_shorter_type_is_computed_in_float32():
    """The engine has a precision of its own; what is calibrated is the network in float32."""

    def forward(m, x):
        with torch.autocast("cpu", torch.bfloat16):
            y = F.relu(m[1](m[0](x)))
        return y.float()

    layers = conv(), nn.BatchNorm2d(4)
    short, plain = lively(Fn(forward, *layers)), lively(Fn(lambda m, x: F.relu(m[1](m[0](x))), *layers))
    network = import_module(short, (3, 9, 8), "net")
    images = torch.randn(2, 3, 9, 8)
    found = run(network, images)[network.graph.output].numpy()
    np.testing.assert_allclose(found, plain(images).detach().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found, short(images).detach().numpy(), rtol=0.1, atol=0.1)


RESULTS = {
    "pair with None": lambda y: (y, None),
    "list": lambda y: [y],
    "dict": lambda y: {"out": y},
    "dict with None": lambda y: {"out": y, "aux": None},
    "nested": lambda y: ({"logits": y}, None),
    "with a number": lambda y: (y, 3),
}


@pytest.mark.parametrize("case", RESULTS)
def test_what_a_network_returns(case):
    network = import_module(lively(Fn(lambda m, x: RESULTS[case](m[0](x)), conv())), (3, 9, 8), "net")
    assert [n.op for n in network.graph.nodes] == ["conv"]


@dataclass
class Result:
    logits: torch.Tensor
    more: dict
    count: int = 3
    aux: object = None


@dataclass
class Inner:
    scores: torch.Tensor


def test_dataclasses_that_a_network_returns():
    """However deep; torch does not know them before."""
    module = lively(Fn(lambda m, x: {"out": Result(m[0](x), {"inner": Inner(F.relu(m[1](x)))})}, conv(), conv()))
    for _ in range(2):
        network = import_module(module, (3, 9, 8), "net")
        assert network.graph.outputs == ("out.logits", "out.more.inner.scores")
    images = torch.randn(2, 3, 9, 8)
    found, wanted = run(network, images), module(images)["out"]
    np.testing.assert_allclose(found["out.logits"].numpy(), wanted.logits.detach().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["out.more.inner.scores"], wanted.more["inner"].scores.detach(), rtol=1e-4, atol=1e-4)


class Unknown:
    def __init__(self, value):
        self.value = value


def test_results_that_torch_does_not_know():
    with pytest.raises(BfpError, match="forward must return tensors, alone or in tuples, lists, dicts and dataclasses"):
        import_module(Fn(lambda m, x: Unknown(m[0](x)), conv()).eval(), (3, 9, 8), "net")
    with pytest.raises(BfpError, match="it holds lazy layers: give them an image of this size once"):
        import_module(nn.LazyConv2d(4, 3).eval(), (3, 9, 8), "net")


@pytest.mark.parametrize("normalise", [Normalize, functional.normalize], ids=["module", "function"])
def test_torchvisions_normalisation_inside_a_network(normalise):
    numbers = ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    if isinstance(normalise, type):
        check(nn.Sequential(normalise(*numbers), conv()), operators="conv")
    else:
        check(Fn(lambda m, x: m[0](normalise(x, *numbers)), conv()), operators="conv")
    kept = functional.normalize(torch.ones(3, 2, 2), *numbers)
    assert torch.allclose(kept, (torch.ones(3, 2, 2) - torch.tensor(numbers[0])[:, None, None]) / torch.tensor(numbers[1])[:, None, None])


FORMS = {
    "traced": lambda m: torch.jit.trace(m, torch.zeros(1, 3, 9, 8)),
    "scripted": torch.jit.script,
    "frozen": lambda m: torch.jit.freeze(torch.jit.script(m)),
    "program": lambda m: torch.export.export(m, (torch.zeros(1, 3, 9, 8),)),
    "program for a batch": lambda m: torch.export.export(m, (torch.zeros(4, 3, 9, 8),), dynamic_shapes=({0: torch.export.Dim("n")},)),
    "program's module": lambda m: torch.export.export(m, (torch.zeros(1, 3, 9, 8),)).module(),
    "symbolic trace": torch.fx.symbolic_trace,
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_of_a_network(case):
    module = block()
    network = import_module(FORMS[case](module), (3, 9, 8), "net")
    assert [n.op for n in network.graph.nodes] == ["conv", "conv"]
    images = torch.randn(2, 3, 9, 8)
    found = run(network, images)[network.graph.output].flatten(1).numpy()
    np.testing.assert_allclose(found, module(images).detach().numpy(), rtol=1e-4, atol=1e-4)


class Looping(nn.Module):
    def forward(self, x):
        while bool(x.sum() > 0):
            x = x - 1
        return x


def test_a_script_that_torch_cannot_export():
    with pytest.raises(BfpError, match="network net is a TorchScript module .*; give the module it was made from"):
        import_module(torch.jit.script(Looping()), (3, 9, 8), "net")


def test_what_is_no_network():
    assert as_module(3) is None
    with pytest.raises(BfpError, match="network net: give a torch.nn.Module"):
        import_module(torch.zeros, (3, 9, 8), "net")


SHORT = {
    "gated halves": lambda m, x: m[1](F.glu(m[0](x), 1)),
    "a sum of products": lambda m, x: torch.einsum("nchw,oc->nohw", m[2](x), m[3].weight),
    "of every pixel": lambda m, x: torch.tensordot(m[2](x).permute(0, 2, 3, 1), m[3].weight.t(), dims=1).permute(0, 3, 1, 2),
}


@pytest.mark.parametrize("case", SHORT)
def test_operators_that_are_short_for_others(case):
    check(Fn(SHORT[case], conv(3, 8), conv(4), conv(), nn.Linear(4, 5)))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = conv()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += 1
        return self.layer(x)


def test_a_counter_that_nothing_depends_on():
    check(Counting(), operators="conv")


class OfDict(nn.Module):
    def forward(self, batch):
        return F.relu(batch["image"])


def test_a_picture_in_a_dict_and_parts_that_are_joined():
    with pytest.raises(BfpError, match="forward must take the picture itself, no dict or list that holds it"):
        import_module(OfDict(), (3, 9, 8), "net")
    layers = conv(3, 64), conv(3, 64, stride=2), nn.Conv1d(54, 2, 3)
    heads = Fn(lambda m, x: m[2](torch.cat([m[0](x).flatten(2).mT, m[1](x).flatten(2).mT], 1)), *layers)
    with pytest.raises(BfpError, match="return the parts that are joined one by one, and join them where the result is read"):
        import_module(heads.eval(), (3, 9, 8), "net")
