"""A detector from its file to boxes on the simulated board: the same pixels and the same boxes everywhere."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.toy_detector import COLOURS, folder, picture, write_network  # noqa: F401 (folder is a fixture)

from bfp import golden
from bfp.artifact_file import load, save
from bfp.deployment import read_deployment
from bfp.detection import detect
from bfp.errors import BfpError
from bfp.placement import placement
from bfp.samples import load_samples
from calib.__main__ import main as calib
from calib.config import load_config
from calib.evaluation import evaluate
from calib.pipeline import make_artifact, prepare
from codegen.__main__ import main as codegen
from host.__main__ import main as host
from host.detect import Box
from host.driver import Accelerator
from host.image import load_image, normalise
from host.simulated_board import SimulatedBoard


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):  # noqa: F811
    """By whether the detector decodes itself: its file, and its folder of results with artifact and evaluation."""
    found = {}
    for decodes in (False, True):
        path, out = write_network(folder, f"squares_{decodes}".lower(), decodes), tmp_path_factory.mktemp("out")
        for command in ("calibrate", "evaluate", "baselines", "report"):
            assert calib([command, str(path), "--out", str(out)]) == 0
        found[decodes] = path, out
    return found


@pytest.mark.parametrize("decodes", [False, True])
def test_boxes_are_those_of_the_ground_truth(built, decodes):
    """Of the float network and of the integers: the toy's 8-bit boxes are good, and a detector that is off is not."""
    path, out = built[decodes]
    found = json.loads((out / "evaluation.json").read_text())
    assert found["task"] == "detection" and found["metric"] == "matched_boxes" and found["images"] == 13
    assert found["map50_float"] == found["map50_bfp"] == 1.0 and found["figure"] > 0.95
    assert found["agreement"] is None and found["top1_float"] is None and found["sqnr_db"] > 25
    artifact = load(out / "artifact.npz")
    assert artifact.detection.classes == 2 and artifact.detection.names == ("red", "green") and artifact.classes == ()
    page = (out / "report.html").read_text()
    for words in ("mAP50", "matched boxes", "100.00"):
        assert words in page


def test_narrow_mantissas_lose_boxes(built):
    """At two bits boxes move and scores meet: the figures say so."""
    path, _ = built[False]
    prepared = prepare(load_config(path, {"bfp": {"method": "max", "weights": 2, "activations": 3}}))
    found = evaluate.compare(prepared, make_artifact(prepared), prepared.evaluation, "cpu")
    assert found["map50_float"] == 1.0 and found["map50_bfp"] < 0.9 and found["figure"] < 0.9


def test_pixels_are_equal_in_calibration_evaluation_and_samples(built):
    """One preprocessing: that of the board."""
    path, out = built[False]
    prepared = prepare(load_config(path))
    samples = load_samples(out / "samples.npz")
    for images in (prepared.calibration, prepared.evaluation):
        names = [images.name(i) for i in range(len(images))]
        wanted = normalise(np.stack([load_image(name, prepared.config.input) for name in names]), prepared.config.input)
        assert np.array_equal(np.concatenate(list(images.batches(5))), wanted)
    assert np.array_equal(samples.images, wanted[: len(samples.images)])
    bars = samples.images[0, :, [0, 7, 24, 31]]  # the first picture is twice as wide as high
    assert np.allclose(bars, 114 / 255, atol=1e-6)


def boxes_of_integers(path, out, name):
    """Boxes of one picture by the golden model, from the artifact alone."""
    artifact, config = load(out / "artifact.npz"), load_config(path)
    batch = normalise(load_image(name, config.input)[None], config.input)
    values = artifact.result.returned(golden.logits(artifact, golden.quantise_input(artifact, batch)))
    (found,) = detect({artifact.graph.output: values}, artifact.detection, config.input.size)
    corners = placement(Image.open(name).size, config.input).to_picture(found.corners)
    names = artifact.detection.names
    return [Box(int(c), names[c], float(s), *map(float, side)) for c, s, side in zip(found.classes, found.scores, corners)]


def test_the_board_finds_the_same_boxes(built, folder, tmp_path, capsys):  # noqa: F811
    """From a path, a picture, pixels; by the program, as text, CSV and JSON; in pixels of the picture."""
    path, out = built[True]
    assert codegen(["csim", str(out), "--limit", "1"]) == 0
    deploy, library = out / "deploy", out / "csim" / "libengine.so"
    assert read_deployment(deploy).detection == load(out / "artifact.npz").detection
    names = sorted((folder / "squares").glob("*.png"))
    with Accelerator(deploy, device=SimulatedBoard(library, deploy)) as accelerator:
        for name, seed in zip(names[:3], range(3)):
            found = accelerator.detect(name)
            assert found == boxes_of_integers(path, out, name)
            assert found == accelerator.detect(Image.open(name)) == accelerator.detect(np.asarray(Image.open(name)))
            truth = sorted(picture(seed)[1])
            for box, (label, *corners) in zip(sorted(found, key=lambda b: (b.name, b.left, b.top)), truth):
                assert box.name == label and list(COLOURS)[box.index] == label
                np.testing.assert_allclose([box.left, box.top, box.right, box.bottom], corners, atol=2.5)
            assert len(found) == len(truth)
        assert accelerator.detect(names[-1]) == []
        with pytest.raises(BfpError, match="is a detector, whose outputs are boxes; call detect"):
            accelerator.classify(names[0])
    capsys.readouterr()
    words = ["--simulate", str(library)]
    files = ["--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]
    assert host(["run", str(deploy), str(folder / "squares"), *words, *files]) == 0
    said = capsys.readouterr().out
    assert "empty.png\n  nothing\n" in said and "%  red  " in said
    content = json.loads((tmp_path / "a.json").read_text())
    assert len(content["images"]) == 13 and content["images"][0]["boxes"] == [vars(b) for b in boxes_of_integers(path, out, names[0])]
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == sum(len(image["boxes"]) for image in content["images"]) and rows[0]["rank"] == "1"
    sampled = ["--artifact", str(out / "artifact.npz"), "--samples", str(out / "samples.npz"), "--limit", "1", "--show", "2"]
    assert host(["check", str(deploy), *words, *sampled]) == 0
    said = capsys.readouterr().out
    assert "0 mismatches" in said and "00.png, accelerator" in said and "00.png, float network" in said


def test_boxes_of_several_outputs_are_those_of_one(built, folder, tmp_path):  # noqa: F811
    """Two heads of one detector: judged together, NMS over both, on the simulated board as well."""
    path = write_network(folder, "squares_heads", heads=True)
    for command in ("calibrate", "evaluate", "report"):
        assert calib([command, str(path), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["task"] == "detection" and found["map50_float"] == found["map50_bfp"] == 1.0 and found["figure"] > 0.95
    assert set(found["outputs"]) == {"first", "others"}
    artifact = load(tmp_path / "artifact.npz")
    assert len(artifact.outputs) == 2 and artifact.detection == load(built[False][1] / "artifact.npz").detection
    assert codegen(["csim", str(tmp_path), "--limit", "1"]) == 0
    deploy, names = tmp_path / "deploy", sorted((folder / "squares").glob("*.png"))
    with Accelerator(deploy, device=SimulatedBoard(tmp_path / "csim" / "libengine.so", deploy)) as accelerator:
        for name, seed in zip(names[:3], range(3)):
            boxes, truth = accelerator.detect(name), sorted(picture(seed)[1])
            assert sorted(b.name for b in boxes) == [t[0] for t in truth]
            for box, (_, *corners) in zip(sorted(boxes, key=lambda b: (b.name, b.left, b.top)), truth):
                np.testing.assert_allclose([box.left, box.top, box.right, box.bottom], corners, atol=2.5)


def test_an_evaluation_goes_on_where_it_was(built, monkeypatch):
    """Boxes found so far are kept with the sums."""
    path, out = built[False]
    monkeypatch.setattr(evaluate, "batch_size", lambda network: 4)
    prepared, artifact = prepare(load_config(path), adapted=False), load(out / "artifact.npz")
    whole = evaluate.compare(prepared, artifact, prepared.evaluation, "cpu")
    real, seen = evaluate.save_tallies, []

    def interrupted(*words):
        real(*words)
        seen.append(words)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "save_tallies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate.compare(prepared, artifact, prepared.evaluation, "cpu", out / "part.json")
    state = json.loads((out / "part.json").read_text())
    kept = state["tallies"][artifact.graph.output]
    assert kept["done"] == 8 and len(kept["float_boxes"]) >= len(kept["wanted"]) > 0
    again = evaluate.compare(prepared, artifact, prepared.evaluation, "cpu", out / "part.json")
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    kept["bfp_boxes"][0] = [0.5, 1, 1]
    (out / "part.json").write_text(json.dumps(state))
    fresh = evaluate.compare(prepared, artifact, prepared.evaluation, "cpu", out / "part.json")
    assert {**fresh, "seconds": 0} == {**whole, "seconds": 0}


def test_an_artifact_of_another_detector_is_refused(built, tmp_path):
    artifact = load(built[False][1] / "artifact.npz")
    for changed, words in (
        ({"classes": 4, "names": ()}, "no rows of 9"),
        ({"names": ("one",)}, "2 classes has 1 class names"),
        ({"overlap": 1.5}, "detection.overlap is 1.5, not a number from 0 to 1"),
        ({"boxes": "middle"}, "not one of centre, corners"),
    ):
        with pytest.raises(BfpError, match=words):
            save(replace(artifact, detection=replace(artifact.detection, **changed)), tmp_path / "a.npz")
    again = save(replace(artifact, detection=None), tmp_path / "a.npz")
    assert load(tmp_path / "a.npz").detection is None and again.digest != artifact.digest
