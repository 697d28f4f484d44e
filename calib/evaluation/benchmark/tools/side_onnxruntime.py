"""ONNX Runtime: ``quantize_static`` of the exported network, run without fusions, so that what is computed is what is said."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import onnxruntime
import torch
from exchange import Given, Model, Row, serve
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

WEIGHTS = {(8, 8): QuantType.QInt8, (4, 8): QuantType.QInt4}  # activations have 8 bits or 16
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
INPUT = "image"
WIDE = QuantType.QInt8  # of depthwise, first and last layers' weights where these are exempted


class Reader(CalibrationDataReader):
    """The calibration images, one after the other."""

    def __init__(self, given: Given) -> None:
        self.images = iter(given.calibration)

    def get_next(self) -> dict | None:
        image = next(self.images, None)
        return None if image is None else {INPUT: image[None].copy()}


def quantised(given: Given, widths: tuple[int, int], method: str, sensitive: bool) -> Model:
    """Exported, batch normalisations folded, a scale for each filter, one for each feature map."""
    with tempfile.TemporaryDirectory() as folder:
        plain, folded, done = (Path(folder) / f"{name}.onnx" for name in ("plain", "folded", "done"))
        batch = torch.export.Dim("batch")
        words = {"input_names": [INPUT], "dynamic_shapes": ({0: batch},), "opset_version": 21, "dynamo": True}
        torch.onnx.export(given.module, (given.example,), str(plain), external_data=False, verbose=False, **words)
        quant_pre_process(str(plain), str(folded), skip_symbolic_shape=True)
        overrides = sensitive_weights(folded) if sensitive else {}
        quantize_static(
            str(folded), str(done), Reader(given), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=WEIGHTS[widths], calibrate_method=METHODS[method],
            extra_options={"TensorQuantOverrides": overrides},
        )  # fmt: skip
        return running(done)


def sensitive_weights(path: Path) -> dict[str, list[dict]]:
    """Overrides for the weights of depthwise, first and last layers of a file, by name; a scale for each filter there, too."""
    graph = onnx.load(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in stored]
    found = {}
    for node in layers:
        words = {word.name: word.i for word in node.attribute}
        if node in (layers[0], layers[-1]) or words.get("group", 1) > 1:
            axis = 0 if node.op_type == "Conv" or words.get("transB", 0) else 1
            found[node.input[1]] = [{"quant_type": WIDE, "axis": axis}]
    return found


def running(path: Path) -> Callable[[torch.Tensor], object]:
    """The network of a file; every operator computes by itself, in float between quantising and dequantising."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {INPUT: batch.numpy()})[0]


def offered(widths: tuple[tuple[int, int], ...]) -> list[Row]:
    rows = []
    for w, a in widths:
        for method in METHODS if (w, a) in WEIGHTS else ():
            words = f"quantize_static, {method}, per channel"
            rows.append(Row(f"{method}_{w}_{a}", words, w, a, partial(quantised, widths=(w, a), method=method, sensitive=False)))
            if w < 8:
                made = partial(quantised, widths=(w, a), method=method, sensitive=True)
                words += ", depthwise, first and last layers' weights at 8 bits"
                rows.append(Row(f"{method}_sensitive_{w}_{a}", words, w, a, made))
    return rows


if __name__ == "__main__":
    serve(onnxruntime.__version__, offered)
