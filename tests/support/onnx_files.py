"""ONNX files of a few nodes, and what onnxruntime makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)


def random(*shape):
    """Drawn float32 numbers."""
    return RNG.normal(size=shape).astype(np.float32)


def whole(*values):
    """Whole numbers, as shapes and axes are stored."""
    return np.array(values, np.int64)


CONV = ("Conv", ("x", "w", "b"), ("c",), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
WEIGHTS = {"w": random(4, 3, 3, 3), "b": random(4)}


def after(*nodes, **constants):
    """A convolution of four channels, and these nodes behind it; a node is (operator, further inputs, attributes)."""
    found, last = [CONV], "c"
    for n, (op, inputs, attributes) in enumerate(nodes):
        output = "y" if n == len(nodes) - 1 else f"t{n}"
        found.append((op, (last, *inputs), (output,), attributes))
        last = output
    return found, {**WEIGHTS, **constants}


def graph_of(nodes, constants, shape=(1, 3, 8, 9), outputs=("y",), opset=17, **changes):
    """A model. nodes: (operator, inputs, outputs, attributes) each; the input is x, of the shape (texts: left open)."""
    from onnx import TensorProto, helper, numpy_helper

    made = [helper.make_node(op, list(i), list(o), name=f"{op.lower()}/{n}", **a) for n, (op, i, o, a) in enumerate(nodes)]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    results = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
    graph = helper.make_graph(made, "net", ends, results, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **changes)


def write(folder: Path, model, name="net.onnx") -> Path:
    """The model's file."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def reference(path: Path, images: np.ndarray) -> np.ndarray:
    """The first output by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": images})[0]
