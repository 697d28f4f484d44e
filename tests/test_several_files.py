"""A network's file with several inputs and outputs through every command: calibration, evaluation, report, simulations."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from support.report_page import Page
from support.several import Pair, leaves

from bfp import artifact_file
from bfp.errors import BfpError
from bfp.samples import load_samples
from calib.__main__ import main as calib
from calib.config import load_config
from calib.evaluation import evaluate
from calib.pipeline import prepare
from codegen.__main__ import main as codegen
from host.__main__ import main as host

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
    "a picture": ("pairs.npz", "picture.png", "is no .npz file"),
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
