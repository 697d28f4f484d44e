"""Forms of ONNX operators that are easily taken for others: against onnxruntime, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.onnx_files import CONV, WEIGHTS, after, graph_of, random, reference, whole, write

from bfp.errors import BfpError
from calib.frontend.importer import import_module
from calib.frontend.onnx.network import onnx_module
from calib.network.float_model import returned

pytest.importorskip("onnx")
FORMS = {
    "functions": after(("Softplus", (), {}), ("Celu", (), {"alpha": 0.5}), ("Selu", (), {}), ("Softsign", (), {}), ("Selu", (), {"gamma": 2.0})),
    "slopes": after(("PRelu", ("s",), {}), s=random(4, 1, 1)),
    "power and padding": after(("Pow", ("two",), {}), ("Pad", ("p", "v"), {}), ("Conv", ("w2",), {}),
                               two=np.float32(2), p=whole(0, 0, 1, 0, 0, 0, 0, 2), v=np.float32(0.5), w2=random(5, 4, 3, 3)),
    "largest values": ([CONV, ("GlobalAveragePool", ("c",), ("g",), {}), ("Flatten", ("g",), ("f",), {}), ("TopK", ("f", "k"), ("y", "i"), {})],
                       {**WEIGHTS, "k": whole(2)}),
    "length": ([CONV, ("Flatten", ("c",), ("f",), {}), ("ReduceL2", ("f",), ("n",), {"axes": [1]}), ("Clip", ("n", "tiny"), ("m",), {}),
                ("Shape", ("f",), ("s",), {}), ("Expand", ("m", "s"), ("d",), {}), ("Div", ("f", "d"), ("y",), {})], {**WEIGHTS, "tiny": np.float32(1e-12)}),
    "half-way": after(("Resize", ("", "f"), {"nearest_mode": "round_prefer_ceil"}), f=np.float32([1, 1, 1.5, 1.7])),
    "half precision": ([("Cast", ("h",), ("w",), {"to": 1}), ("Conv", ("x", "w"), ("y",), {})], {"h": random(4, 3, 3, 3).astype(np.float16)}),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_operators(case, tmp_path):
    pytest.importorskip("onnxruntime")
    path = write(tmp_path, graph_of(*FORMS[case], shape=(1, 3, 8, 9)))
    images = random(1, 3, 8, 9)
    expected = reference(path, images)
    found = returned(import_module(onnx_module(path, (3, 8, 9)), (3, 8, 9), "net"), torch.from_numpy(images))
    found = next(iter(found.values())) if isinstance(found, dict) else found
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_films(tmp_path):
    pytest.importorskip("onnxruntime")
    nodes = [("Conv", ("x", "w"), ("c",), {}), ("MaxPool", ("c",), ("y",), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]})]
    shape, images = (3, 6, 5, 7), random(1, 3, 6, 5, 7)
    path = write(tmp_path, graph_of(nodes, {"w": random(4, 3, 3, 2, 2)}, shape=(1, *shape)))
    network = import_module(onnx_module(path, shape), shape, "net")
    found = returned(network, torch.from_numpy(images.swapaxes(1, 2).reshape(1, 18, 5, 7)))
    np.testing.assert_allclose(found.reshape(1, 4, 2, 2, 3), reference(path, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "nodes, constants, reason",
    [
        ([("Resize", ("x", "", "f"), ("y",), {})], {"f": np.float32([1, 2, 1, 1])}, "only rows and columns can grow"),
        ([("Resize", ("x", "", "f"), ("y",), {})], {"f": np.float32([1, 1, 2**15, 2**15])}, "makes more than"),
        ([("Conv", ("x", "w"), ("y",), {"pads": [2**15] * 4})], {"w": random(4, 3, 1, 1)}, "makes more than"),
        ([("Dropout", ("x", "r", "t"), ("y",), {})], {"r": np.float32(0.5), "t": np.array(True)}, "stays in training"),
        ([("BatchNormalization", ("x", *"ssss"), ("y",), {"training_mode": 1})], {"s": np.ones(3, np.float32)}, "stays in training"),
    ],
)  # fmt: skip
def test_what_would_be_computed_otherwise_is_refused(nodes, constants, reason, tmp_path):
    path = write(tmp_path, graph_of(nodes, constants, shape=(1, 3, 8, 3)))
    with pytest.raises(BfpError, match=reason):
        import_module(onnx_module(path, (3, 8, 3)), (3, 8, 3), "net")


def test_an_output_that_is_the_same_for_every_image_is_returned(tmp_path):
    """As priors are beside a detector's heads."""
    priors = random(5, 4)
    nodes = [CONV, ("Softmax", ("c",), ("y",), {"axis": 1}), ("Mul", ("p", "two"), ("q",), {})]
    path = write(tmp_path, graph_of(nodes, {**WEIGHTS, "p": priors, "two": np.float32(2)}, outputs=("y", "q", "p")))
    found = returned(import_module(onnx_module(path, (3, 8, 9)), (3, 8, 9), "net"), torch.from_numpy(random(1, 3, 8, 9)))
    assert len(found) == 3
    for values, wanted in zip(list(found.values())[1:], (2 * priors, priors)):
        np.testing.assert_allclose(np.asarray(values).reshape(5, 4), wanted, rtol=1e-6)


def test_slopes_lie_along_the_last_axis(tmp_path):
    """As many slopes as columns, and as channels, are those of the columns."""
    pytest.importorskip("onnxruntime")
    path = write(tmp_path, graph_of([("PRelu", ("x", "s"), ("y",), {})], {"s": random(3)}, shape=(1, 3, 8, 3)))
    images = random(1, 3, 8, 3)
    found = returned(import_module(onnx_module(path, (3, 8, 3)), (3, 8, 3), "net"), torch.from_numpy(images))
    expected = reference(path, images)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["forward", "inputs", "half"])
def test_nodes_may_be_called_as_what_a_module_has(name, tmp_path):
    model = graph_of([("Relu", ("x",), ("y",), {})], {})
    model.graph.node[0].name = name
    assert import_module(onnx_module(write(tmp_path, model), (3, 8, 9)), (3, 8, 9), "net").graph.nodes[0].name == f"{name}_2"
