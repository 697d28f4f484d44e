"""Few calibration images, and such as do not look like pictures: ranges reach as far as other images need."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from bfp import artifact_file
from bfp.artifact import Preprocessing
from calib import auto, pipeline
from calib.__main__ import main
from calib.config import load_config
from calib.data.images import random_photograph
from calib.frontend.importer import import_module
from calib.network import float_model
from calib.network.executor import execute
from calib.network.float_ops import APPLY
from calib.observers.channel_ranges import ChannelRanges
from calib.observers.extreme_values import margins
from calib.observers import trained_ranges
from calib.observers.trained_ranges import trained_ends, trained_values
from calib.observers.training_likeness import Likeness, training_likeness
from calib.network.float_network import TrainedSums
from calib.transforms.channel_permutation import permuted
from calib.transforms.range_centring import centred, shiftable
from calib.transforms.rescaling import rescaled
from calib.zoo.weights import load_weights
from host.image import normalise

PRE = Preprocessing((16, 16), (127.0,) * 3, (64.0,) * 3)
NET = '''
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, x, hidden):
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(x, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.project, self.norm3 = nn.Conv2d(hidden, x, 1, bias=False), nn.BatchNorm2d(x)

    def forward(self, x):
        y = torch.relu(self.norm1(self.expand(x)))
        return x + self.norm3(self.project(torch.relu(self.norm2(self.depthwise(y)))))

def make(width=16):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), Block(width, 2 * width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )
'''


def module(train=True):
    """A network whose batch normalisations have seen photographs, as far as ``train`` says so."""
    scope = {}
    exec(NET, scope)  # the very text that the network files below name
    torch.manual_seed(0)
    made = scope["make"]()
    if train:
        load_weights(made, "random", 0, photographs(32, 100))
    return made.eval()


def pictures(count, first=0):
    """uint8 [count, 16, 16, 3] whose contrast differs from picture to picture, as photographs' does."""
    return np.stack([np.asarray(random_photograph(PRE, np.random.default_rng([5, first + i]))) for i in range(count)])


def photographs(count, first=0):
    return torch.from_numpy(normalise(pictures(count, first), PRE))


def noise(count):
    return torch.from_numpy(
        normalise(np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8), PRE)
    )


def measured(network, images):
    """Mean and deviation of the sums of all layers that know of training, by node."""
    found = {}

    def compute(node, operands):
        if node.weighted and network.weights[node.name].trained is not None:
            sums = APPLY[node.op](node, network, operands).double().transpose(0, 1).flatten(1).numpy()
            found[node.name] = sums.mean(1), sums.std(1)
        return float_model.compute(node, network, operands)

    with torch.no_grad():
        execute(network.graph, compute, network.entry(images), keep=())
    return found


def assert_known(network, images, count):
    # random weights get a floor under the variance of channels that hardly do anything
    found = measured(network, images)
    assert len(found) == count
    for name, (mean, deviation) in found.items():
        trained = network.weights[name].trained
        scale = float(deviation.max())
        assert np.allclose(trained.mean, mean, atol=1e-3 * scale), name
        assert np.allclose(trained.deviation, deviation, rtol=0.05, atol=1e-3 * scale), name


def test_running_statistics_are_those_of_the_sums_and_stay_so_through_the_transforms():
    network, images = import_module(module(), (3, 16, 16), "toy"), photographs(32, 100)
    assert_known(network, images, 5)
    rng = np.random.default_rng(0)
    sizes = {t: s[0] for t, s in network.graph.shapes.items()}
    assert shiftable(network.graph)
    assert_known(centred(network, lambda t: rng.normal(size=sizes[t])), images, 5)
    assert_known(permuted(network, {t: rng.random(c) for t, c in sizes.items()}), images, 5)
    hidden = next(n for n in network.graph.nodes if n.op == "depthwise")
    factors = {t: np.exp2(rng.normal(size=sizes[t])).astype(np.float32) for t in (hidden.main, hidden.output)}
    assert_known(rescaled(network, factors), images, 5)


def test_batch_norms_that_have_measured_nothing_say_nothing():
    network = import_module(module(train=False), (3, 16, 16), "toy")
    assert all(w.trained is None for w in network.weights.values())
    found = training_likeness(network, noise(2))
    assert found.divergence is None and found.alike and not trained_values(network)


class Narrowing(nn.Module):
    """A residual sum whose shortcut takes every other pixel and adds channels of zeros, in front and behind."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)

    def forward(self, x):
        x = torch.relu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(x)) + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))


def test_a_shortcut_of_fewer_pixels_and_more_channels_hands_on_what_training_saw():
    made = nn.Sequential(Narrowing(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()
    load_weights(made, "random", 0, photographs(32, 100))
    network = import_module(made, (3, 16, 16), "toy")
    known, graph = trained_values(network), network.graph
    (slicing,) = (n for n in graph.nodes if n.op == "slice_pad")
    placed, before = known[slicing.output], known[slicing.main]
    zeros = np.zeros(4)
    active = trained_ranges._activated(network, slicing.main, known)  # the relu stands between the two
    assert np.allclose(placed.mean, np.concatenate([zeros, active.mean, zeros]))
    assert np.allclose(placed.deviation, np.concatenate([zeros, active.deviation, zeros])) and len(before.mean) == 8
    # so that it is known how far the pool and the logits behind it reach
    assert graph.outputs[0] in known and len(known[graph.outputs[0]].mean) == 10
    of_sum = known[next(n.output for n in graph.nodes if n.shortcut is not None)]
    own = network.weights[next(n.name for n in graph.nodes if n.shortcut is not None)].trained
    assert np.allclose(of_sum.mean, own.mean + placed.mean)


def test_padded_pixels_hide_what_training_saw():
    made = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ZeroPad2d(1), nn.MaxPool2d(2)).eval()
    load_weights(made, "random", 0, photographs(32, 100))
    network = import_module(made, (3, 16, 16), "toy")
    padding = [n for n in network.graph.nodes if n.op == "slice_pad"]
    assert padding and not {n.output for n in padding} & set(trained_values(network))


def test_grouped_layers_keep_what_is_known_only_where_their_filters_stay():
    grouped = nn.Sequential(nn.Conv2d(16, 16, 3, groups=2, bias=False), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1)).eval()
    load_weights(grouped, "random", 0, torch.randn(8, 16, 8, 8))
    network = import_module(grouped, (16, 8, 8), "toy")
    for node in network.graph.weighted():
        trained = network.weights[node.name].trained
        assert trained is None or len(trained.mean) == len(network.weights[node.name].bias)


@pytest.mark.parametrize("samples", [1, 4, 64, 1000])
@pytest.mark.parametrize("top", [15, 127, 255])
def test_margins_suit_exponential_tails(samples, top):
    """Where the largest of so many values is as large as it mostly is, hardly any factor errs less on the next value."""
    mean = (1 / np.arange(1, samples + 1)).sum()
    fresh = np.random.default_rng(samples).exponential(size=4_000_000)

    def error(factor):
        end = factor * mean
        return float((np.maximum(fresh - end, 0) ** 2).mean() + (end / top) ** 2 / 12)

    chosen = float(margins(np.array([samples]), top)[0])
    assert error(chosen) <= 1.5 * min(error(f) for f in 1.25 ** np.arange(14))
    assert samples == 1000 or error(chosen) < error(1.0)


def test_margins_fall_with_samples_and_with_width():
    many = margins(np.array([1, 4, 16, 64, 1000, 10**6]), 255)
    assert np.all(np.diff(many) < 0) and many[-1] == 1
    assert np.all(margins(np.array([1, 4, 16]), 15) < many[:3])


@pytest.mark.parametrize("top", [15, 255])
def test_trained_ends_have_the_least_error_of_a_laplace_distribution(top):
    known = TrainedSums(np.array([0.5, -1.0, 0.0]), np.array([1.0, 4.0, 0.0]))
    ends = trained_ends(known, top, True)
    values = np.random.default_rng(0).laplace(size=4_000_000) / np.sqrt(2)
    for c, end in enumerate(ends[:2]):
        x = known.mean[c] + known.deviation[c] * values

        def error(e):
            return float((np.maximum(x - e, 0) ** 2).mean() + (e / top) ** 2 / 12)

        assert error(end) <= 1.1 * min(error(end * f) for f in np.exp2(np.linspace(-1.5, 1, 20)))
    assert ends[2] == 0


def test_likeness_tells_noise_from_what_was_trained_on():
    network = import_module(module(), (3, 16, 16), "toy")
    single, eight = (training_likeness(network, photographs(n)) for n in (1, 8))
    assert eight.alike and eight.divergence < single.divergence
    for bad in (noise(8), torch.zeros(8, 3, 16, 16), 255 * photographs(8)):
        assert not training_likeness(network, bad).alike
    assert Likeness(64, 0.02).alike and not Likeness(64, 0.1).alike


def test_an_average_reaches_as_far_as_other_images_need():
    """One value an image: the largest of four says little, that of many thousands says all."""

    class Graph:
        inputs, shapes = ("x",), {"x": (32, 1, 1), "t": (32, 1, 1)}

    def bounds(count):
        ranges = ChannelRanges(Graph, {"t"})
        values = torch.from_numpy(np.random.default_rng(1).exponential(size=(count, 32, 1, 1))).float()
        for part in values.split(64):
            ranges.observe("x", part)
            ranges.observe("t", part)
        found = ranges.bounds("t", (0, 16, 32), 8, False, np.ones(32))
        return ranges, None if found is None else found / ranges.maximum["t"].reshape(2, 16).max(1).repeat(16)

    assert np.all(bounds(1)[1] >= 11) and np.all(bounds(4)[1] > 1.5) and bounds(20_000)[1] is None
    ranges, _ = bounds(4)
    assert ranges.held_out.values == 4 * 32 and ranges.held_out.saturated < 4
    assert bounds(1)[0].held_out.values == 0  # nothing there to judge by


TOML = """
model = "few_images_net:make"
weights = "net.pth"
classes = "cifar10"
[input]
size = 16
mean = 127
std = 64
[calibration]
images = "calibration.npz"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "few_images_net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(module().state_dict(), tmp_path / "net.pth")
    return tmp_path


def calibrated(folder, images, bfp="", capsys=None):
    np.savez(folder / "calibration.npz", images=images)
    (folder / "toy.toml").write_text(TOML + bfp)
    assert main(["calibrate", str(folder / "toy.toml"), "--out", str(folder / "out")]) == 0
    return artifact_file.load(folder / "out" / "artifact.npz")


def unseen_db(folder, artifact):
    images = photographs(64, 1000)
    network = pipeline.prepare(load_config(folder / "toy.toml"), adapted=False).network
    reference = float_model.logits(network, images).double().numpy()
    return auto.sqnr_db(artifact, images.numpy(), reference)


@pytest.mark.parametrize("kind", ["one", "four", "noise"])
def test_auto_is_not_below_the_plain_maximum(folder, kind):
    noisy = np.random.default_rng(3).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    images = {"one": pictures(1), "four": pictures(4), "noise": noisy}[kind]
    plain = unseen_db(folder, calibrated(folder, images, '[bfp]\nmethod = "max"\nactivation_group = 16\n'))
    assert unseen_db(folder, calibrated(folder, images)) >= plain


def test_the_user_is_told_what_the_ranges_rest_on(folder, capsys):
    artifact = calibrated(folder, pictures(24))
    said, record = capsys.readouterr(), artifact.provenance["ranges"]
    assert "chosen from 24 images, which give every channel 24 values or more" in said.out and "saturate" in said.out
    assert record["photographs"] == record["samples"] == 24
    assert 0 <= record["saturating"] < 0.01 and record["unseen_db"] > 20
    json.dumps(record)
    assert not artifact.provenance["notes"] and "calibration images do not" not in said.err
    # what it is told to expect is what other images get
    assert f"expect about {record['output_db']:.1f} dB" in said.out and "on 6 images held out" in said.out
    assert abs(record["output_db"] - unseen_db(folder, artifact)) < 2


@pytest.mark.parametrize(
    "images, held_out, wanted",
    [
        (pictures(1), 0, "from one calibration image, which gives some channels no more than 1 value;"),
        (pictures(4), 1, "from 4 calibration images, which give some channels no more than 4 values;"),
        (np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), 5, "do not look like those"),
    ],
    ids=["one", "four", "noise"],
)
def test_the_user_is_warned_and_promised_nothing(folder, capsys, images, held_out, wanted):
    artifact = calibrated(folder, images)
    said, ranges = capsys.readouterr(), artifact.provenance["ranges"]
    assert wanted in said.err and any(wanted in n for n in artifact.provenance["notes"])
    assert f", {len(images)} image{'s' * (len(images) > 1)}; weights of" in said.out
    assert " dB" not in said.out and not {"output_db", "unseen_db"} & set(ranges)
    assert artifact.provenance["held_out"] == held_out  # an image that corrections saw is not called held out
