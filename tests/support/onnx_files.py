"""ONNX files of a few nodes, and what onnxruntime makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


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
