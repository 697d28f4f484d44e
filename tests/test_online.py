"""Online block floating point: against plain loops, and against the static maximum."""

import itertools
import json

import numpy as np
import pytest
import torch
from support.random_graphs import random_artifact
from support.small_modules import Fn
from support.quantised import pixels
from torch import nn

from bfp import BfpError
from bfp.artifact import Preprocessing
from bfp.format import BlockFormat, exponent_for_maximum, mantissa_range
from calib.network import fake_quant
from calib.network import float_model
from calib.__main__ import main
from calib.config import load_config
from calib.options import BfpOptions
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.frontend.importer import import_module
from calib.evaluation.baselines.online import OnlineNetwork, round_online
from calib.evaluation.baselines.variable_kernels import shifted, variable_kernels
from calib.pipeline import calibrate
from calib.formats.plan import plan
from calib.observers.statistics import Statistics

PRE = Preprocessing((6, 6), (127.0,) * 3, (128.0,) * 3)


def direct(x, splits, bits, signed):
    """Image by image, block by block: the exponent by trying, the mantissas by rounding."""
    low, high = mantissa_range(bits, signed)
    result = np.zeros_like(x)
    for n in range(len(x)):
        for a, b in zip(splits, splits[1:]):
            block = x[n, a:b]
            if not np.abs(block).max():
                continue
            e = next(e for e in range(-60, 60) if np.floor(np.abs(block).max() / 2.0**e + 0.5) <= high)
            result[n, a:b] = np.clip(np.floor(block / 2.0**e + 0.5), low, high) * 2.0**e
    return result


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("signed", [True, False])
def test_rounding_is_that_of_plain_loops(bits, signed):
    rng = np.random.default_rng(bits)
    x = rng.laplace(size=(5, 9, 4, 3)) * np.exp2(rng.integers(-9, 9, (5, 9, 1, 1)))
    x = x if signed else np.abs(x)
    x[1, 4:8] = 0
    for splits in ((0, 9), (0, 4, 8, 9)):
        got = round_online(torch.from_numpy(x), splits, bits, signed).numpy()
        assert np.array_equal(got, direct(x, splits, bits, signed))


def module():
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 1),
        nn.AvgPool2d(2),
        nn.Linear(8 * 9, 5),
    )

    def forward(m, x):
        first = torch.relu(m[0](x))
        second = m[2](nn.functional.relu6(m[1](first))) + first
        return m[4](m[3](torch.relu(second)).flatten(1))

    return Fn(forward, *layers)


def test_network_is_that_of_plain_rounding_between_layers():
    """Every layer in float64 between roundings, with weights rounded in plain loops."""
    network = import_module(module().eval(), (3, 6, 6), "toy")
    options = BfpOptions(weights=5, activations=6, weight_group=4, activation_group=4, method="online")
    images = pixels((3, 6, 6), PRE, 3).numpy()
    fixed = plan(network.graph, options, PRE)
    got = OnlineNetwork(network, fixed).run(images)

    rounded = {}
    for node in network.graph.nodes:
        if node.name not in network.weights:
            continue
        w, c = network.weights[node.name].weight.astype(np.float64), network.weights[node.name].weight.shape[1]
        groups = tuple(range(0, c, 4)) + (c,)
        rounded[node.name] = FloatWeights(direct(w, groups, 5, True), network.weights[node.name].bias.astype(float))
    plain = FloatNetwork(network.graph, rounded)
    values = {"": None, network.graph.input: direct(images.astype(float), fixed.splits[network.graph.input], 6, True)}
    for node in network.graph.nodes:
        operands = [torch.from_numpy(values[t]) for t in node.inputs]
        out = float_model.compute(node, plain, operands).numpy()
        values[node.output] = direct(out, fixed.splits[node.output], 6, fixed.signed[node.output])
    for tensor, want in values.items():
        if tensor:
            assert np.array_equal(got[tensor].numpy(), want), tensor
    assert np.array_equal(OnlineNetwork(network, fixed).logits(images), got[network.graph.output].flatten(1))


def test_no_value_is_rounded_further_than_by_the_static_maximum():
    """An image's own exponent is at most that of all images together: its grid holds every point of theirs."""
    network = import_module(module().eval(), (3, 6, 6), "toy")
    options = BfpOptions(activations=5, activation_group=4)
    fixed = plan(network.graph, options, PRE)
    statistics = Statistics(network.graph, fixed.splits)
    values = float_model.run(network, pixels((3, 6, 6), PRE, 8), observe=statistics.observe)
    better = 0
    for tensor, x in values.items():
        splits, signed = fixed.splits[tensor], fixed.signed[tensor]
        exponents = exponent_for_maximum(statistics.block_maximum(tensor, splits), 5, signed)
        fmt = BlockFormat(5, signed, splits, tuple(int(e) for e in exponents))
        static = (fake_quant.fake_quantise(x.double(), fmt) - x).abs()
        online = (round_online(x.double(), splits, 5, signed) - x).abs()
        assert (online <= static).all(), tensor
        better += int((online < static).sum())
    assert better


def test_scale_and_neighbours_do_not_matter():
    """Exponents follow the values: what is scaled by a power of two stays equal, and images do not meet."""
    x = torch.from_numpy(np.random.default_rng(0).laplace(size=(4, 6, 5, 5)))
    want = round_online(x, (0, 3, 6), 4, True)
    assert torch.equal(round_online(x * 2.0**-17, (0, 3, 6), 4, True), want * 2.0**-17)
    for n in range(4):
        assert torch.equal(round_online(x[n : n + 1], (0, 3, 6), 4, True), want[n : n + 1])
    assert torch.equal(round_online(want, (0, 3, 6), 4, True), want)


@pytest.mark.parametrize("seed", range(3, 15))
def test_random_graphs_of_every_operator(seed):
    """At 8 bits the reference is close to the float network, whatever its operators."""
    artifact = random_artifact(seed, lanes=8)
    network = FloatNetwork(artifact.graph, fake_quant.real_network(artifact).weights)
    options = BfpOptions(weight_group=8, activation_group=8, method="online")
    shape = artifact.graph.shapes[artifact.graph.input]
    pre = Preprocessing(shape[1:], (127.0,) * shape[0], (128.0,) * shape[0])
    images = pixels(shape, pre, 2, seed).double()
    exact = images
    values = {artifact.graph.input: exact}
    with torch.no_grad():
        for node in artifact.graph.nodes:
            values[node.output] = float_model.compute(node, network, [values[t] for t in node.inputs])
    reference = values[artifact.graph.output].flatten(1).numpy()
    got = OnlineNetwork(network, plan(network.graph, options, pre)).logits(images.numpy())
    assert ((got - reference) ** 2).sum() <= 0.01 * (reference**2).sum()


def test_values_that_are_not_finite_are_refused_with_the_layer():
    network = import_module(module().eval(), (3, 6, 6), "toy")
    online = OnlineNetwork(network, plan(network.graph, BfpOptions(method="online"), PRE))
    first = network.graph.nodes[0].name
    online.network.weights[first].bias[2] = np.inf
    with pytest.raises(BfpError, match=f"activations of layer {first} hold NaN or infinity"):
        online.logits(pixels((3, 6, 6), PRE, 1).numpy())


def test_no_artifact_can_be_online(tmp_path):
    (tmp_path / "net.py").write_text("from test_online import module as make\n")
    (tmp_path / "toy.toml").write_text(
        'model = "net:make"\n[input]\nsize = 6\nmean = 127\nstd = 128\n[calibration]\nimages = "random"\nlimit = 2\n'
        '[bfp]\nmethod = "online"\n'
    )
    with pytest.raises(BfpError, match="'online' finds exponents at run time, so that no artifact can hold them"):
        calibrate(load_config(tmp_path / "toy.toml"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert main(["calibrate", str(tmp_path / "toy.toml"), "--out", str(tmp_path / "out")]) == 2
    # the reference can be evaluated all the same
    assert main(["evaluate", str(tmp_path / "toy.toml"), "--out", str(tmp_path / "out"), "--limit", "1"]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["images"] == 1 and found["method"] == "online" and found["sqnr_db"] > 20


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_variable_kernels_are_those_of_plain_loops(bits):
    """Block by block: stretched and rounded, and no other factor errs less in the L2 norm."""
    rng = np.random.default_rng(bits)
    weight = rng.laplace(size=(4, 5, 3, 2)).astype(np.float32)
    weight[1, 2:4] = 0
    graph = import_module(module().eval(), (3, 6, 6), "toy").graph
    layer, depthwise = graph.weighted()[:2]
    chosen = plan(graph, BfpOptions(weights=bits), PRE).layers[layer.name]
    got = variable_kernels(layer, weight, (0, 2, 4, 5), chosen)
    for f, (a, b), y, x in itertools.product(range(4), ((0, 2), (2, 4), (4, 5)), range(3), range(2)):
        block, found = weight[f, a:b, y, x].astype(np.float64), got[f, a:b, y, x]
        top = 2 ** (bits - 1) - 1
        kernel = np.floor(block / (np.abs(block).max() or 1) * top + 0.5)
        if kernel.any():
            factor = (found / np.where(kernel == 0, 1, kernel))[kernel != 0]
            assert factor == pytest.approx(factor[0]) and not found[kernel == 0].any()
            errors = [np.sum((kernel * factor[0] * step - block) ** 2) for step in (1, 0.999, 1.001)]
            assert errors[0] <= min(errors[1:])
        else:
            assert not found.any()
    # a depthwise filter is one block
    windows = variable_kernels(depthwise, weight[:, :1], (0, 1), chosen).reshape(4, -1)
    assert all(len(np.unique(np.abs(w[w != 0]))) <= 2 ** (bits - 1) for w in windows)
    assert np.allclose(windows, shifted(weight[:, :1], bits, (1, 2, 3)).reshape(4, -1))


def test_both_references_are_evaluated_by_their_names(tmp_path, capsys):
    """The same activations, other weights; no artifact of either."""
    (tmp_path / "kernels_beside.py").write_text(
        "import torch\nfrom torch import nn\ndef make():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 9, 3), nn.AvgPool2d(2), nn.Flatten())\n"
    )
    found = {}
    for method in ("online", "dsconv"):
        path = tmp_path / f"{method}.toml"
        path.write_text(
            'model = "kernels_beside:make"\n[input]\nsize = 6\nmean = 127\nstd = 64\n[calibration]\nimages = "random"\nlimit = 4\n'
            f'[bfp]\nmethod = "{method}"\nweights = 4\nweight_group = 32\nactivation_group = 32\n'
        )
        assert main(["evaluate", str(path), "--out", str(tmp_path / method)]) == 0
        found[method] = json.loads((tmp_path / method / "evaluation.json").read_text())
        assert found[method]["method"] == method and found[method]["artifact"] is None
        assert main(["calibrate", str(path), "--out", str(tmp_path / method)]) == 2
        assert f"[bfp] method '{method}' finds exponents at run time" in capsys.readouterr().err
    assert found["dsconv"]["sqnr_db"] > found["online"]["sqnr_db"]  # a float factor for each block, and not a power of two
    assert load_config(tmp_path / "dsconv.toml").bfp.weight_group == 32
