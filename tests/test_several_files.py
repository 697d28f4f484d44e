"""A network's file with several inputs and outputs through every command: calibration, evaluation, report, simulations."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from support.report_page import Page
from support.several import Pair, leaves

from bfp import artifact_file, golden
from bfp.errors import BfpError
from bfp.samples import load_samples
from calib.__main__ import main as calib
from calib.config import load_config
from calib.evaluation import evaluate
from calib.data.classes import Classes
from calib.data.images import open_images
from calib.pipeline import prepare
from calib.used_files import images_digest
from codegen.__main__ import main as codegen
from host.__main__ import main as host
from host.image import normalise, part_of_picture

TOML = """
model = "several_test_network:make"
task_output = "scores"
classes = ["a", "b", "c", "d"]

[input]
size = [8, 10]
channels = { left = 3, right = 1 }
mean = [100.0, 110.0, 120.0, 0.5]
std = [50.0, 50.0, 50.0, 2.0]

[calibration]
images = "pairs.npz"

[engine]
lanes = 4
filters = 2
pixels = 2
"""
MODULE = """
from support.several import Pair


class Turned(Pair):
    def forward(self, left, right):
        found = super().forward(left, right)
        return found["map"], {"scores": found["scores"], "none": None}


def make():
    return Turned(3, 1)
"""


def data(count=20):
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 256, (count, 3, 8, 10), np.uint8), rng.normal(0.5, 2, (count, 1, 8, 10)).astype(np.float32)
    images = {"left": torch.from_numpy((left - np.array([100, 110, 120.0])[:, None, None]) / 50).float()}
    images["right"] = torch.from_numpy((right - 0.5) / 2)
    labels = leaves(Pair(3, 1).eval(), images)[0].argmax(1)  # as the float network has it
    return {"left": left, "right": right, "labels": labels.astype(np.int64)}, images


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """TOML path and folder of results."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "several_test_network.py").write_text(MODULE)
    (folder / "net.toml").write_text(TOML)
    np.savez(folder / "pairs.npz", **data()[0])
    out = folder / "out"
    for command in ("calibrate", "evaluate", "report"):
        assert calib([command, str(folder / "net.toml"), "--out", str(out)]) == 0
    words = ["--engine", "lanes=4", "filters=2", "pixels=2"]
    assert codegen(["generate", str(out), *words]) == codegen(["csim", str(out), *words]) == 0
    return folder / "net.toml", out


def test_the_artifact_has_names_formats_and_classes(project):
    artifact = artifact_file.load(project[1] / "artifact.npz")
    assert artifact.graph.inputs == ("left", "right")
    assert [e.preprocessing.mean for e in artifact.inputs] == [(100.0, 110.0, 120.0), (0.5,)]
    (where, scores) = artifact.outputs
    assert scores.tensor == "scores"
    assert where.classes == () and scores.classes == ("a", "b", "c", "d")
    assert scores.offset != 0 and where.offset == 0 and where.scale == 1


def test_evaluation_is_of_the_output_that_the_file_names(project):
    result = json.loads((project[1] / "evaluation.json").read_text())
    artifact = artifact_file.load(project[1] / "artifact.npz")
    assert result["task"] == "classification" and result["top1_float"] == 1.0 and result["top1_bfp"] > 0.8
    assert result["task_output"] == artifact.outputs[1].tensor
    assert list(result["outputs"]) == list(artifact.graph.outputs)
    assert result["outputs"][result["task_output"]]["figure"] == result["figure"]
    assert result["outputs"][artifact.graph.outputs[0]]["task"] == "segmentation"
    assert all(one["sqnr_db"] > 25 for one in result["outputs"].values())
    assert any("the task's figure is of" in note for note in result["notes"])


def test_an_interrupted_evaluation_goes_on_with_every_output(project, monkeypatch):
    path, out = project
    prepared, artifact = prepare(load_config(path), adapted=False), artifact_file.load(out / "artifact.npz")
    images, state = evaluate.images_to_evaluate(prepared), out / "part.json"
    monkeypatch.setattr(evaluate, "batch_size", lambda network: 6)
    whole = evaluate.compare(prepared, artifact, images)
    original, batches = evaluate.save_tallies, []

    def interrupted(*arguments):
        original(*arguments)
        batches.append(1)
        if len(batches) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "save_tallies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate.compare(prepared, artifact, images, state=state)
    monkeypatch.setattr(evaluate, "save_tallies", original)
    again = evaluate.compare(prepared, artifact, images, state=state)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    left_out = json.loads(state.read_text())
    left_out["tallies"].popitem()
    state.write_text(json.dumps(left_out))
    assert {**evaluate.compare(prepared, artifact, images, state=state), "seconds": 0} == {**whole, "seconds": 0}


def test_samples_have_all_channels_and_all_outputs(project):
    artifact, samples = artifact_file.load(project[1] / "artifact.npz"), load_samples(project[1] / "samples.npz")
    _, images = data()
    np.testing.assert_allclose(samples.images, np.concatenate([images["left"], images["right"]], 1)[:8], rtol=1e-5, atol=1e-6)
    found = artifact.graph.output_parts(samples.logits)
    wanted = leaves(Pair(3, 1).eval(), {k: v[:8] for k, v in images.items()})
    for ours, theirs in zip(found.values(), (wanted[1], wanted[0])):
        np.testing.assert_allclose(ours, theirs.reshape(8, -1), rtol=1e-3, atol=1e-4)


def test_the_simulations_are_bit_equal(project, capsys):
    path, out = project
    result = json.loads((out / "csim.json").read_text())
    assert result["mismatches"] == 0 and result["images"] == 2
    files = ["--artifact", str(out / "artifact.npz"), "--samples", str(out / "samples.npz")]
    words = [str(out / "deploy"), *files, "--simulate", str(out / "csim" / "libengine.so"), "--limit", "2"]
    for command in (["check", *words, "--show", "2"], ["verify", *words]):
        assert host(command) == 0
        assert "0 mismatches (bit-equal)" in capsys.readouterr().out


def test_the_report_shows_every_output(project):
    page = Page((project[1] / "report.html").read_text())
    artifact = artifact_file.load(project[1] / "artifact.npz")
    assert not page.open
    assert "Each output of this artifact" in page.text and f"are of {artifact.outputs[1].tensor}." in page.text
    layers = json.loads((project[1] / "layers.json").read_text())["layers"]
    assert [f["name"] for f in layers[:2]] == ["input left", "input right"]


CHANGES = {
    "a number": ("{ left = 3, right = 1 }", "{ left = 3, right = 0 }", "channels is .* table of names"),
    "one name": ("{ left = 3, right = 1 }", "{ left = 3 }", "channels is"),
    "another name": ("right = 1", "third = 1", "has no array 'third', only left, right, labels"),
    "other channels": ("right = 1", "right = 2", "has 4 of them|mean is .* 5 number"),
    "a mean too few": ("120.0, 0.5", "120.0", "mean is .* 4 number"),
    "an array's name": ("pairs.npz", "pairs.npz:left", "of several inputs, the arrays are left, right; leave the names out"),
    "a picture": ("pairs.npz", "picture.png", "is no .npz or .csv file"),
    "another output": ('task_output = "scores"', 'task_output = "score"', "has no output named 'score'; its outputs are"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_does_not_fit_is_one_sentence(project, case, capsys):
    path, _ = project
    old, new, message = CHANGES[case]
    changed = path.with_name(f"changed{list(CHANGES).index(case)}.toml")
    assert old in TOML
    changed.write_text(TOML.replace(old, new))
    assert calib(["calibrate", str(changed), "--out", str(path.parent / "changed")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error


def test_arrays_of_other_counts_are_refused(project):
    path, _ = project
    arrays = data()[0]
    np.savez(path.with_name("uneven.npz"), left=arrays["left"], right=arrays["right"][:-1])
    changed = path.with_name("uneven.toml")
    changed.write_text(TOML.replace("pairs.npz", "uneven.npz"))
    with pytest.raises(BfpError, match="several numbers of images .left 20, right 19.; give as many of each"):
        prepare(load_config(changed))


def test_random_weights_and_random_images(project):
    path, _ = project
    changed = path.with_name("random.toml")
    changed.write_text('weights = "random"\n' + TOML.replace('"pairs.npz"', '"random"\nlimit = 6'))
    prepared = prepare(load_config(changed))
    assert len(prepared.calibration) == 6 and prepared.network.graph.inputs == ("left", "right")


@pytest.fixture
def pictures(tmp_path):
    """Three pairs of pictures, of which the first is larger than the network's input, in a folder for each input."""
    rng = np.random.default_rng(3)
    for name, channels in (("left", (3,)), ("right", ())):
        (tmp_path / name).mkdir()
        for n, size in enumerate(((20, 31), (8, 10), (8, 10))):
            Image.fromarray(rng.integers(0, 256, (*size, *channels), np.uint8)).save(tmp_path / name / f"p{n}.png")
    return tmp_path


def test_lists_of_pictures_for_each_input(project, pictures):
    """Colour and gray by the number of channels, resized to the size; labels by name."""
    (pictures / "pairs.csv").write_text("left;right;label\n" + "".join(f"left/p{n}.png;right/p{n}.png;{'abc'[n]}\n" for n in range(3)))
    path = project[0].with_name("listed.toml")
    path.write_text(TOML.replace("pairs.npz", str(pictures / "pairs.csv")))
    config = load_config(path)
    images = open_images(config.calibration, config.input, classes=Classes(("a", "b", "c", "d")))
    assert images.labels.tolist() == [0, 1, 2]
    batch = next(images.batches(3))
    for n in range(3):
        left, right = (Image.open(pictures / name / f"p{n}.png").resize((10, 8), Image.BICUBIC) for name in ("left", "right"))
        wanted = np.concatenate([np.asarray(left), np.asarray(right)[:, :, None]], 2).astype(np.float32)
        wanted = (wanted - np.array([100, 110, 120, 0.5], np.float32)) / np.array([50, 50, 50, 2], np.float32)
        np.testing.assert_allclose(batch[n], wanted.transpose(2, 0, 1), rtol=1e-6)
    before = images_digest(images)
    Image.new("L", (10, 8)).save(pictures / "right" / "p2.png")
    assert images_digest(images) != before
    for text, reason in (
        ("left,label\nleft/p0.png,a\n", "needs one for each input: left, right"),
        ("left,right\nleft/p0.png,\n", "line 2: .* lacks a file or a class"),
        ("left,right,label\nleft/p0.png,right/p0.png,z\n", "line 2: .* lacks a file or a class"),
    ):
        (pictures / "pairs.csv").write_text(text)
        with pytest.raises(BfpError, match=reason):
            open_images(config.calibration, config.input, classes=Classes(("a", "b", "c", "d")))


def test_pictures_by_name_on_the_board(project, pictures, capsys):
    """One file for each input, or folders with pictures of the same names."""
    out = project[1]
    start = ["run", str(out / "deploy"), "--simulate", str(out / "csim" / "libengine.so"), "--json", str(pictures / "found.json")]
    words = [f"{name}={pictures / name}" for name in ("right", "left")]
    assert host([*start, *words]) == 0
    found = json.loads((pictures / "found.json").read_text())["images"]
    artifact = artifact_file.load(out / "artifact.npz")
    for n, one in enumerate(found):
        assert one["file"] == f"left={pictures}/left/p{n}.png, right={pictures}/right/p{n}.png"
        parts = [part_of_picture(pictures / e.tensor / f"p{n}.png", e.preprocessing) for e in artifact.inputs]
        image = [normalise(p[None], e.preprocessing) for p, e in zip(parts, artifact.inputs)]
        mantissas = golden.quantise_input(artifact, np.concatenate(image, 1))
        logits = artifact.graph.output_parts(golden.logits(artifact, mantissas))[artifact.outputs[1].tensor][0]
        best = [p["name"] for p in one["predictions"]]
        assert len(found) == 3 and best == ["abcd"[i] for i in np.argsort(-logits, kind="stable")]
    single = [f"{name}={pictures / name / 'p1.png'}" for name in ("left", "right")]
    assert host([*start, *single]) == 0
    assert json.loads((pictures / "found.json").read_text())["images"] == found[1:2]
    (pictures / "right" / "p2.png").rename(pictures / "right" / "q2.png")
    for wrong, reason in (
        ([str(pictures / "left" / "p1.png")], "is not NAME=FILE of an input that has none yet; the inputs are left, right"),
        (single[:1], "no picture for the input right; give right=FILE"),
        ([*single, "other=x.png"], "is not NAME=FILE of an input that has none yet; the inputs are left, right"),
        ([*single[:1], *single[:1]], "of an input that has none yet"),
        (words, "the inputs left and right have 3 and 3 pictures, not of the same names"),
        (["left=nowhere.png"], "image nowhere.png does not exist"),
    ):
        capsys.readouterr()
        assert host([*start, *wrong]) == 2
        assert reason in capsys.readouterr().err
