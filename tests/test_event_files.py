"""TensorBoard event files: read back, and compared with the values that they count."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from bfp import BfpError, golden
from bfp.artifact_file import load
from bfp.format import dequantise
from calib.network import float_model
from calib.__main__ import main as calib
from calib.config import load_config
from calib.evaluation.event_files import Distribution, write_event_files
from calib.network.fake_quant import real_network
from calib.pipeline import prepare

TOML = """
model = "net_of_events:make"
[input]
size = 10
mean = [127.0, 127.0, 127.0]
std = [128.0, 128.0, 128.0]
[calibration]
images = "random"
limit = 40
[bfp]
weights = 5
activations = 6
"""
IMAGES = 35  # two batches, the second one cut


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    (folder / "net_of_events.py").write_text("from test_refine import mobile_block as make\n")
    (folder / "toy.toml").write_text(TOML)
    assert calib(["calibrate", str(folder / "toy.toml"), "--out", str(folder)]) == 0
    for _ in range(2):  # the second run replaces the first
        words = ["tensorboard", str(folder / "toy.toml"), "--out", str(folder), "--limit", str(IMAGES)]
        assert calib(words) == 0
    return folder


def events(folder, run):
    """Tag to bucket array [left, right, count]; also the raw histogram sums that were written."""
    accumulator = EventAccumulator(str(folder / "tensorboard" / run), {"histograms": 0, "tensors": 0})
    accumulator.Reload()
    found = {}
    for tag in accumulator.Tags()["histograms"]:
        (event,) = accumulator.Histograms(tag)
        found[tag] = event.histogram_value
    for tag in accumulator.Tags()["tensors"]:
        (event,) = accumulator.Tensors(tag)
        found[tag] = tensor_util.make_ndarray(event.tensor_proto)
    return found


def check(histogram, values):
    """Sums and extremes of the values, and as many of them in each bucket."""
    values = np.asarray(values, np.float64).ravel()
    assert histogram.num == values.size == sum(histogram.bucket)
    assert histogram.min == values.min() and histogram.max == values.max()
    assert histogram.sum == pytest.approx(values.sum(), rel=1e-6, abs=1e-6)
    assert histogram.sum_squares == pytest.approx((values**2).sum(), rel=1e-6)
    limits = np.array(histogram.bucket_limit)
    assert np.all(np.diff(limits) > 0) and histogram.bucket[-1] > 0
    # a value on a limit may count to either side: 1e-9 of the range makes room for both
    slack = 1e-9 * np.abs(values).max()
    seen = np.cumsum(histogram.bucket)
    assert np.all(seen <= [np.count_nonzero(values <= limit + slack) for limit in limits])
    assert np.all(seen >= [np.count_nonzero(values < limit - slack) for limit in limits])


def test_every_layer_in_float_and_quantised(folder):
    config, artifact = load_config(folder / "toy.toml"), load(folder / "artifact.npz")
    prepared = prepare(config)
    images = np.concatenate(list(prepared.calibration.batches(64)))[:IMAGES]
    exact = float_model.run(prepared.network, torch.from_numpy(images))
    integers = golden.run(artifact, golden.quantise_input(artifact, images))
    layers = [n.name for n in artifact.graph.nodes]
    assert len(list((folder / "tensorboard").iterdir())) == 2
    for run, network in (("float", prepared.network), ("bfp", real_network(artifact))):
        found = events(folder, run)
        tags = {"activations/input"} | {f"activations/{name}" for name in layers}
        tags |= {f"{part}/{name}" for name in network.weights for part in ("weights", "bias")}
        assert set(found) == tags
        for name, w in network.weights.items():
            check(found[f"weights/{name}"], w.weight)
            check(found[f"bias/{name}"], w.bias)
        for tensor in artifact.graph.shapes:
            producer = artifact.graph.producer(tensor)
            values = exact[tensor].numpy() if run == "float" else dequantise(integers[tensor], artifact.formats[tensor])
            check(found[f"activations/{producer.name if producer else 'input'}"], values)


@pytest.mark.parametrize("kind", ["signed", "positive", "negative", "zeros", "one sided ranges", "growing"])
def test_distributions_of_every_kind(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000).astype(np.float32)
    x[::7] = 0
    x = {
        "signed": x,
        "positive": np.abs(x),
        "negative": -np.abs(x),
        "zeros": 0 * x,
        "one sided ranges": np.where(x < 0, x * 1e-4, x).astype(np.float32),
        "growing": np.sort(np.abs(x)) * np.sign(x),
    }[kind].astype(np.float32)
    d = Distribution()
    for part in torch.from_numpy(x).split(999):
        d.add(part)
    raw = d.raw()

    class Histogram:
        num, sum, sum_squares, min, max = (raw[k] for k in ("num", "sum", "sum_squares", "min", "max"))
        bucket, bucket_limit = raw["bucket_counts"], raw["bucket_limits"]

    check(Histogram, x)


def test_refusals(folder, tmp_path, capsys):
    config, artifact = load_config(folder / "toy.toml"), load(folder / "artifact.npz")
    other = load_config(folder / "toy.toml", {"input": {"size": 12, "mean": 127, "std": 128}})
    with pytest.raises(BfpError, match="run `doit calibrate` again"):
        write_event_files(prepare(other), artifact, tmp_path / "events")
    prepared = prepare(config)
    first = artifact.graph.nodes[0].name
    prepared.network.weights[first].bias[0] = np.nan
    with pytest.raises(BfpError, match=f"activations of layer {first} hold NaN or infinity"):
        write_event_files(prepared, artifact, tmp_path / "events")
    assert not (tmp_path / "events").exists()
    assert calib(["tensorboard", str(folder / "toy.toml"), "--out", str(tmp_path)]) == 2
    assert "artifact.npz" in capsys.readouterr().err
