"""The command lines, from a user's own file in a folder of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bfp import golden
from bfp.artifact_file import load
from bfp.samples import load_samples
from calib import pipeline
from calib.evaluation import evaluate
from calib.__main__ import main
from calib.config import find_network, load_config
from calib.paths import sbfp_data

MODULE = """
import torch
from torch import nn

def make(width=6, broken=False):
    if broken:
        raise ZeroDivisionError("by design")
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(width * 49, 10))

def not_a_module():
    return 3
"""
TOML = """
model = "toy_networks:make"
classes = "cifar10"
[input]
size = 16
mean = 127
std = 128
[calibration]
images = "random"
limit = 12
[evaluation]
images = "pictures.npz"
[bfp]
method = "max"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "toy_networks.py").write_text(MODULE)
    (tmp_path / "toy.toml").write_text(TOML)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), rng.integers(0, 10, 20)
    np.savez(tmp_path / "pictures.npz", images=images, labels=labels)
    yield tmp_path
    sys.modules.pop("toy_networks", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def change(folder, *replacements):
    text = TOML
    for old, new in replacements:
        text = text.replace(old, new)
    (folder / "toy.toml").write_text(text)
    return str(folder / "toy.toml")


def test_calibrate_and_evaluate(folder, capsys):
    out = folder / "results"
    assert main(["calibrate", str(folder / "toy.toml"), "--out", str(out)]) == 0
    artifact, samples = load(out / "artifact.npz"), load_samples(out / "samples.npz")
    assert artifact.classes[3] == "cat" and artifact.provenance["calibration_images"] == 12
    assert samples.images.shape == (8, 3, 16, 16) and samples.logits.shape == (8, 10) and samples.labels.min() >= 0
    assert main(["evaluate", str(folder / "toy.toml"), "--out", str(out)]) == 0
    result = json.loads((out / "evaluation.json").read_text())
    assert result["images"] == 20 and result["agreement"] > 0.9 and result["sqnr_db"] > 30
    assert result["artifact"] == artifact.digest and result["weights"] == "model" and result["method"] == "max"
    # the figures are those of the bit-exact path, counted here once more
    pixels = np.load(folder / "pictures.npz")
    x = ((pixels["images"].astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
    best = golden.logits(artifact, golden.quantise_input(artifact, x)).argmax(1)
    assert result["top1_bfp"] == (best == pixels["labels"]).mean()
    module = pipeline.build_module(load_config(folder / "toy.toml"))
    with torch.no_grad():
        reference = module(torch.from_numpy(x)).numpy().argmax(1)
    assert result["top1_float"] == (reference == pixels["labels"]).mean()
    assert result["agreement"] == (reference == best).mean()


def test_without_labels_accuracy_is_unknown(folder):
    path = change(folder, ("[evaluation]\nimages = \"pictures.npz\"", ""))
    assert main(["calibrate", path, "--out", str(folder)]) == main(["evaluate", path, "--out", str(folder)]) == 0
    result = json.loads((folder / "evaluation.json").read_text())
    assert result["top1_float"] is None and result["top1_bfp"] is None and result["images"] == 12


def test_calibrating_again_gives_the_same_bytes(folder):
    path = change(folder, ("limit = 12", "limit = 12\naugment = 2"), ('"max"', '"kl"\nactivation_group = 2'))
    for name in ("a", "b"):
        assert main(["calibrate", path, "--out", str(folder / name)]) == 0
    assert (folder / "a" / "artifact.npz").read_bytes() == (folder / "b" / "artifact.npz").read_bytes()


def test_weights_fallback_is_used_and_reported(folder, capsys):
    path = change(folder, ("classes", 'weights = "gone.pth"\nweights_fallback = "random"\nclasses'))
    assert main(["calibrate", path, "--out", str(folder)]) == 0
    assert "gone.pth do not exist; used random instead" in capsys.readouterr().err
    artifact = load(folder / "artifact.npz")
    assert artifact.provenance["weights"] == "random" and "gone.pth" in artifact.provenance["replaced"][0]


@pytest.mark.parametrize(
    "replacement, message",
    [
        (("toy_networks:make", "toy_networks:none"), "cannot be built (AttributeError"),
        (("toy_networks:make", "no_such_module:make"), "cannot be built (ModuleNotFoundError"),
        (("toy_networks:make", "toy_networks:not_a_module"), "must return a torch.nn.Module"),
        (('"toy_networks:make"', '"toy_networks:make"\narguments = { depth = 3 }'), "(TypeError"),
        (('"toy_networks:make"', '"toy_networks:make"\narguments = { broken = true }'), "(ZeroDivisionError: by"),
        (("size = 16", "size = 20"), "cannot be traced"),
        (("size = 16", "sizes = 16"), "did you mean 'size'"),
        (('"cifar10"', '["a", "b"]'), "2 class names for 10 outputs"),
        (('"cifar10"', '"no_such.txt"'), "no_such.txt does not exist"),
        (('"cifar10"', '"cifar10"\nweights = "gone.pth"'), "gone.pth does not exist"),
        (('"pictures.npz"', '"gone.npz"'), "gone.npz do not exist"),
    ],
)
def test_bad_input_is_one_line_and_status_2(folder, capsys, replacement, message):
    path = change(folder, replacement)
    assert main(["calibrate", path, "--out", str(folder / "out")]) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]
    assert not (folder / "out" / "artifact.npz").exists()


def test_activations_that_overflow_are_refused_with_the_layer(folder, capsys):
    (folder / "toy_networks.py").write_text(
        "import torch\nfrom torch import nn\n\ndef make():\n"
        "    m = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 10, 16))\n"
        "    with torch.no_grad():\n        m[0].weight.fill_(1e30)\n        m[1].weight.fill_(1e30)\n    return m\n"
    )
    assert main(["calibrate", str(folder / "toy.toml"), "--out", str(folder)]) == 2
    assert "activations of layer 1 hold NaN or infinity" in capsys.readouterr().err


def test_evaluating_another_networks_artifact_is_refused(folder, capsys):
    path = str(folder / "toy.toml")
    assert main(["evaluate", path, "--out", str(folder)]) == 2
    assert "does not exist; run `doit calibrate` first" in capsys.readouterr().err
    assert main(["calibrate", path, "--out", str(folder)]) == 0
    change(folder, ('"toy_networks:make"', '"toy_networks:make"\narguments = { width = 7 }'))
    assert main(["evaluate", path, "--out", str(folder)]) == 2
    assert "run `doit calibrate` again" in capsys.readouterr().err


def test_labels_beyond_the_outputs_are_refused(folder, capsys):
    np.savez(folder / "pictures.npz", images=np.zeros((2, 16, 16, 3), np.uint8), labels=np.array([0, 10]))
    path = str(folder / "toy.toml")
    assert main(["calibrate", path, "--out", str(folder)]) == 2  # before any work
    assert "label 10 of the images is no class: the network has 10 outputs" in capsys.readouterr().err
    change(folder, ('"max"', '"online"'))
    assert main(["evaluate", path, "--out", str(folder)]) == 2
    assert "label 10 of the images is no class" in capsys.readouterr().err


def test_as_a_command():
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "calib", "calibrate", "no_such_network"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("error: there is no network no_such_network")
    assert "Traceback" not in done.stderr


def cifar_resnet20(limit):
    if sbfp_data() is None or not (Path(sbfp_data()) / "models" / "resnet20-12fca82f.th").is_file():
        pytest.skip("needs the measuring data: set SBFP_DATA")
    config = load_config(find_network("resnet20"))
    prepared = pipeline.prepare(config)
    artifact = pipeline.quantise(prepared, pipeline.gather(prepared))
    images = pipeline.open_images(config.evaluation, config.input)
    images = type(images)(images.items[:: len(images) // limit], images.pre)
    return evaluate.compare(prepared, artifact, images)


@pytest.mark.slow
def test_trained_resnet20_agrees_with_float():
    result = cifar_resnet20(250)
    assert result["images"] == 250 and result["top1_float"] > 0.7
    assert result["agreement"] > 0.94 and result["sqnr_db"] > 22


@pytest.mark.heavy
def test_trained_resnet20_loses_less_than_half_a_point_on_all_images():
    result = cifar_resnet20(5000)
    assert result["images"] == 5000 and abs(result["top1_float"] - 0.81) < 0.003
    assert result["top1_float"] - result["top1_bfp"] < 0.005
