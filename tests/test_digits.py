"""Train, calibrate, generate, simulate: a CNN for scikit-learn's digits, with nothing from outside."""

from __future__ import annotations

import json
from pathlib import Path

from support import digits_model
import numpy as np
import pytest
import torch
from support.stored import stored_values
from support.digits import MEAN, STD, TEST, folder, write_network  # noqa: F401 (a fixture)

from bfp.artifact_file import load
from bfp.golden import logits, quantise_input
from bfp.samples import load_samples
from calib.__main__ import main as calib
from calib.config import load_config
from codegen.__main__ import main as codegen
from host.__main__ import main as host
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard


def whole_path(network: Path, out: Path) -> dict[str, dict]:
    """Calibrate, evaluate, generate, simulate in C and on a board, by the command lines; the results."""
    engine = [f"{k}={v}" for k, v in load_config(network).engine.items()]
    deploy, library = out / "deploy", out / "csim" / "libengine.so"
    assert calib(["calibrate", str(network), "--out", str(out)]) == 0
    assert calib(["evaluate", str(network), "--out", str(out)]) == 0
    assert codegen(["csim", str(out), "--engine", *engine, "--limit", "4"]) == 0
    words = ["check", str(deploy), "--artifact", str(out / "artifact.npz"), "--samples", str(out / "samples.npz")]
    assert host([*words, "--simulate", str(library), "--limit", "4", "--out", str(out / "board.json")]) == 0
    return {name: json.loads((out / f"{name}.json").read_text()) for name in ("evaluation", "csim", "board")}


def check_simulations(results: dict[str, dict], out: Path) -> None:
    """No value differs, and all values of all tensors of all images were looked at."""
    artifact = load(out / "artifact.npz")
    values = stored_values(artifact, out / "deploy")
    for name in ("csim", "board"):
        assert results[name]["mismatches"] == 0, results[name]["first_mismatch"]
        assert results[name]["images"] == 4
        assert results[name]["values_compared"] == 4 * values
    assert results["csim"]["macs"] > 0 and results["csim"]["seconds"] > 0


def test_trained_network_to_simulated_board(folder, tmp_path):
    """8 bits: as good as float, and the same numbers everywhere."""
    results = whole_path(write_network(folder, "digits8"), tmp_path)
    evaluation = results["evaluation"]
    assert evaluation["images"] == TEST
    assert evaluation["top1_float"] > 0.95, "the network did not learn"
    assert abs(evaluation["top1_float"] - evaluation["top1_bfp"]) <= 0.01
    assert evaluation["agreement"] > 0.98 and evaluation["sqnr_db"] > 20
    check_simulations(results, tmp_path)

    artifact, samples = load(tmp_path / "artifact.npz"), load_samples(tmp_path / "samples.npz")
    golden = logits(artifact, quantise_input(artifact, samples.images))
    board = SimulatedBoard(tmp_path / "csim" / "libengine.so", tmp_path / "deploy")
    with Accelerator(tmp_path / "deploy", device=board) as accelerator:
        for image, want, label in zip(samples.images, golden, samples.labels):
            got = accelerator.run(image)
            assert np.array_equal(got, want)
            best = accelerator.predictions(got, 1)[0]
            assert best.name == artifact.classes[int(want.argmax())]
    assert (golden.argmax(1) == samples.labels).mean() >= 0.75


def test_evaluation_is_of_the_integers(folder, tmp_path):
    """The figures in evaluation.json are those of the golden model on the raw images."""
    network = write_network(folder, "digits_again", "weights = 3\nactivations = 4")
    assert calib(["calibrate", str(network), "--out", str(tmp_path)]) == 0
    assert calib(["evaluate", str(network), "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "evaluation.json").read_text())
    with np.load(folder / "digits.npz") as data:
        images, labels = data["test_images"], data["test_labels"]
    x = ((images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD))[:, None]
    artifact = load(tmp_path / "artifact.npz")
    answers = logits(artifact, quantise_input(artifact, x)).argmax(1)
    assert result["top1_bfp"] == pytest.approx((answers == labels).mean())
    model = digits_model.make(12).eval()
    model.load_state_dict(torch.load(folder / "digits.pth", weights_only=True))
    with torch.no_grad():
        reference = model(torch.from_numpy(x)).numpy()
    assert result["top1_float"] == pytest.approx((reference.argmax(1) == labels).mean(), abs=2 / TEST)
    assert result["agreement"] == pytest.approx((answers == reference.argmax(1)).mean(), abs=2 / TEST)


def test_narrow_widths_with_an_override(folder, tmp_path):
    """4-bit weights, 5-bit activations by KL, the first layer wider; small exponent groups, a narrow engine."""
    bfp = """weights = 4
activations = 5
method = "kl"
weight_group = 4
activation_group = 4
[[bfp.override]]
layers = "0*"
weights = 8
"""
    results = whole_path(write_network(folder, "digits4", bfp, "lanes = 4\nfilters = 2\npixels = 3"), tmp_path)
    check_simulations(results, tmp_path)
    evaluation = results["evaluation"]
    assert evaluation["method"] == "kl"
    assert evaluation["top1_bfp"] > 0.85
    artifact = load(tmp_path / "artifact.npz")
    bits = [p.weights.bits for p in artifact.parameters.values() if p.weights is not None]
    assert bits[0] == 8 and set(bits[1:]) == {4}
    widths = {f.bits for t, f in artifact.formats.items() if t != artifact.graph.input}
    assert widths == {5}
    assert any(p.align_shift.any() for p in artifact.parameters.values()), "no layer has groups to align"


def test_wider_mantissas_are_never_much_worse(folder, tmp_path):
    """Output SQNR grows with the width: about 6 dB a bit at the top, and 2 bits really are poor."""
    found = {}
    for bits in (2, 4, 6, 8):
        network = write_network(folder, f"digits_w{bits}", f"weights = {bits}\nactivations = {bits}")
        assert calib(["calibrate", str(network), "--out", str(tmp_path / str(bits))]) == 0
        assert calib(["evaluate", str(network), "--out", str(tmp_path / str(bits)), "--limit", "200"]) == 0
        found[bits] = json.loads((tmp_path / str(bits) / "evaluation.json").read_text())["sqnr_db"]
    assert found[2] < found[4] < found[6] < found[8]
    assert found[8] - found[6] > 6
