"""PP-OCR's classifier of a text line's direction, from its package's ONNX file: float, accuracy, bit-equality.

Skipped where the package or onnx is not installed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from support.onnx_files import reference
from support.stored import stored_values
from support.text_lines import text_lines, write

from bfp.artifact_file import load
from calib import pipeline
from calib.config import SHIPPED, NetworkConfig, load_config
from calib.evaluation import evaluate
from calib.frontend.importer import import_module
from calib.network.float_model import returned
from calib.user_model import build_module
from codegen.__main__ import main as codegen
from host.__main__ import main as host
from host.image import normalise

pytest.importorskip("onnx")
PACKAGE = "rapidocr_onnxruntime"
if find_spec(PACKAGE) is None:
    pytest.skip("the package rapidocr-onnxruntime is not installed", allow_module_level=True)


def configuration(folder, bits: int, calibration: int, evaluation: int) -> NetworkConfig:
    """The network's file with freshly drawn lines and one width."""
    config = load_config(SHIPPED / "measured" / "text_direction.toml")
    archive = folder / "text_lines.npz"
    write(archive, calibration, evaluation)
    return replace(
        config,
        bfp=replace(config.bfp, weights=bits, activations=bits),
        calibration=replace(config.calibration, images=(f"{archive}:calibration",)),
        evaluation=replace(config.evaluation, images=(f"{archive}:evaluation:labels",)),
    )


def test_import_is_the_package_file_in_float(tmp_path):
    pytest.importorskip("onnxruntime")
    config = configuration(tmp_path, 8, 1, 1)
    assert PACKAGE not in sys.modules  # found without importing it
    network = import_module(build_module(config), config.input_shape, config.name)
    pixels, labels = text_lines(6, seed=2)
    images = normalise(pixels[..., ::-1], config.input)
    expected = np.concatenate([reference(config.onnx, images[i : i + 1]) for i in range(len(images))])
    found = returned(network, torch.from_numpy(images))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-3, atol=1e-5)
    assert (expected.argmax(1) == labels).mean() > 0.8  # lines that the network can read


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 5])
def test_text_direction_is_bit_equal(bits, tmp_path):
    artifact = pipeline.calibrate(configuration(tmp_path, bits, 3, 1), tmp_path)
    assert codegen(["csim", str(tmp_path), "--limit", "1"]) == 0
    files = ["--artifact", str(tmp_path / "artifact.npz"), "--samples", str(tmp_path / "samples.npz")]
    simulated = ["--simulate", str(tmp_path / "csim" / "libengine.so"), "--out", str(tmp_path / "board.json")]
    assert host(["check", str(tmp_path / "deploy"), *files, *simulated, "--limit", "1"]) == 0
    for result in ("csim", "board"):
        found = json.loads((tmp_path / f"{result}.json").read_text())
        assert found["mismatches"] == 0, found["first_mismatch"]
        assert found["values_compared"] >= stored_values(artifact, tmp_path / "deploy")


@pytest.mark.heavy
def test_text_direction_at_8_bits_is_as_good_as_float(tmp_path):
    config = configuration(tmp_path, 8, 32, 200)
    pipeline.calibrate(config, tmp_path)
    evaluate.evaluate(pipeline.prepare(config), load(tmp_path / "artifact.npz"), tmp_path)
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["images"] == 400
    assert result["top1_float"] > 0.9
    assert result["top1_bfp"] >= result["top1_float"] - 0.01
    assert result["agreement"] > 0.97
