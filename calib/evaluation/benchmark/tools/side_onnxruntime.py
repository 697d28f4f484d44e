"""ONNX Runtime: ``quantize_static`` of the exported network, run without fusions, so that what is computed is what is said."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from exchange import Given, Model, Row, serve
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

WEIGHTS = {(8, 8): QuantType.QInt8, (4, 8): QuantType.QInt4}  # activations have 8 bits or 16
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
INPUT = "image"


class Reader(CalibrationDataReader):
    """The calibration images, one after the other."""

    def __init__(self, given: Given) -> None:
        self.images = iter(given.calibration)

    def get_next(self) -> dict | None:
        image = next(self.images, None)
        return None if image is None else {INPUT: image[None].copy()}


def quantised(given: Given, widths: tuple[int, int], method: str) -> Model:
    """Exported, batch normalisations folded, a scale for each filter, one for each feature map."""
    with tempfile.TemporaryDirectory() as folder:
        plain, folded, done = (Path(folder) / f"{name}.onnx" for name in ("plain", "folded", "done"))
        batch = torch.export.Dim("batch")
        words = {"input_names": [INPUT], "dynamic_shapes": ({0: batch},), "opset_version": 21, "dynamo": True}
        torch.onnx.export(given.module, (given.example,), str(plain), external_data=False, verbose=False, **words)
        quant_pre_process(str(plain), str(folded), skip_symbolic_shape=True)
        quantize_static(
            str(folded), str(done), Reader(given), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=WEIGHTS[widths], calibrate_method=METHODS[method],
        )  # fmt: skip
        return running(done)


def running(path: Path) -> Callable[[torch.Tensor], object]:
    """The network of a file; every operator computes by itself, in float between quantising and dequantising."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {INPUT: batch.numpy()})[0]


def offered(widths: tuple[tuple[int, int], ...]) -> list[Row]:
    return [
        Row(f"{method}_{w}_{a}", f"quantize_static, {method}, per channel", w, a, partial(quantised, widths=(w, a), method=method))
        for w, a in widths if (w, a) in WEIGHTS for method in METHODS
    ]  # fmt: skip


if __name__ == "__main__":
    serve(onnxruntime.__version__, offered)
