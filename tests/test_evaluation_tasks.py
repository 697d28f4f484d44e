"""Each task has a figure that means something: outputs that are alike, outputs that are not, and what labels say."""

from __future__ import annotations

import numpy as np
import pytest

from bfp.errors import BfpError
from calib.config import TASKS as STATED
from calib.evaluation.tally import Judge, Tally
from calib.tasks import MOST_DB, TASKS, task_of

SHAPES = {"classification": (5, 1, 1), "binary": (1, 1, 1), "segmentation": (4, 6, 5), "image": (3, 6, 5), "regression": (2, 1, 1), "features": (9, 1, 1)}


def outputs(name, seed=0, count=200):
    return np.random.default_rng(seed).normal(size=(count, int(np.prod(SHAPES[name]))))


def figures(name, reference, quantised, labels=None):
    judge, tally = Judge(TASKS[name], SHAPES[name], labels), Tally()
    for part in (slice(0, 70), slice(70, None)):  # two batches
        tally.add(judge, reference[part], quantised[part])
    return tally.figures(judge)


def test_the_file_knows_the_tasks_that_there_are():
    assert set(STATED) == set(TASKS) == set(SHAPES)


@pytest.mark.parametrize("name", TASKS)
def test_the_same_is_best_and_chance_is_not(name):
    reference, other = outputs(name), outputs(name, 1)
    same, chance = figures(name, reference, reference), figures(name, reference, other)
    assert same["figure"] == pytest.approx({"psnr_db": MOST_DB}.get(TASKS[name].metric, 1.0))
    expected = {"classification": (0.2, 0.1), "binary": (0.5, 0.12), "segmentation": (0.15, 0.05), "features": (0.0, 0.1)}
    middle, width = expected.get(name, (0.0, 20.0))
    assert abs(chance["figure"] - middle) < width  # one logit is not always right
    assert (same["agreement"] is None) == (name in ("image", "regression", "features"))
    slightly = figures(name, reference, reference + 1e-3 * other)
    assert chance["figure"] < slightly["figure"] <= same["figure"] and slightly["sqnr_db"] == pytest.approx(60, abs=1)


def test_labels_of_one_output_are_sides_of_zero():
    reference = outputs("binary")
    labels = (reference[:, 0] > 0).astype(np.int64)
    found = figures("binary", reference, -reference, labels)
    assert found["top1_float"] == 1.0 and found["top1_bfp"] == 0.0 and found["agreement"] == 0.0


def test_mean_iou_by_hand():
    """One image of two classes: of class 0 two of three pixels, of class 1 two of three."""
    a, b = np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]])
    maps = [np.stack([1.0 - m, m * 1.0], 1).reshape(1, 2, 1, 4) for m in (a, b)]
    assert TASKS["segmentation"].figure(*maps)[0] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert TASKS["segmentation"].alike(*maps)[0] == 0.75


def test_peak_ratio_by_hand():
    reference = np.array([0.0, 255.0] * 8).reshape(1, 1, 4, 4)
    assert TASKS["image"].figure(reference, reference + 1)[0] == pytest.approx(20 * np.log10(255))


@pytest.mark.parametrize(
    "output, found, noted",
    [((10, 1, 1), "classification", False), ((1, 1, 1), "binary", True), ((21, 30, 30), "segmentation", True),
     ((3, 32, 32), "image", True), ((1, 8, 8), "image", True), ((3, 8, 8), "segmentation", True)],
)  # fmt: skip
def test_tasks_that_shapes_show(output, found, noted):
    task, note = task_of(None, (3, 32, 32), output)
    assert task.name == found and bool(note) == noted and (not noted or found in note)
    assert task_of("features", (3, 32, 32), output)[0].name == "features"


@pytest.mark.parametrize("stated, output", [("classification", (1, 1, 1)), ("classification", (4, 2, 2)), ("binary", (2, 1, 1)), ("segmentation", (1, 4, 4))])
def test_tasks_that_an_output_cannot_have(stated, output):
    with pytest.raises(BfpError, match=f"task '{stated}' needs"):
        task_of(stated, (3, 32, 32), output)
