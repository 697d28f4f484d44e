"""What needs no image is checked before the first image is read."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from support.refusals import MOST

from calib.__main__ import main
from calib.data.images import ImageSet
from calib.zoo import weights

MODULE = '''
from torch import nn

def make(outputs=3):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))
'''
TOML = """
model = "checked_first_net:make"
weights = "WEIGHTS"
classes = ["a", "b", "c"]
[input]
size = 8
mean = 127
std = 64
[calibration]
images = "pictures"
[evaluation]
images = "list.csv"
"""
FAULTS = {
    "class names": (('"b", "c"]', '"b"]'), "2 class names for 3 outputs"),
    "a class file that is not there": (('["a", "b", "c"]', '"names.txt"'), "names.txt does not exist"),
    "a label beyond the outputs": (('"list.csv"', '"beyond.csv"'), "label 3 of the images is no class: the network has 3 outputs"),
    "a label that is none": (('"list.csv"', '"none.csv"'), "none.csv"),
    "a list of files that are not there": (('"list.csv"', '"gone.csv"'), "gone.csv"),
    "a task of other outputs": (('classes =', 'task = "binary"\nclasses ='), "task 'binary' needs one output"),
    "an override of no layer": (("[input]", '[[bfp.override]]\nlayers = "nothing*"\nweights = 4\n[input]'), "nothing*"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A network's file with images, none of which may be read."""
    (tmp_path / "checked_first_net.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    scope = {}
    exec(MODULE, scope)
    torch.save(scope["make"]().state_dict(), tmp_path / "net.pth")
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8, 3), 80 * i, np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    for name, label in (("list", "2"), ("beyond", "3"), ("none", "many")):
        (tmp_path / f"{name}.csv").write_text(f"file,label\npictures/0.png,0\npictures/1.png,{label}\n")
    return tmp_path


@pytest.fixture
def unread(monkeypatch):
    monkeypatch.setattr(ImageSet, "pixels", lambda *_: pytest.fail("an image was read"))


@pytest.mark.parametrize("given", ["random", "model", "net.pth"])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_image_is_read_before(folder, unread, capsys, given, fault):
    (old, new), words = FAULTS[fault]
    (folder / "net.toml").write_text(TOML.replace("WEIGHTS", given).replace(old, new, 1))
    assert main(["calibrate", str(folder / "net.toml"), "--out", str(folder / "out")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1 and words in errors[0] and len(errors[0].replace(str(folder), "")) <= MOST
    assert not (folder / "out").exists()


def test_the_folder_and_the_device_are_asked_first(folder, unread, capsys):
    (folder / "net.toml").write_text(TOML.replace("WEIGHTS", "random"))
    (folder / "file").write_text("")
    assert main(["calibrate", str(folder / "net.toml"), "--out", str(folder / "file" / "out")]) == 2
    assert "results cannot be written" in capsys.readouterr().err
    assert main(["evaluate", str(folder / "net.toml"), "--out", str(folder / "out"), "--device", "fpga"]) == 2
    assert "fpga" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["random", "net.pth"])
def test_what_is_right_is_calibrated(folder, given):
    (folder / "net.toml").write_text(TOML.replace("WEIGHTS", given))
    assert main(["calibrate", str(folder / "net.toml"), "--out", str(folder / "out")]) == 0


def test_weights_that_other_types_wait_for_are_no_obstacle(folder, monkeypatch):
    """A module in float64 can be imported only once it has its random weights."""
    (folder / "checked_first_net.py").write_text(MODULE.replace("outputs))", "outputs)).double()"))
    (folder / "net.toml").write_text(TOML.replace("WEIGHTS", "random"))
    made = []
    monkeypatch.setattr(weights, "randomise", lambda *given, inner=weights.randomise: made.append(inner(*given)))
    sys.modules.pop("checked_first_net", None)
    assert main(["calibrate", str(folder / "net.toml"), "--out", str(folder / "out")]) == 0 and made


def test_engine_options_are_checked_by_every_task_first(folder):
    (folder / "net.toml").write_text(TOML.replace("WEIGHTS", "random") + "[engine]\nlanes = 12\n")
    words = [sys.executable, "-m", "doit", f"net={folder / 'net.toml'}", "calibrate"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode and "lanes is 12; give a power of two" in done.stdout + done.stderr
