"""What a file says of how its network is judged: options and their refusals, lists of boxes, the user's metric as a file."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from support.project import NAME, Project, ran, skipped

from bfp.artifact_file import load
from bfp.errors import BfpError
from calib.__main__ import main as calib
from calib.config import load_config
from calib.data.classes import Classes
from calib.data.images import open_images
from calib.data.lists import read_list
from calib.evaluation.sweep import points
from calib.evaluation.sweep.ablation import cell
from calib.evaluation.sweep.picture import page
from calib.evaluation.sweep.results import summary, table
from calib.detection_options import DetectionOptions, detector
from calib.options import ImageOptions
from calib.used_files import images_digest, metric_files, module_files
from static_bfp.tasks import of_network

FILE = """
model = "judged_network:make"
{top}
[input]
size = 12
mean = 127
std = 64
{input}
[calibration]
images = "random"
limit = 6
[evaluation]
images = "pictures.npz"
{sections}
[bfp]
method = "{method}"
"""
NETWORK = """
import torch
from torch import nn


def make(outputs=1, last="Identity"):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(200, outputs), getattr(nn, last)())
"""


def written(folder, top="", input="", sections="", method="max"):
    (folder / "net.toml").write_text(FILE.format(top=top, input=input, sections=sections, method=method))
    return folder / "net.toml"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "judged_network.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "pictures.npz", images=rng.integers(0, 256, (20, 12, 12, 3), np.uint8), labels=np.arange(20) % 2)
    yield tmp_path
    for name in ("judged_network", "judged_by", "judged_beside"):
        sys.modules.pop(name, None)
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def test_everything_is_read(tmp_path):
    config = load_config(written(tmp_path))
    assert (config.task, config.threshold, config.metric, config.detection, config.input.letterbox) == (None,) * 5
    config = load_config(written(tmp_path, 'task = "binary"\nthreshold = 0.5\nmetric = "a.b:c"', "letterbox = true"))
    assert (config.task, config.threshold, config.metric, config.input.letterbox) == ("binary", 0.5, "a.b:c", 114)
    assert load_config(written(tmp_path, input="letterbox = 0")).input.letterbox == 0
    assert load_config(written(tmp_path, input="letterbox = false\nresize = 20")).input.letterbox is None
    config = load_config(written(tmp_path, 'task = "detection"'))
    assert config.detection == DetectionOptions()
    section = '[detection]\nboxes = "corners"\nunit = "relative"\nobjectness = false\nscores = "logits"\nscore = 0\noverlap = 1\nmost = 7\nclasses = 3'
    config = load_config(written(tmp_path, sections=section))
    assert config.task == "detection"
    assert config.detection == DetectionOptions("corners", "relative", False, "logits", 0.0, 1.0, 7, 3)


@pytest.mark.parametrize(
    "words, message",
    [
        ({"top": 'task = "guess"'}, "task is 'guess'; it must be one of classification, binary, .*, detection, features"),
        ({"top": "threshold = 0.5"}, "threshold is of binary networks; say task = \"binary\""),
        ({"top": 'task = "features"\nthreshold = 0.5'}, "threshold is of binary networks"),
        ({"top": 'task = "binary"\nthreshold = nan'}, "threshold is nan; it must be a number"),
        ({"top": 'metric = "dice"'}, "metric is 'dice'; it must be 'module:callable'"),
        ({"top": "metric = 3"}, "metric is 3; it must be a text"),
        ({"top": 'task = "image"', "sections": "[detection]"}, "task is 'image', and .detection. is of detectors"),
        ({"top": "detection = 3"}, "detection must be a table"),
        ({"sections": '[detection]\nboxes = "middle"'}, r"\[detection\] boxes is 'middle'; it must be one of centre, corners"),
        ({"sections": "[detection]\nscore = 2"}, r"\[detection\] score is 2; it must be a number from 0 to 1"),
        ({"sections": "[detection]\nnms = 2"}, r"\[detection\] nms is not a known key"),
        ({"sections": "[detection]\nmost = 0"}, r"\[detection\] most is 0"),
        ({"input": "letterbox = 256"}, r"\[input\] letterbox is 256; it must be true, or the gray of the bars, 0 to 255"),
        ({"input": 'letterbox = "black"'}, r"\[input\] letterbox is 'black'"),
        ({"input": "letterbox = true\nresize = 20"}, r"\[input\] letterbox keeps the whole picture, and resize crops it"),
        ({"input": "letterbox = true\nchannels = 3"}, r"\[input\] letterbox is not a known key"),
    ],
)
def test_refused(tmp_path, words, message):
    with pytest.raises(BfpError, match=message):
        load_config(written(tmp_path, **words))


@pytest.mark.parametrize(
    "options, names, returned, classes",
    [({}, ("a", "b"), (1, 14), 2), ({}, (), (1, 10, 8), 3), ({"classes": 3}, (), (1, 80), 3), ({"objectness": False}, (), (1, 9, 8), 4)],
)
def test_classes_of_a_detector(options, names, returned, classes):
    found = detector(DetectionOptions(**options), names, returned, "net")
    assert found.classes == classes and found.names == names and found.columns == 4 + options.get("objectness", True) + classes


@pytest.mark.parametrize(
    "options, names, returned, message",
    [
        ({}, (), (1, 80), "may be boxes of any number of classes; name the classes"),
        ({}, ("a", "b"), (1, 10, 8), "2 class names, 3 by its output's shape .rows of 8 numbers, 5 of them no classes."),
        ({"classes": 2}, ("a",), (1, 12), "1 class names, 2 classes in .detection."),
        ({}, (), (1, 10, 5), "0 by its output's shape"),
    ],
)
def test_detectors_that_contradict_themselves(options, names, returned, message):
    with pytest.raises(BfpError, match=f"^net.*{message}"):
        detector(DetectionOptions(**options), names, returned, "net")


# -- lists of boxes ----------------------------------------------------------------------------

HEAD = "file,label,left,top,right,bottom\n"


def test_a_list_of_boxes(tmp_path):
    """Several lines of a file are boxes of one image; separators, spaces and order of columns do not matter."""
    (tmp_path / "a.csv").write_text("label; top; left; file; bottom; right\n1; 2; 1; a.png; 20; 10.5\n; ; ; b.png; ;\ncat; 0; 0; a.png; 5; 5\n")
    (a, boxes), (b, none) = read_list(tmp_path / "a.csv", Classes(("cat", "dog")))
    assert (a, b) == (tmp_path / "a.png", tmp_path / "b.png") and len(none) == 0 and none.corners.shape == (0, 4)
    assert boxes.corners.tolist() == [[1, 2, 10.5, 20], [0, 0, 5, 5]] and boxes.classes.tolist() == [1, 0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,label,left,top\na.png,1,0,0\n", "boxes need left, top, right, bottom, all of them"),
        (HEAD + "a.png,0,0,0,5,5\na.png,5,9,0,5,5\n", "line 3: .'5', '9', '0', '5', '5'. is no box"),
        (HEAD + "a.png,bird,0,0,5,5\n", "line 2.*is no box; it must be a class"),
        (HEAD + "a.png,0,0,0,5,\n", "line 2.*left < right"),
        (HEAD + "a.png,0,0,0,nan,5\n", "line 2"),
        (HEAD + "a.png,,0,0,5,5\n", "line 2"),
        (HEAD + ",0,0,0,5,5\n", "line 2"),
        (HEAD + "a.png,0,0.1,0.1,0.5,0.5\n", "all boxes lie within one pixel"),
        (HEAD, "lists no images"),
    ],
)
def test_lists_that_are_no_boxes(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BfpError, match=f"a.csv.*{message}"):
        read_list(tmp_path / "a.csv", Classes(("cat", "dog")))


def test_boxes_belong_to_the_identity_of_images(tmp_path):
    config = load_config(written(tmp_path))
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    seen = []
    for line in ("a.png,0,0,0,5,5", "a.png,0,0,0,5,6", "a.png,1,0,0,5,6", "a.png,,,,,"):
        (tmp_path / "a.csv").write_text(HEAD + line + "\n")
        images = open_images(ImageOptions((str(tmp_path / "a.csv"),)), config.input)
        seen.append(images_digest(images))
        assert images.labels is None and len(images.truths) == 1
    assert len(set(seen)) == 4
    (tmp_path / "a.csv").write_text(HEAD + "a.png,7,0,0,5,6\n")
    with pytest.raises(BfpError, match="a.png: a box has label 7, and there are 2 classes"):
        open_images(ImageOptions((str(tmp_path / "a.csv"),)), config.input).check_boxes(2)


# -- one output, and the user's figure ---------------------------------------------------------


def evaluated(folder, path, capsys):
    """What evaluation finds, and the line that it prints."""
    for command in ("calibrate", "evaluate"):
        assert calib([command, str(path), "--out", str(folder / "out")]) == 0, capsys.readouterr().err
    return json.loads((folder / "out" / "evaluation.json").read_text()), capsys.readouterr().out


@pytest.mark.parametrize("last, top", [("Identity", ""), ("Sigmoid", ""), ("Sigmoid", 'task = "binary"\nthreshold = 0.5')])
def test_one_output_is_judged_by_its_side(folder, capsys, last, top):
    """Narrow mantissas turn some of its answers, and labels count against both networks."""
    path = written(folder, f'{top}\narguments = {{ last = "{last}" }}', method="max").read_text().replace("[bfp]", "[bfp]\nweights = 2\nactivations = 2")
    (folder / "net.toml").write_text(path)
    found, line = evaluated(folder, folder / "net.toml", capsys)
    assert found["task"] == "binary" and found["metric"] == "agreement" and 0 < found["agreement"] < 1
    assert 0 < found["top1_float"] < 1 and "binary, top-1 float" in line
    assert any("binary" in note for note in found["notes"]) == (not top)


METRIC = """
import json
from pathlib import Path
from judged_beside import SCALE


def likeness(output, reference, label):
    return -SCALE * float(abs(output - reference).sum()) + (0 if label is None else label)
"""


def test_the_users_figure_is_used_everywhere(folder, capsys):
    """In evaluation, the choice of the method, sweep and report; a name of its own in each."""
    (folder / "judged_by.py").write_text(METRIC)
    (folder / "judged_beside.py").write_text("SCALE = 2\n")
    path = written(folder, 'metric = "judged_by:likeness"\ntask = "regression"\narguments = { outputs = 3 }', method="auto")
    found, line = evaluated(folder, path, capsys)
    assert found["metric"] == "judged_by:likeness" and found["task"] == "regression" and found["figure"] < 0.5
    assert re.search(r"20 images, regression, likeness -?[\d.]+, SQNR", line)
    record = load(folder / "out" / "artifact.npz").provenance
    assert record["judged_by"] == "judged_by:likeness" and set(record["figures"]) == set(record["sqnr_db"])
    assert calib(["report", str(path), "--out", str(folder / "out")]) == 0
    assert ">likeness</th>" in (folder / "out" / "report.html").read_text()
    chosen = [p for p in points.sweep_points(load_config(path)) if p.method in ("max", "online") and p.widths == (4, 4)]
    measured = [points.measure(p.job(), str(folder / "state.json")) for p in chosen]
    content = summary("net", chosen, measured, {})
    rows = content["points"]
    assert len(rows) == 4 and all(r["figure"] < 0.5 and r["metric"] == "judged_by:likeness" for r in rows)
    drawn = page(content)
    assert "likeness against mantissa width" in drawn and f"<td>{rows[0]['figure']:.4g}</td>" in drawn and "failed" not in drawn
    assert f"{rows[0]['figure']}" in table(rows) and cell(measured[0]) == f"{rows[0]['figure']:.4g}"
    config = load_config(path)
    assert metric_files(config) == [str(folder / "judged_by.py")] and str(folder / "judged_by.py") in module_files(config)
    assert set(json.loads((folder / "out" / "evaluate.files.json").read_text())) >= {str(folder / f"judged_{n}.py") for n in ("by", "beside")}


def test_a_sweep_of_values_is_drawn_in_decibels():
    """No answers that could agree, and no share that ends at 100 %: an axis of its own, and nothing is called failed."""
    figures = {"images": 9, "task": "image", "metric": "psnr_db", "agreement": None, "sqnr_db": 20.0}
    chosen = [points.Point(f"max, {b} bits", "net", "max", "max", (b, b), (64, 0), {}) for b in (4, 6, 8)]
    content = summary("net", chosen, [{**figures, "figure": 10.0 * n - 3} for n in (1, 2, 3)], {})
    drawn = page(content)
    assert "PSNR against mantissa width" in drawn and "7.0 dB" in drawn and "20 dB" in drawn and "failed" not in drawn
    assert all(1 < float(y) < 400 for y in re.findall(r'cy="([\d.]+)"', drawn)) and "against the float" not in drawn
    lost = page(summary("net", chosen, [None] * 3, {p.name: "no luck" for p in chosen}))
    assert lost.count("failed: no luck") == 3 and "<svg viewBox" not in lost.split("Every point")[0]


@pytest.mark.parametrize("text, message", [("def other(): pass", "cannot be imported .AttributeError"), ("likeness = 3", "is 3; it must be a callable"),
                                           ("raise SystemExit(4)", "cannot be imported .SystemExit"), ("import nowhere", "ModuleNotFoundError")])  # fmt: skip
def test_metrics_that_are_none(folder, capsys, text, message):
    (folder / "judged_by.py").write_text(text)
    assert calib(["calibrate", str(written(folder, 'metric = "judged_by:likeness"')), "--out", str(folder / "out")]) == 2
    assert re.search(f"metric 'judged_by:likeness'.*{message}", capsys.readouterr().err)


def test_the_evaluation_task_depends_on_the_metric(folder, monkeypatch):
    """What is judged by changes no artifact, so that the artifact alone does not say whether an evaluation is of today."""
    (folder / "judged_by.py").write_text(METRIC)
    path = written(folder, 'metric = "judged_by:likeness"')
    task = of_network.evaluate("net", path)
    assert str(folder / "judged_by.py") in task["file_dep"] and str(folder / "judged_network.py") not in task["file_dep"]
    assert (of_network.same_files, [of_network.BUILD / "net" / "evaluate.files.json"]) in task["uptodate"]
    assert str(folder / "judged_by.py") in of_network.calibrate("net", path)["file_dep"]


@pytest.mark.heavy
def test_a_changed_metric_outdates_the_evaluation(tmp_path):
    """Its module, and what that imports; the artifact is made again, and stays the same."""
    project = Project(tmp_path, "project")
    (project.user / "judged_by.py").write_text(METRIC)
    (project.user / "judged_beside.py").write_text("SCALE = 2\n")
    path = project.user / "toy.toml"
    path.write_text(path.read_text().replace('weights = "toy.pth"', 'weights = "toy.pth"\nmetric = "judged_by:likeness"\ntask = "features"'))
    assert ran(project.doit("evaluate", "net=toy.toml")) == ["calibrate", "evaluate"]
    first, artifact = project.read("evaluation")["figure"], (project.build / "artifact.npz").read_bytes()
    assert skipped(project.doit("evaluate", "net=toy.toml")) == ["calibrate", "evaluate"]
    (project.user / "judged_beside.py").write_text("SCALE = 4\n")
    assert ran(project.doit("evaluate", "net=toy.toml")) == ["calibrate", "evaluate"]
    assert project.read("evaluation")["figure"] == pytest.approx(2 * first) and first < 0
    assert (project.build / "artifact.npz").read_bytes() == artifact and f"{NAME}" in str(project.build)
