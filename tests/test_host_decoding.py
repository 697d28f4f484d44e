"""Whole decoders behind the last convolution, as detectors, pose networks and metric learners have them in forward: on the host, as torch."""

from __future__ import annotations

import base64
import math

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
from bfp.artifact_file import load, save
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from bfp.joined import JoinedOutput, text_of, verify_joined
from calib.frontend.importer import import_module
from calib.network import float_model
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard

SHAPE = (3, 16, 12)
BINS, CLASSES = 8, 3
SIZES = ((8, 6), (4, 3))
PLACES = sum(h * w for h, w in SIZES)


def maps(m, x):
    """Of half and of a quarter of the size, eight channels each."""
    y = F.relu(m[0](x))
    return y, F.relu(m[1](y))


def anchors():
    """Middles of the pixels of every size [2, places], and strides [1, places]."""
    points, strides = [], []
    for (h, w), stride in zip(SIZES, (2.0, 4.0)):
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        points.append(torch.stack([x, y], 0).view(2, -1))
        strides.append(torch.full((1, h * w), stride))
    return torch.cat(points, 1), torch.cat(strides, 1)


def distribution(m, x):
    """YOLOv8: bins to distances by softmax and a convolution, distances to boxes by anchors, sigmoid of the classes."""
    heads = [torch.cat([m[2](y), m[3](y)], 1).flatten(2) for y in maps(m, x)]
    box, classes = torch.cat(heads, 2).split((4 * BINS, CLASSES), 1)
    b, _, a = box.shape
    distance = m[4](box.view(b, 4, BINS, a).transpose(2, 1).softmax(1)).view(b, 4, a)
    points, strides = anchors()
    low, high = distance.chunk(2, 1)
    x1y1, x2y2 = points.unsqueeze(0) - low, points.unsqueeze(0) + high
    boxes = torch.cat(((x1y1 + x2y2) / 2, x2y2 - x1y1), 1) * strides
    return torch.cat((boxes, classes.sigmoid()), 1)


def integral(m, x):
    """NanoDet, YOLOv6: the bins times their numbers as a linear layer, corners limited to the picture."""
    found = []
    for y, stride in zip(maps(m, x), (2.0, 4.0)):
        bins = m[2](y).permute(0, 2, 3, 1).reshape(1, -1, 4, BINS)
        found.append(F.linear(F.softmax(bins, -1), torch.linspace(0, BINS - 1, BINS).view(1, -1)).squeeze(-1) * stride)
    distance, (points, strides) = torch.cat(found, 1), anchors()
    middles = (points * strides).t()[None]
    x1 = (middles[..., 0] - distance[..., 0]).clamp(min=0, max=SHAPE[2])
    y1 = (middles[..., 1] - distance[..., 1]).clamp(min=0, max=SHAPE[1])
    x2 = (middles[..., 0] + distance[..., 2]).clamp(min=0, max=SHAPE[2])
    y2 = (middles[..., 1] + distance[..., 3]).clamp(min=0, max=SHAPE[1])
    return torch.stack([x1, y1, x2, y2], -1)


def matrix(m, x):
    """The bins by a product with a vector (GFL), and the best class and its score."""
    y = maps(m, x)[0]
    bins = m[2](y).flatten(2).transpose(1, 2).reshape(1, -1, 4, BINS).softmax(3)
    scores, labels = m[3](y).flatten(2).transpose(1, 2).sigmoid().max(-1)
    return bins.matmul(torch.arange(float(BINS))), scores, labels


def einsum(m, x):
    """The bins by einsum, as multiplications of constants inside one of the newer heads."""
    y = maps(m, x)[1]
    bins = m[2](y).view(1, 4, BINS, -1).softmax(2)
    return torch.einsum("bkna,n->bka", bins, torch.arange(float(BINS)))


def priors(m, x):
    """SSD, RetinaFace: offsets of prior boxes, exponentials of sizes, corners; softmax of the classes."""
    box = torch.cat([m[5](y).permute(0, 2, 3, 1).reshape(1, -1, 4) for y in maps(m, x)], 1)
    scores = torch.cat([m[3](y).permute(0, 2, 3, 1).reshape(1, -1, CLASSES) for y in maps(m, x)], 1)
    points, strides = anchors()
    prior = torch.cat([(points * strides).t(), strides.t() * 2, strides.t() * 1.5], 1)
    middle = prior[:, :2] + box[..., :2] * 0.1 * prior[:, 2:]
    size = prior[:, 2:] * torch.exp(box[..., 2:] * 0.2)
    corners = torch.cat([middle - size / 2, middle + size / 2], -1)
    return corners, F.softmax(scores, -1)


def priors_in_place(m, x):
    """As RetinaFace's own code puts corners where sizes were, of the only image."""
    box = torch.cat([m[5](y).permute(0, 2, 3, 1).reshape(1, -1, 4) for y in maps(m, x)], 1)
    points, strides = anchors()
    prior = torch.cat([(points * strides).t(), strides.t() * 2, strides.t() * 1.5], 1)
    loc = box.squeeze(0)
    boxes = torch.cat((prior[:, :2] + loc[:, :2] * 0.1 * prior[:, 2:], prior[:, 2:] * torch.exp(loc[:, 2:] * 0.2)), 1)
    boxes[:, :2] -= boxes[:, 2:] / 2
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def centred(m, x):
    """FCOS: exponentials of scaled distances, the root of class score times centredness."""
    found = []
    for y, stride, scale in zip(maps(m, x), (2.0, 4.0), (0.9, 1.1)):
        distance = torch.exp(m[5](y) * scale) * stride
        score = torch.sqrt(m[3](y).sigmoid() * m[6](y).sigmoid())
        found.append(torch.cat([distance, score], 1).flatten(2))
    left, top, right, bottom, score = torch.cat(found, 2).split((1, 1, 1, 1, CLASSES), 1)
    points, strides = anchors()
    px, py = (points * strides).unsqueeze(1)
    return torch.cat([px - left, py - top, px + right, py + bottom, score], 1).permute(0, 2, 1)


def peaks(m, x):
    """CenterNet: values that are the largest of their neighbourhood, the best of them, and what other maps say there."""
    y = maps(m, x)[0]
    heat = m[3](y).sigmoid()
    kept = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat).float()
    scores, at = kept.view(1, CLASSES, -1).max(1)[0].topk(5)
    wh = m[5](y).flatten(2).permute(0, 2, 1).gather(1, at.unsqueeze(-1).expand(1, 5, 4))
    w = heat.shape[3]
    return torch.cat([(at % w).float().unsqueeze(-1), torch.div(at, w, rounding_mode="floor").float()[..., None], wh], -1), scores


def soft_argmax(m, x):
    """Keypoints: softmax over all pixels, times coordinates."""
    y = m[3](maps(m, x)[0])
    n, c, h, w = y.shape
    p = y.reshape(n, c, -1).softmax(-1).view(n, c, h, w)
    xs, ys = torch.linspace(0, 1, w), torch.linspace(0, 1, h)
    return torch.stack(((p.sum(2) * xs).sum(-1), (p.sum(3) * ys).sum(-1)), -1), p.amax((2, 3))


def hard_argmax(m, x):
    """SimpleBaseline: the place of the largest value and whether it counts."""
    y = m[3](maps(m, x)[0])
    flat = y.flatten(2)
    best, at = flat.max(-1, keepdim=True)
    place = torch.cat([at % y.shape[3], torch.div(at, y.shape[3], rounding_mode="floor")], -1).float()
    return torch.where(best > 0.1, place, torch.full_like(place, -1.0))


def segments(m, x):
    """Masks: classes by argmax where the best score passes a limit, and how many pixels each has."""
    p = F.interpolate(m[3](maps(m, x)[0]), scale_factor=2, mode="nearest").softmax(1)
    score, label = p.max(1)
    label = torch.where(score > 0.4, label, torch.zeros_like(label))
    return label, (p > 0.4).float().mean((2, 3)), torch.logical_and(score > 0.3, label != 1)


def metric(m, x):
    """Cosine similarity to constant prototypes (ArcFace)."""
    y = maps(m, x)[1].mean((2, 3))
    return F.linear(F.normalize(y), F.normalize(torch.arange(40.0).view(5, 8).sin())) * 16


def generalised_mean(m, x):
    """GeM pooling and the length of the vector."""
    y = maps(m, x)[1].clamp(min=1e-6).pow(3)
    return F.normalize(F.avg_pool2d(y, y.shape[2:]).pow(1.0 / 3).flatten(1), dim=-1)


def raw_too(m, x):
    """Decoded, the maps themselves, and one of them once more."""
    heads = [m[5](y) for y in maps(m, x)]
    return [torch.cat([h.flatten(2) for h in heads], 2).softmax(1).cumsum(1), *heads, heads[0].argmin(1)]


def only_image(m, x):
    """The first image taken out of the batch, numbers of one image, the other order of an axis."""
    y = m[5](maps(m, x)[0])[0].reshape(4, -1).t()
    y = y[:, [1, 0, 3, 2]]
    return {"boxes": y.flip(1) - y.mean(0), "far": y.norm(dim=1), "all": y.sigmoid().sum()}


def time_first(m, x):
    """Text recognition: the sequence in front of the batch, as CTC losses want it."""
    y = m[3](maps(m, x)[0]).amax(2)
    return F.log_softmax(y.permute(2, 0, 1), dim=2)


def row_by_row(m, x):
    """The same, through a linear layer of all places as rows."""
    y = m[3](maps(m, x)[0]).amax(2).permute(2, 0, 1)
    t, b, c = y.shape
    return m[8](y.reshape(t * b, c)).view(t, b, -1)


def with_constants(m, x):
    """SSD while it is trained: offsets, scores, and the priors, which are the same for every picture."""
    y = maps(m, x)[1]
    points, strides = anchors()
    return m[5](y).permute(0, 2, 3, 1).reshape(1, -1, 4), torch.cat([points.t(), strides.t()], 1), m[3](y).flatten(2)


def twins(m, x):
    """Two parts of one input compared: cosine, distances, and their statistics."""
    a, b = (m[5](maps(m, part)[0]).mean((2, 3)) for part in (x, x.flip(3)))
    both = torch.stack([a, b], 1)
    close = F.cosine_similarity(a, b), F.pairwise_distance(a, b), F.pairwise_distance(a, b, p=1, keepdim=True)
    return *close, both.std(2), both.var(2, unbiased=False, keepdim=True)


def several_opinions(m, x):
    """The mean of several softmaxes, stacked in front of the batch."""
    return torch.stack([m[layer](maps(m, x)[0]).flatten(1)[:, :4].softmax(1) for layer in (2, 3, 5)]).mean(0)


def attended(m, x):
    """Bins of a softmax over channels, weighed by a convolution and made larger (colorisation)."""
    p = m[4](m[2](maps(m, x)[1])[:, :BINS].softmax(1) * 0.5)
    return F.interpolate(p, scale_factor=4, mode="bilinear", align_corners=False) + m[7](p).amax((2, 3), keepdim=True)


def angles(m, x):
    """Orientation: arc tangents, remainders, roots, logarithms, powers of computed values."""
    a, b, c, d = m[5](maps(m, x)[0]).unbind(1)
    angle = torch.atan2(a, b.abs() + 0.1) + torch.remainder(c, 0.5) + torch.log1p(d.abs())
    return angle.sin(), torch.minimum(a, b).ceil() + torch.logsumexp(torch.stack([a, b, c], 1), 1), (c.abs() + 1) ** d


DECODERS = (
    distribution, integral, matrix, einsum, priors, priors_in_place, centred, peaks, soft_argmax, hard_argmax, segments, metric,
    generalised_mean, raw_too, only_image, time_first, row_by_row, with_constants, twins, several_opinions, attended, angles,
)  # fmt: skip
CASES = {f.__name__: f for f in DECODERS}
# what the engine computes besides convolutions and means
ENGINES = {
    "peaks": {"lookup", "max_pool"},
    "segments": {"upsample_nearest"},
    "generalised_mean": {"lookup", "depthwise"},
    "time_first": {"max_pool"},
    "row_by_row": {"max_pool"},
    "twins": {"add", "slice_pad"},  # a picture the other way round
    "angles": {"minimum", "slice_pad"},
}
SHARP = {"peaks", "hard_argmax", "segments", "matrix", "raw_too", "angles", "only_image"}  # of which rounding may choose another answer


def module_of(case):
    bins = nn.Conv2d(BINS, 1, 1, bias=False)
    layers = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), conv(8, 4 * BINS, 1), conv(8, CLASSES, 1), bins, conv(8, 4, 1), conv(8, 1, 1), nn.BatchNorm2d(1), nn.Linear(CLASSES, 5)
    module = lively(Fn(CASES[case], *layers))
    bins.weight.data[:] = torch.arange(float(BINS)).view(1, BINS, 1, 1)
    return module


def listed(found):
    return list(found.values()) if isinstance(found, dict) else [found]


@pytest.mark.parametrize("case", CASES)
def test_decoders_return_what_torch_returns(case, tmp_path):
    """Float network, and artifact after a file, whose stored tensors are those of the convolutions alone."""
    module = module_of(case)
    network = import_module(module, SHAPE, "net")
    torch.manual_seed(3)
    images = torch.randn(3, *SHAPE)
    found = listed(float_model.returned(network, images))
    assert {node.op for node in network.graph.nodes} - {"conv", "avg_pool"} == ENGINES.get(case, set())
    for n in range(3):
        wanted = [v.detach().numpy() for v in torch.utils._pytree.tree_leaves(module(images[n : n + 1]))]
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted):
            np.testing.assert_allclose(ours[n].reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)
    artifact, _, images = quantised(module, SHAPE)
    save(artifact, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    assert again.joins == artifact.joins == network.joins
    wanted = [v.detach().numpy() for v in torch.utils._pytree.tree_leaves(module(images[:1]))]
    returned = listed(golden.returned(again, golden.quantise_input(artifact, images[:1].numpy())))
    for ours, theirs in zip(returned, wanted):
        assert case in SHARP or np.abs(ours.reshape(theirs.shape) - theirs).max() < 0.15 * np.abs(theirs).max()


def test_the_driver_decodes_as_the_golden_model_does(tmp_path):
    made, _, images = quantised(module_of("distribution"), SHAPE)
    artifact, folder = build_of(tmp_path, made), tmp_path / "deploy"
    assert read_deployment(folder).joins == artifact.joins
    pixels = np.rint(images[0].numpy().transpose(1, 2, 0) * 128 + 127).astype(np.uint8)
    with Accelerator(folder, device=SimulatedBoard(tmp_path / "csim" / "libengine.so", folder)) as accelerator:
        found = accelerator.returned(pixels)
    wanted = golden.returned(artifact, golden.quantise_input(artifact, images[:1].numpy()))
    assert wanted.shape == (1, 4 + CLASSES, PLACES)
    np.testing.assert_array_equal(found, wanted[0])


@pytest.mark.parametrize(
    "function, reason",
    [
        (lambda m, x: m[5](m[1](maps(m, x)[0].cumsum(2))), "aten.cumsum is not supported"),  # a layer behind it
        (lambda m, x: m[5](maps(m, x)[0]).cumsum(2).sum(), "aten.cumsum is not supported"),  # over the batch
        (lambda m, x: F.softmax(m[3](maps(m, x)[0]).flatten(2).transpose(1, 2) @ m[3](maps(m, x)[0]).flatten(2), -1), "aten.matmul"),
        (lambda m, x: torch.fmod(m[5](maps(m, x)[0]).cumsum(2), 2), "aten.cumsum is not supported"),  # one of both it has not
        (lambda m, x: x.cumsum(2), "aten.cumsum is not supported"),  # nothing for the engine
        (lambda m, x: F.layer_norm(m[5](maps(m, x)[0]), (6,)), "layer_norm is not supported"),
        (lambda m, x: m[5](maps(m, x)[0]).cumsum(2) * torch.full((4, 8, 6), math.inf), "aten.cumsum"),
    ],
)
def test_what_is_no_plain_function_of_host_values_is_refused(function, reason):
    module = module_of("metric")
    module.function = function
    with pytest.raises(BfpError, match=reason):
        import_module(module, SHAPE, "net")


def constant(values, **fields):
    return JoinedOutput("c", (), 1, (), "constant", text_of(np.array(values)), **fields)


@pytest.mark.parametrize(
    "joins, reason",
    [
        ([constant([])], "no constant of finite numbers"),
        ([constant([np.nan])], "no constant of finite numbers"),
        ([JoinedOutput("c", (), 1, (), "constant", base64.b64encode(b"12345").decode())], "no constant of finite numbers"),
        ([JoinedOutput("c", ("a",), 1, (), "constant", text_of(np.ones(1)))], "no constant of finite numbers"),
        ([JoinedOutput("j", ("a", "b"), 1, (), "add", text_of(np.ones(1)))], "do not fit each other"),
        ([JoinedOutput("j", ("a",), 1, (), "add")], "do not fit each other"),
        ([JoinedOutput("j", (), 1)], "do not fit each other"),
        ([constant([1, 2]), JoinedOutput("j", ("a", "c"), 1, (), "add")], "do not fit each other"),
        ([constant([6]), JoinedOutput("j", ("a", "c"), 1, (), "take")], "elements that it takes are not there"),
        ([constant([0.5]), JoinedOutput("j", ("a", "c"), 1, (), "take")], "elements that it takes are not there"),
        ([JoinedOutput("j", ("a", "b"), 1, (), "take")], "elements that it takes are not there"),
        ([JoinedOutput("j", ("a", "b"), 1, (), "matmul")], "do not fit each other"),
        ([JoinedOutput("j", ("a", "b"), 2, (), "gather")], "do not fit each other"),
        ([JoinedOutput("j", ("a", "a", "a"), 1, ("expand.9",), "where")], "does not fit what is before it"),
    ],
)
def test_joins_that_a_file_may_not_say(joins, reason):
    with pytest.raises(BfpError, match=f"net.*{reason}"):
        verify_joined(joins, {"a": (1, 6), "b": (1, 6)}, "net")
