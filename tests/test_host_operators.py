"""What the host computes behind the last tensor: from the module to the driver, and what files may say of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import lively
from support.quantised import quantised
from support.small_modules import Fn, conv
from torch import nn

from bfp import golden, host_operators
from bfp.artifact_file import load, save
from bfp.errors import BfpError
from calib.frontend.importer import import_module
from calib.network import float_model

VECTORS = {
    "softmax": (lambda y: F.softmax(y, 1), ("reshape.5", "softmax.1")),
    "softmax of the last axis": (lambda y: y.softmax(-1), ("reshape.5", "softmax.1")),
    "log softmax": (lambda y: F.log_softmax(y, dim=1), ("reshape.5", "log_softmax.1")),
    "sigmoid": (torch.sigmoid, ("reshape.5", "sigmoid")),
    "sigmoid in place": (lambda y: y.sigmoid_(), ("reshape.5", "sigmoid")),
    "tanh": (torch.tanh, ("reshape.5", "tanh")),
    "normalised": (F.normalize, ("reshape.5", "normalise.1")),
    "divided by the norm": (lambda y: y / y.norm(dim=1, keepdim=True), ("reshape.5", "normalise.1")),
    "argmax": (lambda y: y.argmax(1, keepdim=True), ("reshape.5", "argmax.1.1")),
    "top-k values": (lambda y: y.topk(3)[0], ("reshape.5", "largest.3.1")),
    "top-k indices": (lambda y: torch.topk(y, 2, dim=1).indices, ("reshape.5", "largest_at.2.1")),
    "softmax, largest": (lambda y: y.softmax(1).max(1, keepdim=True)[0], ("reshape.5", "softmax.1", "largest.1.1")),
    "answer": (lambda y: y.argmax(1), ("reshape.5", "argmax.1.1")),
    "answer, as predict writes it": (lambda y: y.softmax(-1).argmax(-1), ("reshape.5", "softmax.1", "argmax.1.1")),
    "its probability": (lambda y: y.softmax(1).max(1)[0], ("reshape.5", "softmax.1", "largest.1.1", "reshape.1")),
    "one of all": (lambda y: y[:, 2], ()),
    "flat": (lambda y: y[:, :1].reshape(-1), ()),
    "sum": (lambda y: y.sum(1), ()),
    "softmax in two groups": (lambda y: F.softmax(y[:, :4].view(-1, 2, 2), 2).flatten(1), None),
}
MAPS = {
    "softmax": (lambda y: F.softmax(y, 1), ("reshape.4.7.6", "softmax.1")),
    "argmax": (lambda y: y.argmax(1), ("reshape.4.7.6", "argmax.1.0")),
    "max": (lambda y: y.max(1)[1], ("reshape.4.7.6", "largest_at.1.1", "reshape.7.6")),
    "pixels first": (lambda y: y.permute(0, 2, 3, 1), ("reshape.4.7.6", "permute.0.2.3.1")),
    "pixels first, softmax": (lambda y: y.permute(0, 2, 3, 1).flatten(1, 2).softmax(-1), None),
    "transposed": (lambda y: y.mT, ("reshape.4.7.6", "permute.0.1.3.2")),
    "sigmoid of a vector": (lambda y: torch.sigmoid(y.flatten(1)), ("reshape.168", "sigmoid")),
}


def check_returned(module, steps):
    module = lively(module)
    network = import_module(module, (3, 9, 8), "net")
    assert steps is None or network.hosts.get(network.graph.output, ()) == steps
    torch.manual_seed(5)
    images = torch.randn(1, 3, 9, 8)
    wanted = module(images).detach().numpy()
    wanted = wanted.reshape(len(images), -1) if wanted.ndim == 1 else wanted  # one value of an image is a list of one
    np.testing.assert_allclose(float_model.returned(network, images), wanted, rtol=1e-5, atol=1e-6)
    return network


@pytest.mark.parametrize("case", VECTORS)
def test_of_vectors(case):
    function, steps = VECTORS[case]
    head = nn.Sequential(conv(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    network = check_returned(Fn(lambda m, x: function(m[0](x)), head), steps)
    assert [n.op for n in network.graph.nodes][-1] in ("conv", "slice_pad")


@pytest.mark.parametrize("case", MAPS)
def test_of_maps(case):
    function, steps = MAPS[case]
    network = check_returned(Fn(lambda m, x: function(m[0](x)), conv()), steps)
    assert [n.op for n in network.graph.nodes] == ["conv"]


SQUEEZED = {
    "linear behind it": (lambda m, x: m[1](F.adaptive_avg_pool2d(m[0](x), 1).squeeze()), ()),
    "softmax": (lambda m, x: F.relu(m[0](x).mean((2, 3))).squeeze().softmax(-1), ("reshape.4", "softmax.1")),
    "answer": (lambda m, x: m[0](x).mean((2, 3)).squeeze().argmax(0), ("reshape.4", "argmax.1.1")),
    "largest": (lambda m, x: m[0](x).squeeze(0).max(0)[0], ("reshape.4.7.6", "largest.1.1", "reshape.7.6")),
    "pixels first": (lambda m, x: m[0](x).squeeze().permute(1, 2, 0).softmax(2), ("reshape.4.7.6", "permute.0.2.3.1", "softmax.3")),
    "length": (lambda m, x: F.normalize(m[0](x).squeeze(0), dim=0), ("reshape.4.7.6", "normalise.1")),
    "a constant": (lambda m, x: m[0](x).squeeze(0) * torch.arange(1.0, 5)[:, None, None], ("reshape.4.7.6",)),
}


@pytest.mark.parametrize("case", SQUEEZED)
def test_a_batch_axis_that_a_squeeze_takes_away(case):
    """As ``squeeze`` without an axis does to a single image: what follows counts its axes without the batch."""
    function, steps = SQUEEZED[case]
    module = lively(Fn(function, conv(), nn.Linear(4, 5)))
    network = import_module(module, (3, 9, 8), "net")
    assert network.hosts.get(network.graph.output, ()) == steps
    images = torch.randn(1, 3, 9, 8)
    found, wanted = float_model.returned(network, images)[0], module(images).detach().numpy()
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-6)


def test_what_the_engine_can_do_is_not_left_to_the_host():
    """But for the shape, which outputs do not have that lie in memory as vectors."""
    shapes = {"4.7.6": lambda m, x: m[0](x).flip(1), "4.1.7.6": lambda m, x: m[0](x)[:, :, None], "7.6": lambda m, x: m[0](x)[:, 1]}
    for shape, function in shapes.items():
        found = import_module(lively(Fn(function, conv())), (3, 9, 8), "net").hosts
        assert list(found.values()) == [(f"reshape.{shape}",)]
    assert import_module(lively(Fn(lambda m, x: m[0](x).flatten(1), conv())), (3, 9, 8), "net").hosts == {}


@pytest.mark.parametrize(
    "function, reason",
    [
        (lambda m, x: m[1](m[0](x).cumsum(2)), "aten.cumsum is not supported"),  # not the last
        (lambda m, x: m[0](x).softmax(0), "aten.softmax.*softmax over .* is not supported"),  # over the batch
        (lambda m, x: m[0](x).argmax(), "aten.argmax is not supported"),  # of all images together
        (lambda m, x: F.normalize(m[0](x), p=3), "linalg_vector_norm"),
    ],
)
def test_what_the_host_does_not_take(function, reason):
    with pytest.raises(BfpError, match=reason):
        import_module(lively(Fn(function, conv(), conv(4))), (3, 9, 8), "net")


def test_from_the_artifact_to_what_is_returned(tmp_path):
    """Stored tensors are compared bit for bit; what the host makes of them, with a tolerance."""
    module = lively(Fn(lambda m, x: F.softmax(m[0](x), 1), nn.Sequential(conv(), nn.Flatten(), nn.Linear(168, 5))))
    artifact, network, images = quantised(module, (3, 9, 8))
    artifact = load(save(artifact, tmp_path / "artifact.npz") and tmp_path / "artifact.npz")
    assert artifact.result.host == network.hosts[network.graph.output] == ("reshape.5", "softmax.1")
    found = golden.returned(artifact, golden.quantise_input(artifact, images.numpy()))
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found, module(images).detach().numpy(), atol=0.05)


@pytest.mark.parametrize(
    "steps, reason",
    [
        (("sofmax.1",), "'sofmax.1' is not known"),
        (("softmax",), "does not have the numbers that softmax takes"),
        (("softmax.1.2",), "does not have the numbers"),
        (("softmax.x",), "does not have the numbers"),
        (("softmax.-1",), "does not have the numbers"),
        (("softmax.0",), "does not fit"),
        (("softmax.2",), "does not fit"),
        (("reshape.2.4",), "does not fit"),
        (("reshape.0.6",), "does not fit"),
        (("reshape.2.3", "permute.1.0.2"), "does not fit"),
        (("reshape.2.3", "permute.0.1"), "does not fit"),
        (("argmax.1.0",), "does not fit"),
        (("argmax.1.2",), "does not fit"),
        (("largest.7.1",), "does not fit"),
        (("largest.0.1",), "does not fit"),
        (("reshape.99999999999",), "does not have the numbers"),
        (("reshape.1.1.1.1.1.1.1.1.6",), "does not have the numbers"),
    ],
)
def test_steps_that_a_file_may_not_say(steps, reason):
    with pytest.raises(BfpError, match=f"network net: host operator .*{reason}"):
        host_operators.check(steps, 6, "network net")
    with pytest.raises(BfpError):
        host_operators.apply(steps, np.zeros((2, 6)))


def test_shapes_are_what_is_computed():
    steps = ("reshape.2.3.4", "permute.0.3.1.2", "softmax.1", "largest.2.1", "argmax.2.1", "sigmoid", "normalise.1", "tanh")
    values = np.random.default_rng(0).normal(size=(5, 24))
    shape = (1, 24)
    for n, step in enumerate(steps):
        operator, numbers = host_operators.parsed(step, "net")
        shape = operator.shape(shape, *numbers)
        assert host_operators.apply(steps[: n + 1], values).shape == (5, *shape[1:])


def test_large_values_do_not_overflow():
    values = np.array([[1e4, -1e4, 0.0]])
    with np.errstate(all="raise", under="ignore"):
        assert host_operators.apply(("sigmoid",), values).tolist() == [[1.0, 0.0, 0.5]]
        assert host_operators.apply(("softmax.1",), values).tolist() == [[1.0, 0.0, 0.0]]
        assert host_operators.apply(("normalise.1",), values * 0).tolist() == [[0.0, 0.0, 0.0]]
