"""The comparison with hls4ml: our half of it, what is made of the figures, and what is said where hls4ml is missing.

The comparison itself is heavy: it installs hls4ml from PyPI and lets it compile for minutes.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from calib.evaluation.benchmark.hls4ml import comparison
from bfp.errors import BfpError
from bfp.samples import load_samples
from calib import pipeline
from calib.config import load_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small_cnn")
    artifact = pipeline.calibrate(load_config(comparison.HERE / "small_cnn.toml"), folder)
    return folder, artifact


def test_our_side_is_bit_equal_and_near_the_float_network(folder):
    folder, artifact = folder
    samples = load_samples(folder / "samples.npz")
    ours = comparison.Ours(artifact, samples, folder)
    assert ours.run() > 0
    assert ours.macs == 32 * 32 * 16 * 27 + 16 * 16 * 32 * 144 + 8 * 8 * 32 * 288 + 512 * 10
    assert comparison.agreement(ours.outputs, samples.logits)["sqnr_db"] > 25


def test_the_ratio_is_of_the_fastest_turns():
    found = comparison.summary(1000, 2, [4e-6, 2e-6], [8e-5, 9e-5])
    assert found["gmac_per_second"] == pytest.approx({"static_bfp": 1.0, "hls4ml": 0.025})
    assert found["ratio_per_mac"] == pytest.approx(40)
    assert found["seconds_per_image"] == pytest.approx({"static_bfp": 1e-6, "hls4ml": 4e-5})


def test_agreement():
    reference = np.array([[1.0, 0.0], [0.0, 1.0]])
    near = comparison.agreement(np.array([[0.9, 0.0], [0.5, 0.4]]), reference)
    assert near["top1_agreement"] == 0.5
    assert near["sqnr_db"] == round(10 * np.log10(2 / (0.1**2 + 0.5**2 + 0.6**2)), 1)
    assert comparison.agreement(reference, reference)["sqnr_db"] is None


def test_pip_that_fails_is_one_sentence(tmp_path):
    pins = tmp_path / "pins.txt"
    pins.write_text("./no-such-folder\n")
    with pytest.raises(BfpError, match=r"pip cannot install pins.txt into .*; it needs PyPI"):
        comparison.environment(tmp_path / "venv", pins)
    assert not (tmp_path / "venv" / "installed.txt").exists()


def test_hls4ml_that_does_not_start_is_one_sentence(folder, tmp_path):
    """The project's own environment has no hls4ml, and must not have it."""
    with pytest.raises(BfpError, match="hls4ml stopped with status 1: ModuleNotFoundError: No module named 'hls4ml'"):
        comparison.Theirs(sys.executable, folder[0] / "samples.npz", tmp_path)


def test_pins_are_exact():
    lines = comparison.REQUIREMENTS.read_text().split()
    assert lines and all(line.count("==") == 1 for line in lines)


@pytest.mark.heavy
def test_both_sides_compute_the_network(tmp_path):
    result = comparison.compare(tmp_path)
    assert f"hls4ml=={result['hls4ml']['version']}" in comparison.REQUIREMENTS.read_text()
    for side in ("static_bfp", "hls4ml"):
        assert result["agreement"][side]["sqnr_db"] > 15
    assert result["images"] == 8 and result["ratio_per_mac"] > 0
    before = (tmp_path / "hls4ml-venv" / "installed.txt").stat().st_mtime_ns
    comparison.environment(tmp_path / "hls4ml-venv", comparison.REQUIREMENTS)
    assert (tmp_path / "hls4ml-venv" / "installed.txt").stat().st_mtime_ns == before
