"""Masks and pictures that say what outputs should be: by hand, from files, and through an evaluation."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from calib.__main__ import figures
from calib.__main__ import main as calib
from calib.config import load_config
from calib.data.images import open_images
from calib.data.targets import UNKNOWN, Masks, beside, placed_mask, read_mask, read_target
from calib.judge import informed
from calib.measures import mean_overlap
from calib.pipeline import prepare
from calib.truth_maps import overlap_row
from calib.used_files import images_digest
from host.image import fit_image

FILE = """
model = "mapped_network:make"
{top}
[input]
size = [12, 16]
mean = 0
std = 255
{input}
[calibration]
images = "random"
limit = 4
[evaluation]
images = "pictures"
{targets}
[bfp]
method = "max"
"""
NETWORK = """
import torch
from torch import nn


def make(outputs=3, scale=1):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, outputs, scale, scale, bias=False)]
    with torch.no_grad():
        layers[0].weight.zero_()
        for n in range(min(outputs, 3)):
            layers[0].weight[n, n] = 1 / scale**2
    return nn.Sequential(*layers)
"""
SIZE = (12, 16)


@pytest.fixture
def folder(tmp_path):
    """Pictures of one pure colour a pixel, the first larger than the input, and masks that say which."""
    (tmp_path / "mapped_network.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    for name in ("pictures", "masks"):
        (tmp_path / name).mkdir()
    for n, (h, w) in enumerate(((24, 32), SIZE, SIZE)):
        classes = np.kron(rng.integers(0, 3, SIZE), np.ones((h // 12, w // 16), int)).astype(np.uint8)
        Image.fromarray(np.eye(3, dtype=np.uint8)[classes] * 255).save(tmp_path / "pictures" / f"p{n}.png")
        Image.fromarray(classes).save(tmp_path / "masks" / f"p{n}.png")
    yield tmp_path
    sys.modules.pop("mapped_network", None)
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def written(folder, targets='targets = "masks"', top='task = "segmentation"', input='interpolation = "nearest"'):
    (folder / "net.toml").write_text(FILE.format(top=top, input=input, targets=targets))
    return folder / "net.toml"


def evaluated(folder, **changes):
    path = written(folder, **changes)
    for command in ("calibrate", "evaluate"):
        assert calib([command, str(path), "--out", str(folder / "out")]) == 0
    return json.loads((folder / "out" / "evaluation.json").read_text())


def test_what_a_file_says(tmp_path):
    found = load_config(written(tmp_path, 'targets = "m"\nignore = 0\ncolours = [[0, 0, 0], [1, 2, 255]]')).evaluation
    assert (found.targets, found.ignore, found.colours) == (str(tmp_path / "m"), 0, ((0, 0, 0), (1, 2, 255)))
    assert load_config(written(tmp_path, "")).evaluation.targets is None
    for words, reason in (
        ("colours = [[0, 0]]", "it must be an array of colours"),
        ("colours = [[0, 0, 256]]", "it must be an array of colours"),
        ("colours = [[0, 0, 1], [0, 0, 1]]", "none twice"),
        ("ignore = -1", "a whole number from 0"),
        ("targets = 3", "it must be a text"),
    ):
        with pytest.raises(BfpError, match=reason):
            load_config(written(tmp_path, words))
    text = FILE.format(top="", input="", targets="").replace("limit = 4", 'limit = 4\ntargets = "masks"')
    (tmp_path / "other.toml").write_text(text)
    with pytest.raises(BfpError, match=r"\[calibration\] targets is not a known key"):
        load_config(tmp_path / "other.toml")


def test_modes_of_masks(tmp_path):
    values = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    wanted = np.array([[0, 1, 2], [2, UNKNOWN, 0]])
    gray = Image.fromarray(values)
    palette = gray.copy()
    palette.putpalette([7, 7, 7, 1, 2, 3, 9, 9, 9] + [0] * 759)
    colours = np.array([[7, 7, 7], [1, 2, 3], [9, 9, 9]], np.uint8)
    painted = Image.fromarray(np.where((values == 255)[..., None], 255, colours[np.minimum(values, 2)]).astype(np.uint8))
    by_colour = Masks(colours=tuple(map(tuple, colours.tolist())))
    for name, image, masks in (("gray", gray, Masks()), ("palette", palette, Masks()), ("colours", painted, by_colour)):
        image.save(tmp_path / f"{name}.png")
        assert np.array_equal(read_mask(tmp_path / f"{name}.png", masks, 3), wanted), name
    Image.fromarray(values > 0).save(tmp_path / "bits.png")
    assert np.array_equal(read_mask(tmp_path / "bits.png", Masks(), 2), values > 0)
    half = Image.fromarray(((values > 0) * 255).astype(np.uint8))
    half.save(tmp_path / "half.png")
    black_and_white = Masks(colours=((0, 0, 0), (255, 255, 255)))
    assert np.array_equal(read_mask(tmp_path / "half.png", black_and_white, 2), values > 0)  # 255 is a class here
    for name, masks, classes, reason in (
        ("colours", Masks(), 3, "has colours .RGB., no numbers of classes; name them"),
        ("gray", Masks(), 2, "a pixel is 2, and there are 2 classes"),
        ("gray", Masks(ignore=2), 3, "a pixel is 255"),
        ("colours", Masks(colours=((7, 7, 7), (1, 2, 3), (9, 9, 8))), 3, r"the colour \[9, 9, 9\] is of no class"),
        ("colours", Masks(colours=((7, 7, 7),)), 3, "1 colours, and there are 3 classes"),
        ("absent", Masks(), 3, "does not exist"),
    ):
        with pytest.raises(BfpError, match=reason):
            read_mask(tmp_path / f"{name}.png", masks, classes)
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(BfpError, match="mask .* cannot be read"):
        read_mask(tmp_path / "no.png", Masks(), 3)


@pytest.mark.parametrize("words", [{}, {"resize": 20}, {"letterbox": 114}], ids=["exact", "cropped", "letterbox"])
def test_masks_lie_where_their_pictures_do(words):
    """Against a picture of the same values that goes the way of pictures, by the nearest pixel."""
    pre = Preprocessing((12, 16), (0.0,), (1.0,), interpolation="nearest", channels="gray", **words)
    mask = np.random.default_rng(1).integers(0, 100, (45, 80)).astype(np.int16)
    found = placed_mask(mask, pre, (80, 45), "it")
    wanted = fit_image(Image.fromarray(mask.astype(np.uint8)), pre)[:, :, 0].astype(int)
    if "letterbox" in words:
        assert (found == UNKNOWN).any() and (found[0] == UNKNOWN).all() and (wanted[found == UNKNOWN] == 114).all()
    assert np.array_equal(found[found != UNKNOWN], wanted[found != UNKNOWN]) and (found != UNKNOWN).sum() > 70
    with pytest.raises(BfpError, match="mask of it is 80 x 45 pixels, its image 80 x 44"):
        placed_mask(mask, pre, (80, 44), "it")


def test_overlaps_by_hand():
    """Of class 0 two of three pixels, of class 1 one of two; the last pixel does not count."""
    row = overlap_row(np.array([[0, 0, 0, 1, 1]]), np.array([[0, 0, 1, 1, UNKNOWN]]), 3)
    assert row.tolist() == [2, 1, 0, 3, 2, 0] and mean_overlap(row) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_files_of_the_same_name(folder):
    pictures = sorted((folder / "pictures").iterdir())
    assert [p.name for p in beside(folder / "masks", pictures, {".png"})] == ["p0.png", "p1.png", "p2.png"]
    (folder / "masks" / "p1.png").unlink()
    with pytest.raises(BfpError, match="masks holds no picture named p1"):
        beside(folder / "masks", pictures, {".png"})
    with pytest.raises(BfpError, match="targets .* cannot be read"):
        beside(folder / "nowhere", pictures, {".png"})


def test_segmentation_against_masks(folder, capsys):
    """Each pixel's colour is its class, so the float network is right; of pixels that do not count it need not be."""
    found = evaluated(folder)
    assert found["task"] == "segmentation" and found["miou_float"] == found["miou_bfp"] == 1.0
    assert "mIoU float 100.00 %, BFP 100.00 %" in figures(found)
    for n in range(3):
        path = folder / "masks" / f"p{n}.png"
        values = np.asarray(Image.open(path)).copy()
        values[: len(values) // 2] = 255 if n else (values[: len(values) // 2] + 1) % 3
        Image.fromarray(values).save(path)
    again = evaluated(folder)
    assert 0.3 < again["miou_float"] < 1 and again["miou_float"] == again["miou_bfp"]


def test_lists_name_targets(folder):
    """A list with the columns file and target; its digest changes with a mask."""
    (folder / "list.csv").write_text("file,target\npictures/p2.png,masks/p2.png\npictures/p0.png,masks/p0.png\n")
    path = folder / "net.toml"
    path.write_text(written(folder, "").read_text().replace('images = "pictures"', 'images = "list.csv"'))
    config = load_config(path)
    images = open_images(config.evaluation, config.input)
    assert images.has_targets and [item.target.name for item in images.items] == ["p2.png", "p0.png"]
    before = images_digest(images)
    Image.new("L", (16, 12)).save(folder / "masks" / "p2.png")
    assert images_digest(images) != before
    (folder / "list.csv").write_text("file,target\npictures/p2.png,\n")
    with pytest.raises(BfpError, match="line 2 lacks the name of a file"):
        open_images(config.evaluation, config.input)


def test_pictures_against_targets(folder):
    """The network hands its picture on; the targets are the pictures, 10 apart, and one that is larger is resized like its own."""
    (folder / "masks" / "p0.png").unlink()
    for n in range(3):
        pixels = np.clip(np.asarray(Image.open(folder / "pictures" / f"p{n}.png")).astype(int), 10, 245)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "masks" / f"p{n}.png")
    found = evaluated(folder, top='task = "image"')
    assert found["target_psnr_float"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert abs(found["target_psnr_bfp"] - found["target_psnr_float"]) < 0.5
    assert any("against the targets, PSNR is 28.13 dB for the float network" in note for note in found["notes"])
    assert "PSNR to the targets float 28.1 dB" in figures(found)


def test_targets_that_do_not_fit(folder):
    pre = Preprocessing(SIZE, (0.0,) * 3, (255.0,) * 3)
    path = folder / "pictures" / "p0.png"
    with pytest.raises(BfpError, match="is 32 x 24 pixels, the network's output 16 x 12"):
        read_target(path, pre, (3, *SIZE), (16, 12))
    assert read_target(path, pre, (3, 24, 32), (16, 12)).shape == (3, 24, 32)  # of a network that doubles
    assert read_target(path, pre, (1, *SIZE), (32, 24)).shape == (1, 12, 16)
    with pytest.raises(BfpError, match="1 or 3 channels, the output has 2"):
        read_target(path, pre, (2, *SIZE), (32, 24))
    written(folder, top='task = "features"')
    assert calib(["calibrate", str(folder / "net.toml"), "--out", str(folder / "out")]) == 0
    with pytest.raises(BfpError, match="targets are masks or pictures, and the network's task is features"):
        prepared = prepare(load_config(folder / "net.toml"), adapted=False)
        informed(prepared.state.judge, prepared.evaluation)


def test_a_metric_of_the_users_sees_masks(folder):
    (folder / "measured_by.py").write_text("def right(output, reference, label):\n    return (output.argmax(0) == label).mean()\n")
    found = evaluated(folder, top='task = "segmentation"\nmetric = "measured_by:right"')
    assert found["metric"] == "measured_by:right" and found["figure"] == 1.0 == found["miou_bfp"]
    sys.modules.pop("measured_by", None)
