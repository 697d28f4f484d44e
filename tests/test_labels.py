"""Which label an image gets, wherever it comes from: what was taken is said, and what is not clear is asked for."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from bfp import BfpError
from bfp.artifact import Preprocessing
from calib.__main__ import main
from calib.config import load_config
from calib.data.classes import Classes
from calib.data.imagenet_ids import IMAGENET_IDS
from calib.data.images import open_images
from calib.evaluation.tally import Judge, chance_note
from calib.tasks import task_of
from calib.options import ImageOptions
from calib.user_model import load_classes

PRE = Preprocessing((4, 4), (0.0,), (255.0,), channels="gray")
ANIMALS = Classes(("cat", "dog", "guinea pig"))


def pictures(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 9).save(folder / name)
    return folder


def opened(source, classes=Classes(), **options):
    return open_images(ImageOptions((str(source),), **options), PRE, classes=classes)


def labels(found, folder):
    return {item.name.removeprefix(f"{folder}/"): item.label for item in found.items}


def test_what_was_taken_is_said(tmp_path):
    found = opened(pictures(tmp_path, "cat/1.png", "dog/1.png", "dog/2.png"))
    assert found.labels.tolist() == [0, 1, 1]
    assert f"{tmp_path} gives 3 images in 2 classes: 0 cat, 1 dog" in found.notes


def test_folders_of_other_programs_and_empty_ones_take_no_label(tmp_path):
    pictures(tmp_path, "__MACOSX/cat/._1.png", ".ipynb_checkpoints/1.png", "cat/1.png", "cat/._1.png", "dog/1.png", "thumbs/1.png")
    (tmp_path / "aardvark").mkdir()
    (tmp_path / "bees").mkdir()
    (tmp_path / "bees" / "notes.txt").write_text("x")
    found = opened(tmp_path)
    assert labels(found, tmp_path) == {"cat/1.png": 0, "dog/1.png": 1}
    assert any("4 folders" in note and "__MACOSX, aardvark, bees, thumbs" in note for note in found.notes)
    assert any("2 files" in note for note in found.notes)


def test_an_empty_folder_makes_no_folder_of_classes(tmp_path):
    pictures(tmp_path, "1.png", "2.png", "._1.png")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "empty").mkdir()
    found = opened(tmp_path)
    assert found.labels is None and len(found) == 2 and not found.labelled


def test_pictures_deeper_in_a_class_are_of_the_class(tmp_path):
    found = opened(pictures(tmp_path, "cat/a/1.png", "cat/2.png", "dog/b/c/1.png"))
    assert labels(found, tmp_path) == {"cat/a/1.png": 0, "cat/2.png": 0, "dog/b/c/1.png": 1}


@pytest.mark.parametrize(
    "names, words",
    [
        (("1.png", "cat/1.png"), "holds 1 images beside 1 folders of images .cat.; move the images into"),
        (("train/cat/1.png", "val/cat/1.png"), "holds train, val, which are no classes; did you mean .*/val"),
        (("test/1.png",), "holds test, which are no classes; did you mean .*/test"),
        (("Train/1.png", "validation/1.png"), "did you mean .*/validation"),
        (("cat/notes.gif.txt",), "holds no images"),
    ],
    ids=str,
)
def test_what_is_no_folder_of_classes_is_refused(tmp_path, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pictures(tmp_path, name) if name.endswith("png") else (tmp_path / name).write_text("x")
    with pytest.raises(BfpError, match=words):
        opened(tmp_path)


def test_folders_named_by_numbers_are_their_labels(tmp_path):
    names = [f"{i}/1.png" for i in range(12)]
    found = opened(pictures(tmp_path, *names))
    assert labels(found, tmp_path) == {name: i for i, name in enumerate(names)}
    found.check_labels(12)
    found.check_labels(1000)  # numbers say it all: there need not be a folder for each output
    with pytest.raises(BfpError, match="label 11 of the images is no class: the network has 11 outputs"):
        found.check_labels(11)


def test_numbers_that_mean_the_same_are_refused(tmp_path):
    found = opened(pictures(tmp_path, "1/1.png", "01/1.png"))
    with pytest.raises(BfpError, match="'01' and '1' are both class 1"):
        found.labels  # noqa: B018


@pytest.mark.parametrize("digit", ["²", "１", "9" * 25])
def test_digits_that_are_no_labels(tmp_path, digit):
    found = opened(pictures(tmp_path, f"{digit}/1.png"), ANIMALS)
    with pytest.raises(BfpError, match="is the name of none of the 3 classes"):
        found.labels  # noqa: B018
    (tmp_path / "list.csv").write_text(f"file,label\n1.png,{digit}\n", encoding="utf-8")
    with pytest.raises(BfpError, match="line 2: label is"):
        opened(tmp_path / "list.csv")


def test_names_of_classes_decide(tmp_path):
    """Whatever their order, their spelling, and however many there are of them."""
    found = opened(pictures(tmp_path, "Guinea_Pig/1.png", "dog/1.png"), ANIMALS)
    assert labels(found, tmp_path) == {"Guinea_Pig/1.png": 2, "dog/1.png": 1}
    reverse = Classes(("dog", "cat"))
    assert labels(opened(pictures(tmp_path / "b", "cat/1.png", "dog/1.png"), reverse), tmp_path / "b") == {
        "cat/1.png": 1, "dog/1.png": 0,
    }  # fmt: skip


def test_folders_that_are_partly_classes_are_asked_about(tmp_path):
    found = opened(pictures(tmp_path, "cat/1.png", "dog/1.png", "gnu/1.png"), ANIMALS)
    with pytest.raises(BfpError, match="'gnu' is the name of no class, and others are; name the folders by class"):
        found.check_labels(3)
    assert found.labelled  # calibration needs no more


@pytest.mark.parametrize("names", [("0", "1", "gnu"), ("cat", "dog", "1"), ("10", "9", "x")])
def test_numbers_and_names_are_not_mixed(tmp_path, names):
    found = opened(pictures(tmp_path, *(f"{name}/1.png" for name in names)), ANIMALS)
    with pytest.raises(BfpError, match="is the name of no class, and others are"):
        found.check_labels(3)


def test_the_order_decides_only_where_there_are_as_many_as_outputs(tmp_path):
    found = opened(pictures(tmp_path, "a/1.png", "b/1.png", "c/1.png"))
    found.check_labels(3)
    with pytest.raises(BfpError, match="3 folders of images for 10 outputs: their order does not say which class"):
        found.check_labels(10)
    named = opened(tmp_path, ANIMALS)
    assert named.labels.tolist() == [0, 1, 2]
    with pytest.raises(BfpError, match="'a' is the name of none of the 2 classes, and 3 folders of images are not as many"):
        opened(tmp_path, Classes(("x", "y"))).check_labels(2)


def test_imagenets_folders_are_their_classes(tmp_path):
    """However many of the thousand there are; the ids are the order of the outputs."""
    assert len(set(IMAGENET_IDS)) == 1000 and list(IMAGENET_IDS) == sorted(IMAGENET_IDS)
    assert IMAGENET_IDS[0] == "n01440764" and IMAGENET_IDS[-1] == "n15075141"
    (tmp_path / "net.toml").write_text(
        'model = "m:f"\nclasses = "imagenet"\n[input]\nsize = 8\nmean = 1\nstd = 1\n[calibration]\nimages = "random"\n'
    )
    classes = load_classes(load_config(tmp_path / "net.toml"))
    chosen = (3, 207, 999)
    found = opened(pictures(tmp_path / "a", *(f"{IMAGENET_IDS[i]}/1.png" for i in chosen)), classes)
    assert tuple(found.labels) == chosen
    assert tuple(opened(pictures(tmp_path / "b", "tench/1.png", "golden_retriever/1.png"), classes).labels) == (207, 0)
    wrong = opened(pictures(tmp_path / "c", "n00000001/1.png", f"{IMAGENET_IDS[1]}/1.png"), classes)
    with pytest.raises(BfpError, match="'n00000001' is the name of no class"):
        wrong.check_labels(1000)


def test_the_whole_list_is_checked_whatever_is_taken_of_it(tmp_path):
    pictures(tmp_path, "1.png")
    rows = [f"1.png,{label}\n" for label in range(1, 11)]
    (tmp_path / "list.csv").write_text("file,label\n" + "".join(rows))
    found = opened(tmp_path / "list.csv", limit=3)
    with pytest.raises(BfpError, match="label 10 .* has 10 outputs; labels seem to count from 1: count from 0"):
        found.check_labels(10)
    assert any("has label 0, and labels count from 0" in note for note in found.notes)
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 4, 4), np.uint8), labels=np.array([0, 1, 2, 4]))
    with pytest.raises(BfpError, match="label 4 of the images is no class: the network has 4 outputs$"):
        opened(tmp_path / "x.npz", limit=2).check_labels(4)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lists_of_other_programs(tmp_path, separator, mark):
    """Semicolons, tabs, a byte-order mark, names of classes, lines of Windows."""
    lines = ["file,label,by", "1.png,2,me", "1.png,cat,me", "1.png,Guinea_pig,me"]
    text = mark + "\r\n".join(lines).replace(",", separator)
    (tmp_path / "list.csv").write_bytes(text.encode())
    assert opened(tmp_path / "list.csv", ANIMALS).labels.tolist() == [2, 0, 2]
    with pytest.raises(BfpError, match="line 3: label is 'cat'; it must be a class index, 0 or more"):
        opened(tmp_path / "list.csv")


def test_ground_truth_of_other_programs(tmp_path):
    pictures(tmp_path, "1.png", "2.png", "._2.png")
    (tmp_path / "groundtruth.txt").write_bytes("\ufeff1.png dog\r\n2.png\t0\r\n".encode())
    assert opened(tmp_path, ANIMALS).labels.tolist() == [1, 0]
    (tmp_path / "groundtruth.txt").write_text("1\n0\n")
    assert opened(tmp_path).labels.tolist() == [1, 0]  # two images: ._2.png is none


@pytest.mark.parametrize(
    "top1, images, outputs, said",
    [
        (0.0, 30, 1000, True), (0.0, 29, 1000, False), (0.1, 30, 1000, False), (0.5, 100, 2, True), (0.9, 100, 2, False),
        (0.12, 100, 10, True), (0.3, 100, 10, False), (None, 100, 10, False), (1.0, 100, 1, False)
    ],
)  # fmt: skip
def test_float_accuracy_at_chance_is_said(top1, images, outputs, said):
    judge = Judge(task_of(None, (3, 8, 8), (outputs, 1, 1))[0], (outputs, 1, 1))
    assert ("hardly belong together" in chance_note({"top1_float": top1, "images": images}, judge)) is said


MODULE = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
"""
TOML = """
model = "labels_network:make"
[input]
size = 4
mean = 127
std = 64
channels = "gray"
[calibration]
images = "{calibration}"
[evaluation]
images = "{evaluation}"
[bfp]
method = "max"
"""


@pytest.fixture
def network(tmp_path):
    (tmp_path / "labels_network.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("labels_network", None)
    sys.path.remove(str(tmp_path))


def run(command, folder):
    return main([command, str(folder / "net.toml"), "--out", str(folder / "out")])


def test_unclear_labels_are_refused_before_anything_is_done(network, capsys):
    """And only where they are needed: calibration images may lie in whatever folders there are."""
    pictures(network / "some", "a/1.png", "b/1.png")
    pictures(network / "all", "a/1.png", "b/1.png", "c/1.png")
    (network / "net.toml").write_text(TOML.format(calibration="all", evaluation="some"))
    assert run("calibrate", network) == 2 and not (network / "out").exists()
    assert "2 folders of images for 3 outputs" in capsys.readouterr().err
    (network / "net.toml").write_text(TOML.format(calibration="some", evaluation="all"))
    assert run("calibrate", network) == 0 and run("evaluate", network) == 0
    assert "gives 3 images in 3 classes: 0 a, 1 b, 2 c" in capsys.readouterr().err
    (network / "net.toml").write_text(TOML.format(calibration="some", evaluation="").replace('[evaluation]\nimages = ""', ""))
    assert run("calibrate", network) == 0 and run("evaluate", network) == 0
    said = capsys.readouterr()
    assert "evaluated without labels: 2 folders of images for 3 outputs" in said.err and "top-1 float unknown" in said.out
