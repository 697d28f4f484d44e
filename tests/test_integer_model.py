"""The torch integer model against the golden model on every tensor, and at the edges of float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.random_graphs import random_artifact
from support.random_inputs import random_input

from bfp import BfpError, golden
from bfp.artifact import Artifact, Preprocessing, verify
from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from bfp.operators import OPERATORS
from bfp.parameters import Weights, derive
from calib import pipeline
from calib.evaluation import integer_ops
from calib.config import SHIPPED, load_config
from calib.evaluation.evaluate import check
from calib.evaluation.integer_model import IntegerModel, choose_device, full_precision
from calib.evaluation.integer_ops import Factors

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
    ),
]


def assert_equal(artifact: Artifact, x: np.ndarray, device: torch.device) -> None:
    want, got = golden.run(artifact, x), IntegerModel(artifact, device).run(x)
    assert set(got) == set(want) == set(artifact.graph.shapes)
    for tensor, values in want.items():
        assert np.array_equal(got[tensor].cpu().numpy(), values), f"{artifact.graph.name}: {tensor}"


@pytest.mark.parametrize("device", DEVICES)
def test_random_graphs_are_equal_in_every_tensor(device):
    """Odd shapes, every operator, widths 2 to 8, exponents far apart, saturating data; several images a batch."""
    operators = set()
    for seed in range(40):
        artifact = random_artifact(seed, lanes=16)
        x = np.concatenate([random_input(artifact, 3 * seed + i) for i in range(3)])
        assert_equal(artifact, x, device)
        operators |= {n.op for n in artifact.graph.nodes}
    assert operators == set(OPERATORS)


@pytest.mark.heavy
@pytest.mark.parametrize("device", DEVICES)
def test_a_thousand_random_graphs_are_equal(device):
    for seed in range(1000, 2000):
        artifact = random_artifact(seed, lanes=(2, 4, 16)[seed % 3])
        assert_equal(artifact, random_input(artifact, seed), device)


def shipped(name: str) -> tuple[Artifact, np.ndarray]:
    config = load_config(SHIPPED / f"{name}.toml")
    config = replace(config, calibration=replace(config.calibration, limit=4, augment=1))
    prepared = pipeline.prepare(quickest(config))
    artifact = pipeline.quantise(prepared, pipeline.gather(prepared))
    return artifact, golden.quantise_input(artifact, pipeline.some_images(prepared, 2))


def quickest(config):
    """Only equality is looked at."""
    return replace(config, bfp=replace(config.bfp, method="max", equalise="none", sort_channels=False))


@pytest.mark.parametrize("name", ["mobilenet_v2_small"])
def test_shipped_network_is_equal_in_every_tensor(name):
    assert_equal(*shipped(name), CPU)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name", ["resnet20", "resnet56", "inceptionv4_small", "resnet50_small", "vgg16_small", "efficientnet_lite0"]
)
@pytest.mark.parametrize("device", DEVICES)
def test_other_shipped_networks_are_equal(name, device):
    assert_equal(*shipped(name), device)


def conv_network(mantissas: np.ndarray, size: tuple[int, int], window: Window, unsigned: bool = True) -> Artifact:
    """One convolution with the given int8 mantissas, all exponents 0, and an output that keeps the sums' low bits."""
    filters, channels = mantissas.shape[:2]
    source = BlockFormat(8, not unsigned, (0, channels), (0,))
    target = BlockFormat(8, True, (0, filters), (0,))
    weights = Weights(8, mantissas, (0, channels), np.zeros((filters, 1), np.int64))
    node = Node("conv", "conv", ("in",), "out", window)
    p = derive(node, source, target, None, weights, np.zeros(filters))
    shapes = {"in": (channels, *size), "out": (filters, *window.output_size(*size))}
    graph = Graph("edge", ("in",), ("out",), (node,), shapes)
    artifact = Artifact.of_one(graph, {"in": source, "out": target}, {"conv": p}, Preprocessing(size, (0.0,) * channels, (1.0,) * channels))
    verify(artifact)
    return artifact


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [57, 58, 115, 240, 700])
def test_sums_at_the_ends_of_the_range_keep_their_last_bit(channels, device):
    """3x3 kernels, where Winograd would be chosen, with every term at the ends of its range.

    127 * 255 * 9 * 57 is just below 2**24: one more channel needs a second product, many need float64.
    """
    rng = np.random.default_rng(channels)
    mantissas = rng.choice([-127, 127], (32, channels, 3, 3)).astype(np.int8)
    mantissas[0], mantissas[1] = 127, -127  # the largest sums there can be
    mantissas[:, -1, 1, 1] = 1  # and odd
    artifact = conv_network(mantissas, (9, 7), Window((3, 3), (1, 1), (1, 0, 2, 1)))
    x = rng.choice([0, 1, 254, 255], (17, channels, 9, 7)).astype(np.int16)
    x[0] = 255
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * 9)
    want = columns.astype(np.int64) @ mantissas.reshape(32, -1).T.astype(np.int64)
    model = IntegerModel(artifact, device)
    got = integer_ops.conv(model.layers["conv"], torch.from_numpy(x.astype(np.float32)).to(device))
    assert np.array_equal(got.permute(0, 2, 3, 1).reshape(-1, 32).cpu().numpy(), want)
    assert_equal(artifact, x, device)


def test_a_convolution_routine_in_float32_would_not_be_exact_everywhere():
    """Why the bound matters: beyond it one float32 product is wrong."""
    mantissas = np.full((1, 700, 3, 3), 127, np.int8)
    mantissas[:, 350:] = -127
    mantissas[0, 0, 0, 0] = 126
    artifact = conv_network(mantissas, (9, 7), Window((3, 3)))
    model = IntegerModel(artifact, CPU)
    rng = np.random.default_rng(0)
    x = rng.choice([253, 255], (4, 700, 9, 7)).astype(np.int16)
    check(model, x)
    layer = model.layers["conv"]
    assert layer.factors.matrices[0].dtype == torch.float64 or len(layer.factors.matrices) > 1
    weights = torch.from_numpy(mantissas.astype(np.float32)).flatten(1)
    layer = replace(layer, factors=Factors((weights,), ((0, 700),)))
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), (3, 3), axis=(2, 3))
    sums = np.einsum("fcij,nchwij->nfhw", mantissas.astype(np.int64), windows)
    one = integer_ops.conv(layer, torch.from_numpy(x.astype(np.float32))).numpy()
    assert not np.array_equal(one, sums)


def test_the_same_input_gives_the_same_integers_in_any_batch():
    artifact = random_artifact(5, lanes=16)
    x = np.concatenate([random_input(artifact, i) for i in range(7)])
    model = IntegerModel(artifact, CPU)
    whole = model.logits(x)
    assert np.array_equal(whole, np.concatenate([model.logits(x[:2]), model.logits(x[2:])]))
    assert np.array_equal(whole, golden.logits(artifact, x))


def test_blocks_of_columns_do_not_change_anything(monkeypatch):
    monkeypatch.setitem(integer_ops.COLUMN_VALUES, "cpu", 1)
    artifact = random_artifact(7, lanes=16)
    assert_equal(artifact, np.concatenate([random_input(artifact, i) for i in range(3)]), CPU)


def test_a_wrong_integer_is_found_and_named():
    artifact = random_artifact(3, lanes=16)
    model = IntegerModel(artifact, CPU)
    x = random_input(artifact, 1)
    check(model, x)
    name, layer = next(iter(model.layers.items()))
    model.layers[name] = replace(layer, high=layer.high - 1, low=layer.high - 1)
    with pytest.raises(BfpError, match=f"tensor {layer.node.output}: torch on cpu computes"):
        check(model, x)


def test_devices():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(BfpError, match="device 'tpu' is not known; give one of auto, cpu, cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(BfpError, match="finds no GPU"):
            choose_device("cuda")


def test_precision_is_raised_and_put_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_products_that_lose_bits_are_refused(monkeypatch):
    """A device whose products are rounded to bfloat16, as a reduced-precision mode would."""
    exact = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: exact(a.bfloat16(), b.bfloat16()).float())
    with pytest.raises(BfpError, match="float32 matrix products on cpu lose bits"):
        IntegerModel(random_artifact(0, lanes=16), CPU)
