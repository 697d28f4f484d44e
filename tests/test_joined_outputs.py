"""Heads of several sizes that a network returns as one: the host puts them together, as torch does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.deployed import build_of
from support.imported import lively
from support.quantised import quantised
from support.small_modules import Fn, conv
from torch import nn

from bfp import golden
from bfp.artifact import verify
from bfp.artifact_file import load, save
from bfp.deployment import read_deployment
from bfp.detection import Detection
from bfp.errors import BfpError
from bfp.joined import JoinedOutput, results, verify_joined
from calib.frontend.importer import import_module
from calib.network import float_model
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard

A, K = 2, 6  # anchors, and numbers of a box
SHAPE = (3, 16, 12)


def maps(m, x):
    """Of half and of a quarter of the size."""
    y = F.relu(m[0](x))
    return y, F.relu(m[1](y))


def rows(y, numbers=K):
    return y.permute(0, 2, 3, 1).reshape(len(y), -1, numbers)


def decoded(y, stride):
    n, _, h, w = y.shape
    y = y.view(n, A, K, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
    places = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")[::-1], -1)
    return torch.cat([(y[..., :2] * 2 - 0.5 + places) * stride, (y[..., 2:4] * 2) ** 2, y[..., 4:]], -1).view(n, -1, K)


def pyramid(m, x):
    """Boxes and classes of every size, each as one list (RetinaNet, SSD)."""
    found = maps(m, x)
    return torch.cat([rows(m[2](y), 4) for y in found], 1), torch.cat([rows(m[3](y), 3) for y in found], 1).softmax(-1)


def flat(m, x):
    """Flattened, joined and only then in rows (SSD)."""
    return torch.cat([m[2](y).permute(0, 2, 3, 1).contiguous().view(len(y), -1) for y in maps(m, x)], 1).view(len(x), -1, 4)


def yolo(m, x):
    """Decoded heads as one, and the heads themselves."""
    heads = [m[4](y) for y in maps(m, x)]
    return torch.cat([decoded(y, s) for y, s in zip(heads, (2.0, 4.0))], 1), heads


def nested(m, x):
    """Boxes and scores of a size side by side, then the sizes one below the other, and a part of it all by its name."""
    each = [torch.cat([rows(m[2](y), 4), rows(m[3](y), 3).sigmoid()], -1) for y in maps(m, x)]
    return {"all": torch.cat(each, 1), "middle": m[3](maps(m, x)[0]).mean((2, 3))}


def parts_of(m, x):
    """Split again behind the join."""
    whole = torch.cat([m[4](y).flatten(2) for y in maps(m, x)], 2)
    box, score = whole.split((4, 2 * K - 4), 1)
    return box, score.sigmoid().transpose(1, 2), whole[:, :, 0]


def other_order(m, x):
    """Parts of one map in another order, and one of them twice; the exponential is the host's."""
    y = m[4](F.relu(m[0](x)))
    return torch.cat([y[:, 2:].exp(), y[:, :2], y[:, 1:3]], 1)


CASES = {f.__name__: f for f in (pyramid, flat, yolo, nested, parts_of, other_order)}


def module_of(case):
    layers = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), conv(8, 4), conv(8, 3), conv(8, A * K)
    return lively(Fn(CASES[case], *layers))


def leaves(found):
    found = torch.utils._pytree.tree_leaves(found)
    return [x.detach().numpy() for x in found]


@pytest.mark.parametrize("case", CASES)
def test_what_is_joined_is_torchs(case, tmp_path):
    module = module_of(case)
    network = import_module(module, SHAPE, "net")
    torch.manual_seed(3)
    images = torch.randn(2, *SHAPE)
    found, wanted = float_model.returned(network, images), leaves(module(images))
    assert "concat" not in {node.op for node in network.graph.nodes}
    found = list(found.values()) if isinstance(found, dict) else [found]
    assert len(found) == len(wanted) and network.joins
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)
    artifact, _, images = quantised(module, SHAPE)
    save(artifact, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    assert again.joins == artifact.joins != ()
    quantised_ = golden.returned(again, golden.quantise_input(artifact, images.numpy()))
    quantised_ = list(quantised_.values()) if isinstance(quantised_, dict) else [quantised_]
    for ours, theirs in zip(quantised_, leaves(module(images))):
        assert np.abs(ours.reshape(theirs.shape) - theirs).max() < 0.15 * np.abs(theirs).max()


def test_results_have_the_names_that_the_network_gives_them():
    network = import_module(module_of("nested"), SHAPE, "net")
    assert [join.name for join in network.joins][-1] == "all" and network.graph.outputs[-1] == "middle"
    assert list(float_model.returned(network, torch.randn(1, *SHAPE))) == ["all", "middle"]


def test_the_driver_joins_as_the_golden_model_does(tmp_path):
    made, _, images = quantised(module_of("yolo"), SHAPE)
    artifact, folder = build_of(tmp_path, made), tmp_path / "deploy"
    assert read_deployment(folder).joins == artifact.joins
    pixels = np.rint(images[0].numpy().transpose(1, 2, 0) * 128 + 127).astype(np.uint8)
    with Accelerator(folder, device=SimulatedBoard(tmp_path / "csim" / "libengine.so", folder)) as accelerator:
        found = accelerator.returned(pixels)
        values = accelerator.run(pixels)
    wanted = golden.returned(artifact, golden.quantise_input(artifact, images[:1].numpy()))
    assert list(found) == list(wanted) and set(values) == set(artifact.graph.outputs)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name][0])


def test_a_detectors_boxes_are_of_its_heads():
    artifact, _, _ = quantised(module_of("yolo"), SHAPE)
    detection = Detection(classes=1)
    one = replace(artifact, detection=detection)
    with pytest.raises(BfpError, match="no list of boxes one below the other; let the network return its heads"):
        verify(replace(one, joins=(replace(artifact.joins[0], host=(*artifact.joins[0].host, "sigmoid")),)))
    verify(one)


TWO = {"a": (1, 3, 2), "b": (1, 4, 2)}
GOOD = JoinedOutput("c", ("a", "b"), 1, ("reshape.7.2",))
WRONG = {
    "name": ((replace(GOOD, name="a"),), "another output has this name"),
    "unknown": ((replace(GOOD, parts=("a", "d")),), "its part 'd' is no output"),
    "axis": ((replace(GOOD, axis=2),), "do not fit each other along axis 2"),
    "no axis": ((replace(GOOD, axis=3),), "do not fit each other along axis 3"),
    "steps": ((replace(GOOD, host=("reshape.7.3",)),), "does not fit what is before it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_joined_is_refused(case):
    joins, why = WRONG[case]
    with pytest.raises(BfpError, match=why):
        verify_joined(joins, TWO, "network net")


def test_joins_of_joins_keep_the_order_of_their_first_parts():
    found = {name: np.full((1, n, 2), n, float) for name, n in (("x", 1), ("a", 3), ("b", 4))}
    joins = GOOD, JoinedOutput("d", ("c", "e"), 1)
    assert verify_joined((GOOD,), TWO, "net")["c"] == (1, 7, 2)
    given = results({**found, "e": np.zeros((1, 2, 2))}, joins)
    assert list(given) == ["x", "d"] and given["d"].shape == (1, 18)
