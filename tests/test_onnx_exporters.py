"""What exporters of TensorFlow, Paddle and PyTorch write, against onnxruntime; attributes that would change what is computed."""

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
# nodes, constants, and the operator set where it is not 17
FORMS = {
    "pad with a stored number": after(("Pad", ("p", "v"), {}), ("Conv", ("w2",), {}), p=whole(0, 0, 0, 1, 0, 0, 1, 2), v=np.float32(0), w2=random(5, 4, 3, 3)),
    "expand": after(("GlobalAveragePool", (), {}), ("Expand", ("s",), {}), ("Mul", ("c",), {}), s=whole(1, 4, 8, 9)),
    "square by a stored number": after(("Pow", ("two",), {}), ("Conv", ("w2",), {}), two=np.float32(2), w2=random(5, 4, 3, 3)),
    "gelu by a tangent": (*after(("Gelu", (), {"approximate": "tanh"})), 20),
    "softplus, softsign": after(("Softplus", (), {}), ("Softsign", (), {}), ("Selu", (), {}), ("Celu", (), {"alpha": 2.0}), ("ThresholdedRelu", (), {"alpha": 0.0})),
    "mish": (*after(("Mish", (), {})), 18),
    "einsum": after(("Einsum", ("m",), {"equation": "bchw,oc->bohw"}), m=random(5, 4)),
    "length of a vector": after(("GlobalAveragePool", (), {}), ("Flatten", (), {}), ("LpNormalization", (), {"axis": 1})),
    "length, written out": ([CONV, ("GlobalMaxPool", ("c",), ("g",), {}), ("Flatten", ("g",), ("f",), {}), ("ReduceL2", ("f",), ("n",), {"axes": [1]}), ("Clip", ("n", "e"), ("m",), {}),
                             ("Shape", ("f",), ("s",), {}), ("Expand", ("m", "s"), ("l",), {}), ("Div", ("f", "l"), ("y",), {})], {**WEIGHTS, "e": np.float32(1e-12)}),
    "average pool, same below": after(("AveragePool", (), {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": "SAME_LOWER"})),
    "max pool, uneven": after(("MaxPool", (), {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [1, 0, 0, 1]})),
    "linear, from the first pixel": after(("Resize", ("", "f"), {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}), ("Conv", ("w2",), {}),
        f=np.float32([1, 1, 2, 4]), w2=random(5, 4, 3, 3)),
    "single pixels, from the first": after(("Resize", ("", "f"), {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}), ("Conv", ("w2",), {}),
        f=np.float32([1, 1, 0.5, 1]), w2=random(5, 4, 3, 3)),
    "linear of two axes": (*after(("Resize", ("", "f"), {"mode": "linear", "axes": [3, 2]}), ("Conv", ("w2",), {}), f=np.float32([4, 2]), w2=random(5, 4, 3, 3)), 18),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_operators(case, tmp_path):
    pytest.importorskip("onnxruntime")
    nodes, constants, *opset = FORMS[case]
    path = write(tmp_path, graph_of(nodes, constants, shape=(1, 3, 8, 9), opset=opset[0] if opset else 17))
    network = import_module(onnx_module(path, (3, 8, 9)), (3, 8, 9), "net")
    images = random(1, 3, 8, 9)
    expected = reference(path, images)
    np.testing.assert_allclose(returned(network, torch.from_numpy(images)).reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), ("batch", "rows", "columns", 3), (1, 3, 8, 9)])
def test_channels_that_lie_behind_rows_and_columns(shape, tmp_path):
    last = shape[-1] == 3
    pytest.importorskip("onnxruntime")
    nodes = [("Transpose", ("x",), ("t",), {"perm": [0, 3, 1, 2] if last else [0, 1, 2, 3]}), ("Conv", ("t", "w", "b"), ("y",), {})]
    path = write(tmp_path, graph_of(nodes, WEIGHTS, shape=shape))
    network = import_module(onnx_module(path, (3, 8, 9)), (3, 8, 9), "net")
    images = random(1, 3, 8, 9)
    expected = reference(path, images.transpose(0, 2, 3, 1).copy() if last else images)
    found = returned(network, torch.from_numpy(images)).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


UNKNOWN = {
    "select_last_index": after(("ArgMax", (), {"axis": 1, "select_last_index": 1}), ("Cast", (), {"to": 1})),
    "cubic_coeff_a": after(("Resize", ("", "f"), {"mode": "cubic", "cubic_coeff_a": -0.5}), f=np.float32([1, 1, 2, 2])),
    "keep_aspect_ratio_policy": after(("Resize", ("", "", "z"), {"keep_aspect_ratio_policy": "not_larger"}), z=whole(1, 4, 16, 18)),
}


@pytest.mark.parametrize("attribute", UNKNOWN)
def test_attributes_that_would_mean_something_else_are_refused(attribute, tmp_path):
    path = write(tmp_path, graph_of(*UNKNOWN[attribute], shape=(1, 3, 8, 9), opset=18))
    with pytest.raises(BfpError, match=rf"node .*{attribute}"):
        onnx_module(path, (3, 8, 9))
