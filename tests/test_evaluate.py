"""Evaluation that is interrupted and goes on, and labels from a ground-truth file."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bfp import BfpError
from bfp.artifact import Preprocessing
from bfp.artifact_file import load, save
from calib import pipeline
from calib.evaluation import evaluate
from calib.network import float_model
from calib.__main__ import main
from calib.config import load_config
from calib.options import ImageOptions
from calib.data.images import ImageSet, open_images

IMAGES, BATCH = 22, 4
TOML = """
model = "eval_networks:make"
[input]
size = 12
mean = 127
std = 64
[calibration]
images = "random"
limit = 4
[evaluation]
images = "pictures.npz"
"""
MODULE = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
                         nn.AvgPool2d(2), nn.Flatten(), nn.Linear(200, 10))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "eval_networks.py").write_text(MODULE)
    (tmp_path / "net.toml").write_text(TOML)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 12, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / "pictures.npz", images=pixels, labels=rng.integers(0, 10, IMAGES))
    monkeypatch.setattr(evaluate, "batch_size", lambda network: BATCH)
    assert main(["calibrate", str(tmp_path / "net.toml"), "--out", str(tmp_path)]) == 0
    yield tmp_path
    sys.modules.pop("eval_networks", None)
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def run(folder) -> dict:
    config = load_config(folder / "net.toml")
    evaluate.evaluate(pipeline.prepare(config, adapted=False), load(folder / "artifact.npz"), folder)
    result = json.loads((folder / "evaluation.json").read_text())
    assert not (folder / "evaluation.part.json").exists()
    return {k: v for k, v in result.items() if k != "seconds"}


def interrupted_after(folder, monkeypatch, batches: int) -> list[int]:
    """Run until the float network is asked for one batch more than ``batches``; sizes of the batches it was given."""
    seen, real = [], float_model.logits

    def logits(network, x):
        if len(seen) == batches:
            raise KeyboardInterrupt
        seen.append(len(x))
        return real(network, x)

    with monkeypatch.context() as patch:
        patch.setattr(float_model, "logits", logits)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    return seen


@pytest.mark.parametrize("batches", [1, 3, 5])
def test_an_interrupted_evaluation_goes_on(folder, monkeypatch, capsys, batches):
    """The result is that of an uninterrupted one, and no finished batch is computed again."""
    whole = run(folder)
    assert whole["images"] == IMAGES and whole["sqnr_db"] > 10
    (folder / "evaluation.json").unlink()
    assert interrupted_after(folder, monkeypatch, batches) == [BATCH] * batches
    assert not (folder / "evaluation.json").exists()
    given, read, real, pixels = [], [], float_model.logits, ImageSet.pixels
    monkeypatch.setattr(float_model, "logits", lambda network, x: given.append(len(x)) or real(network, x))
    monkeypatch.setattr(ImageSet, "pixels", lambda self, i: read.append(i) or pixels(self, i))
    assert run(folder) == whole
    assert sum(given) == IMAGES - batches * BATCH and sorted(set(read)) == list(range(batches * BATCH, IMAGES))
    assert f"going on after {batches * BATCH} images" in capsys.readouterr().err


def test_nothing_is_taken_from_another_evaluation(folder, monkeypatch, capsys):
    """Other images, another artifact, other weights: counted from the first image."""
    interrupted_after(folder, monkeypatch, 2)
    with np.load(folder / "pictures.npz") as archive:
        pixels, labels = archive["images"], archive["labels"]
    np.savez(folder / "pictures.npz", images=pixels[::-1], labels=labels[::-1])
    assert run(folder)["images"] == IMAGES
    assert "is of an evaluation with other images; starting from the first" in capsys.readouterr().err

    interrupted_after(folder, monkeypatch, 2)
    (folder / "net.toml").write_text(TOML + "[bfp]\nweights = 6\n")
    assert main(["calibrate", str(folder / "net.toml"), "--out", str(folder)]) == 0
    assert run(folder)["weight_bits"] == 6
    assert "with other artifact; starting" in capsys.readouterr().err

    interrupted_after(folder, monkeypatch, 2)
    (folder / "eval_networks.py").write_text(MODULE.replace("manual_seed(0)", "manual_seed(1)"))
    sys.modules.pop("eval_networks")
    with pytest.raises(BfpError, match="was made from other float weights than .*net.toml gives now; run `doit calib"):
        run(folder)
    # an artifact that does not say what it was made from is taken, and counted from the first image
    save(replace(load(folder / "artifact.npz"), float_digest=""), folder / "artifact.npz")
    run(folder)
    assert "with other artifact, weights; starting" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"done": 8', '"done": 800'),
        lambda text: text.replace('"done": 8', '"done": "many"'),
        lambda text: text.replace('"signal": ', '"signal": NaN, "x": '),
    ],
)
def test_damaged_progress_is_not_used(folder, monkeypatch, capsys, damage):
    whole = run(folder)
    interrupted_after(folder, monkeypatch, 2)
    part = folder / "evaluation.part.json"
    text = part.read_text()
    assert damage(text) != text
    part.write_text(damage(text))
    assert run(folder) == whole
    assert "is damaged" in capsys.readouterr().err


def test_the_device_is_an_option(folder, capsys):
    command = ["evaluate", str(folder / "net.toml"), "--out", str(folder)]
    assert main([*command, "--device", "cpu"]) == 0
    assert json.loads((folder / "evaluation.json").read_text())["device"] == "cpu"
    assert main([*command, "--device", "fpga"]) == 2
    assert "device 'fpga' is not known" in capsys.readouterr().err


# -- the published code's layout of the ImageNet validation set ---------------------------

PRE = Preprocessing((4, 4), (0.0,) * 3, (1.0,) * 3)
NAMES = [f"ILSVRC2012_val_0000000{i}.JPEG" for i in range(1, 6)]


@pytest.fixture
def flat(tmp_path):
    for i, name in enumerate(NAMES):
        Image.new("RGB", (4, 4), (10 * i, 0, 0)).save(tmp_path / name)
    return tmp_path


def opened(source) -> tuple[list[tuple[str, int]], str]:
    found = open_images(ImageOptions((str(source),)), PRE)
    values = [int(found.pixels(i)[0, 0, 0]) for i in range(len(found))]
    # what was opened is what was named
    assert all(abs(v - 10 * NAMES.index(found.name(i).split("/")[-1])) < 6 for i, v in enumerate(values))
    return [(found.name(i).split("/")[-1], int(found.labels[i])) for i in range(len(found))], found.notes[0]


def test_labels_by_name(flat):
    """The published file: a share of the images, in the order of the classes, zero-padded labels."""
    (flat / "groundtruth.txt").write_text(f"{NAMES[3]} 627\n{NAMES[0]} 096\n\n{NAMES[4]} 000\n")
    want = [(NAMES[3], 627), (NAMES[0], 96), (NAMES[4], 0)]
    images, note = opened(flat)
    assert images == want
    assert "of 3 images by name" in note and "2 images beside it that it does not list were left out" in note
    assert opened(flat / "groundtruth.txt")[0] == want  # the file itself may be named, whatever it is called
    (flat / "groundtruth.txt").rename(flat / "val.txt")
    assert opened(flat / "val.txt")[0] == want


def test_labels_by_name_after_the_published_script_moved_the_images(flat):
    (flat / "groundtruth.txt").write_text(f"{NAMES[3]} 627\n{NAMES[0]} 096\n{NAMES[1]} 096\n")
    for name, label in ((NAMES[3], "627"), (NAMES[0], "096")):
        (flat / label).mkdir()
        (flat / name).rename(flat / label / name)
    images, note = opened(flat)
    assert images == [(NAMES[3], 627), (NAMES[0], 96), (NAMES[1], 96)]
    assert "2 images beside it that it does not list" in note


def test_labels_in_the_order_of_names(flat):
    (flat / "groundtruth.txt").write_text("3\n1\n4\n1\n5\n")
    images, note = opened(flat)
    assert images == list(zip(NAMES, [3, 1, 4, 1, 5]))
    assert "in the order of their names" in note


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty; write lines FILE LABEL"),
        (f"{NAMES[0]} 1\n{NAMES[1]}\n", "line 2 is .* every line must be FILE LABEL"),
        (f"{NAMES[0]} tench\n", "line 1 is .* a class index"),
        (f"{NAMES[0]} -1\n", "line 1 is .* a class index"),
        (f"{NAMES[0]} 1\n{NAMES[0]} 2\n", "line 2: .* is in line 1 already"),
        (f"{NAMES[0]} 1\nno_such.JPEG 2\n", "line 2: no_such.JPEG is neither in .* put the images beside"),
        ("1\n2\n", "has 2 labels for 5 images beside it"),
        ("1\n2\n1000\n2\n3\n", "counts classes from 1 to 1000, as the ILSVRC2012 development kit"),
        ("a b c\n", "line 1 is 'a b c'"),
    ],
)
def test_wrong_ground_truth_is_refused(flat, text, message):
    (flat / "groundtruth.txt").write_text(text)
    with pytest.raises(BfpError, match=message) as caught:
        opened(flat)
    assert "groundtruth.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_ground_truth_that_is_no_text_is_refused(flat):
    (flat / "groundtruth.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BfpError, match="cannot be read"):
        opened(flat)


def test_interrupting_the_command_is_one_line(folder, monkeypatch, capsys):
    def interrupted(network, x):
        raise KeyboardInterrupt

    monkeypatch.setattr(float_model, "logits", interrupted)
    assert main(["evaluate", str(folder / "net.toml"), "--out", str(folder)]) == 130
    error = capsys.readouterr().err
    assert "interrupted; started again, it goes on" in error and "Traceback" not in error
