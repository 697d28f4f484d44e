"""The shipped networks: golden model, C simulation, simulated board and fake-quantised view agree in every value.

The quick ones are in the default suite, on few calibration images; the others are heavy.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.stored import stored_values

from bfp import BfpError
from bfp.artifact_file import load
from bfp.golden import quantise_input
from bfp.samples import load_samples
from calib import pipeline
from calib.evaluation import evaluate
from calib.network import fake_quant
from calib.config import SHIPPED, load_config
from calib.paths import sbfp_data
from calib.together import shipped_networks
from codegen.__main__ import main as codegen
from host.__main__ import main as host

QUICK = ("resnet20", "mobilenet_v2_small", "efficientnet_lite0", "tc_resnet8")
DOWNLOADED = (
    *("densenet121", "dncnn", "efficientnet_b0", "googlenet", "inception_v3", "inceptionv4", "lraspp", "mobilenet_v2"),
    *("mobilenet_v3_large", "mobilenet_v3_small", "regnet_y_400mf", "resnet50", "resnext50", "shufflenet_v2", "vgg16"),
)
PACKAGED = ("mtcnn_onet", "mtcnn_pnet", "mtcnn_rnet")  # from a package that may be absent; see test_faces.py
HEAVY = tuple(p.stem for p in shipped_networks() if p.stem not in QUICK + DOWNLOADED + PACKAGED)
FEW = 6  # calibration images where only equality is looked at
NEAREST = ("mobilenet_v2_small",)  # whose 53 layers' weights are then not reconstructed: the others' are


def configuration(name: str, few: bool):
    config = load_config(SHIPPED / f"{name}.toml")
    if few:
        config = replace(config, calibration=replace(config.calibration, limit=FEW, augment=1))
    if few and name in NEAREST:
        config = replace(config, bfp=replace(config.bfp, rounding="nearest", bias_correction=False))
    return config


def check(name: str, folder: Path, few: bool, images: int) -> None:
    """From the shipped file to the simulated board; every stored tensor of ``images`` images is compared."""
    config = configuration(name, few)
    artifact = pipeline.calibrate(config, folder)
    words = [f"{k}={v}" for k, v in config.engine.items()]
    limit = ["--limit", str(images)]
    assert codegen(["csim", str(folder), "--engine", *words, *limit]) == 0
    files = ["--artifact", str(folder / "artifact.npz"), "--samples", str(folder / "samples.npz")]
    simulated = ["--simulate", str(folder / "csim" / "libengine.so"), "--out", str(folder / "board.json")]
    assert host(["check", str(folder / "deploy"), *files, *simulated, *limit]) == 0

    values = stored_values(artifact, folder / "deploy")
    for result in ("csim", "board"):
        found = json.loads((folder / f"{result}.json").read_text())
        assert found["mismatches"] == 0, found["first_mismatch"]
        assert found["images"] == images
        assert found["values_compared"] >= images * values

    samples = load_samples(folder / "samples.npz")
    mantissas = quantise_input(artifact, samples.images[:images])
    differences = fake_quant.check(artifact, mantissas)
    assert len(differences) == len(artifact.graph.nodes)
    assert [d for d in differences if not d.ok] == []
    # only fixed-point reciprocals, and sixes on coarse accumulators, may differ from real arithmetic at all
    assert all(d.allowed == 0 or d.op == "avg_pool" or d.allowed == 1 for d in differences)
    # a network whose maps died would agree, too
    assert len(np.unique(mantissas)) > 20
    assert np.ptp(fake_quant.run(artifact, samples.images[:1])) > 0


# the largest of them is what `doit main` simulates
@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.heavy] * (n == "efficientnet_lite0")) for n in QUICK])
def test_quick_network_is_bit_equal(name, tmp_path):
    check(name, tmp_path, few=True, images=1)


@pytest.mark.heavy
@pytest.mark.parametrize("name", HEAVY)
def test_network_is_bit_equal(name, tmp_path):
    check(name, tmp_path, few=False, images=2)


def test_every_shipped_network_is_in_one_list():
    assert set(HEAVY + QUICK + DOWNLOADED + PACKAGED) == {p.stem for p in shipped_networks()}
    for name in QUICK + HEAVY:
        assert load_config(SHIPPED / f"{name}.toml").arguments.get("pretrained") is not True


@pytest.mark.parametrize("name", DOWNLOADED)
def test_published_weights_out_of_reach_are_one_sentence(name):
    """Offline, the networks that download say where from and what to do instead."""
    config = configuration(name, few=True)
    assert config.arguments["pretrained"] is True
    try:
        pipeline.build_module(config)
    except BfpError as error:
        message = str(error)
    else:
        pytest.skip("the published weights are here")
    assert "\n" not in message
    for word in ("published weights", "could not be downloaded", "http", "pretrained = false"):
        assert word in message


@pytest.mark.heavy
@pytest.mark.skipif(sbfp_data() is None, reason="measuring data (SBFP_DATA) is absent")
def test_resnet20_loses_less_than_half_a_point_at_8_bits(tmp_path):
    """All 5,000 shared test images, trained weights, the integer path against float."""
    config = configuration("resnet20", few=False)
    if not Path(config.weights).is_file():
        pytest.skip("trained weights are not among the measuring data")
    pipeline.calibrate(config, tmp_path)
    evaluate.evaluate(pipeline.prepare(config), load(tmp_path / "artifact.npz"), tmp_path)
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["images"] == 5000
    assert result["notes"] == []
    assert result["top1_float"] > 0.8  # of pictures decoded from JPEG copies; on the originals it is 0.917
    assert abs(result["top1_float"] - result["top1_bfp"]) <= 0.005
    assert result["agreement"] > 0.97


@pytest.mark.heavy
@pytest.mark.skipif(sbfp_data() is None, reason="measuring data (SBFP_DATA) is absent")
@pytest.mark.parametrize("widths, loss, sqnr", [((4, 4), 0.010, 17.5), ((3, 8), 0.015, 15.0)])
def test_resnet20_loses_little_at_four_and_three_bits(widths, loss, sqnr):
    """All 5,000 shared test images, trained weights, the integer path against float; see docs/calibration.md."""
    bfp = {"weights": widths[0], "activations": widths[1], "sensitive": 8}
    config = load_config(SHIPPED / "measured" / "resnet20_64.toml", {"bfp": bfp})
    if not Path(config.weights).is_file():
        pytest.skip("trained weights are not among the measuring data")
    prepared = pipeline.prepare(config)
    artifact = pipeline.make_artifact(prepared)
    assert artifact.provenance["bfp"]["rounding"] == "descent"
    assert artifact.provenance["sqnr_db"]["refined"] > artifact.provenance["sqnr_db"]["gptq"]
    result = evaluate.compare(prepared, artifact, prepared.evaluation)
    assert result["images"] == 5000 and result["top1_float"] - result["top1_bfp"] <= loss
    assert result["agreement"] > 0.9 and result["sqnr_db"] > sqnr
