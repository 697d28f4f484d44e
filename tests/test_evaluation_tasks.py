"""Each task has a figure that means something: outputs that are alike, outputs that are not, and what labels say."""

from __future__ import annotations

import numpy as np
import pytest

from bfp.boxes import Boxes
from bfp.detection import Detection
from bfp.errors import BfpError
from calib import auto
from calib.evaluation.intervals import loss_interval, share_interval
from calib.evaluation.shown import figure_text, own_text, title_of, truth_of, words_of
from calib.evaluation.tally import Tally
from calib.judge import Judge
from calib.measures import COSINE, MATCHED_BOXES, MEAN_IOU, MEASURES, MOST_DB, PSNR
from calib.task_options import TASKS as STATED
from calib.tasks import TASKS, task_of
from calib.user_metric import UserMetric

SHAPES = {
    "classification": (5, 1, 1), "binary": (1, 1, 1), "segmentation": (4, 6, 5), "image": (3, 6, 5), "regression": (2, 1, 1),
    "detection": (3 * 7, 1, 1), "features": (9, 1, 1),
}  # fmt: skip
DETECTION = Detection(2, score=0.0, unit="relative", overlap=0.9)


def outputs(name, seed=0, count=200):
    drawn = np.random.default_rng(seed).normal(size=(count, int(np.prod(SHAPES[name]))))
    return np.abs(drawn) if name == "detection" else drawn  # boxes that have an area


def judge_of(name, labels=None, **fields):
    return Judge(TASKS[name], SHAPES[name], labels, detection=DETECTION if name == "detection" else None, **fields)


def figures(judge, reference, quantised):
    tally = Tally()
    for part in (slice(0, 70), slice(70, None)):  # two batches
        tally.add(judge, reference[part], quantised[part])
    return tally.figures(judge)


def test_the_file_knows_the_tasks_that_there_are():
    assert set(STATED) == set(TASKS) == set(SHAPES)
    assert {t.measure.name for t in TASKS.values()} == set(MEASURES)
    for name, measure in MEASURES.items():
        assert title_of(name) and words_of(name) == measure.words and figure_text(0.5, measure.unit)


@pytest.mark.parametrize("name", TASKS)
def test_the_same_is_best_and_chance_is_not(name):
    reference, other = outputs(name), outputs(name, 1)
    same, chance = figures(judge_of(name), reference, reference), figures(judge_of(name), reference, other)
    assert same["figure"] == pytest.approx({"psnr_db": MOST_DB}.get(TASKS[name].measure.name, 1.0))
    expected = {
        "classification": (0.2, 0.1), "binary": (0.5, 0.12), "segmentation": (0.15, 0.05), "features": (0.0, 0.1), "detection": (0.1, 0.1),
    }  # fmt: skip
    middle, width = expected.get(name, (0.0, 20.0))
    assert abs(chance["figure"] - middle) < width  # one logit is not always right
    assert (same["agreement"] is None) == (name in ("image", "regression", "features", "detection"))
    slightly = figures(judge_of(name), reference, reference + 1e-3 * other)
    assert chance["figure"] < slightly["figure"] <= same["figure"] and 55 < slightly["sqnr_db"] < 65


@pytest.mark.parametrize("name", TASKS)
def test_figures_do_not_depend_on_batches(name):
    reference, other = outputs(name, count=40), outputs(name, 1, 40)
    other = reference + 0.3 * other
    whole = Tally()
    whole.add(judge_of(name), reference, other)
    assert whole.figures(judge_of(name))["figure"] == pytest.approx(figures(judge_of(name), reference, other)["figure"])


def test_labels_of_one_output_are_sides_of_zero():
    reference = outputs("binary")
    judge = judge_of("binary", (reference[:, 0] > 0).astype(np.int64))
    found = figures(judge, reference, -reference)
    assert found["top1_float"] == 1.0 and found["top1_bfp"] == 0.0 and found["agreement"] == 0.0
    assert found["agreement_interval"][0] == 0.0 and found["loss_interval"] == 0.0
    assert truth_of(found) == ("top-1", 1.0, 0.0)


def test_intervals_are_those_of_the_images_one_by_one():
    """Of a loss that of 1, -1 and 0 of each image; of agreement Wilson's, where an image has one answer, and no other."""
    reference, other = outputs("classification", count=40), outputs("classification", 1, 40)
    quantised = reference + 0.8 * other
    labels = np.where(np.arange(40) % 3 == 0, quantised.argmax(1), reference.argmax(1))
    found = figures(judge_of("classification", labels), reference, quantised)
    differences = (reference.argmax(1) == labels).astype(float) - (quantised.argmax(1) == labels)
    assert {-1.0, 0.0, 1.0} == set(differences)
    assert found["top1_float"] - found["top1_bfp"] == pytest.approx(differences.mean())
    assert found["loss_interval"] == pytest.approx(1.96 * differences.std(ddof=1) / 40**0.5)
    low, high = found["agreement_interval"]
    n, share = 40, found["agreement"]
    for end in (low, high):  # both solve |share - p| = 1.96 sqrt(p (1 - p) / n)
        assert abs(share - end) == pytest.approx(1.96 * (end * (1 - end) / n) ** 0.5)
    assert low < share < high < 1 and loss_interval(1, 0, 1) is None
    assert share_interval(40, 40) == (pytest.approx(1 / (1 + 1.96**2 / 40)), 1.0) and share_interval(0, 40)[0] == 0.0
    maps = figures(judge_of("segmentation"), outputs("segmentation"), outputs("segmentation", 1))
    assert maps["agreement"] is not None and maps["agreement_interval"] is None and maps["loss_interval"] is None


def test_a_threshold_is_of_what_the_network_returns():
    """Behind a sigmoid 0.5 is zero, and so it is without a threshold; one above the largest leaves nothing to disagree on."""
    host = ("reshape.1", "sigmoid")
    reference, other = outputs("binary"), outputs("binary", 1)
    plain, half, high = (
        figures(judge_of("binary", host=host, threshold=t), reference, other)["figure"] for t in (None, 0.5, 0.999)
    )
    assert plain == half == ((reference > 0) == (other > 0)).mean() and high == 1.0
    raw = figures(judge_of("binary", threshold=1.0), reference, other)["figure"]
    assert raw == ((reference > 1) == (other > 1)).mean()


def test_values_are_compared_as_the_network_returns_them():
    """A tanh at the end saturates: what differs before it may be the same behind it."""
    reference = np.sign(outputs("image")) * 40
    judge = judge_of("image", host=("reshape.3.6.5", "tanh"))
    assert figures(judge, reference, reference * 1.5)["figure"] == MOST_DB
    assert figures(judge_of("image"), reference, reference * 1.5)["figure"] < 20


def test_mean_iou_by_hand():
    """One image of two classes: of class 0 two of three pixels, of class 1 one of two; a third class never occurs."""
    a, b = np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]])
    maps = [np.stack([1.0 - m, m * 1.0, m * 0.0 - 1], 1).reshape(1, 3, 1, 4) for m in (a, b)]
    assert MEAN_IOU.of_set(MEAN_IOU.rows(*maps)) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert TASKS["segmentation"].alike(*maps)[0] == 0.75
    # over a set, pixels are added up before they are divided
    again = [np.concatenate([m, maps[0]]) for m in maps]
    assert MEAN_IOU.of_set(MEAN_IOU.rows(*again)) == pytest.approx((4 / 5 + 3 / 4) / 2)


def test_peak_ratio_by_hand():
    """The peak is the range over all images, so that a single value for each has one, too."""
    reference = np.array([0.0, 255.0] * 8).reshape(1, 1, 4, 4)
    assert PSNR.of_set(PSNR.rows(reference, reference + 1)) == pytest.approx(20 * np.log10(255))
    ones = np.array([[0.0], [255.0], [100.0]])
    assert PSNR.of_set(PSNR.rows(ones, ones - 1)) == pytest.approx(20 * np.log10(255))
    assert PSNR.of_set(PSNR.rows(ones, ones)) == MOST_DB and PSNR.of_set(PSNR.rows(0 * ones, ones)) == -MOST_DB


def test_cosine_by_hand():
    a, b = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 0.0], [1.0, 0.0]])
    assert COSINE.of_set(COSINE.rows(a, b)) == pytest.approx((24 / 25 + 1 + 0) / 3)


def test_matched_boxes_by_hand():
    """Two boxes of the float network, of which one has a partner; a box of another class is none."""
    here, there = [0.0, 0, 10, 10], [20.0, 20, 30, 30]
    a = Boxes(np.array([here, there]), np.array([0.9, 0.8]), np.array([0, 1]))
    b = Boxes(np.array([[0.0, 0, 10, 8], there]), np.array([0.7, 0.6]), np.array([0, 0]))
    row = MATCHED_BOXES.rows([a], [b])[0]
    assert row.tolist() == [2, 4, 1, 0.8] and MATCHED_BOXES.figure(row) == 0.5
    nothing = MATCHED_BOXES.rows([Boxes.none()], [Boxes.none()])
    assert MATCHED_BOXES.of_set(nothing) == 1.0 and MATCHED_BOXES.of_set(MATCHED_BOXES.rows([a], [Boxes.none()])) == 0.0


@pytest.mark.parametrize(
    "output, found, noted",
    [((10, 1, 1), "classification", False), ((1, 1, 1), "binary", True), ((21, 30, 30), "segmentation", True),
     ((3, 32, 32), "image", True), ((1, 8, 8), "image", True), ((3, 8, 8), "segmentation", True)],
)  # fmt: skip
def test_tasks_that_shapes_show(output, found, noted):
    task, note = task_of(None, (3, 32, 32), output)
    assert task.name == found and bool(note) == noted and (not noted or found in note)
    assert task_of("features", (3, 32, 32), output)[0].name == "features"


def test_a_vector_of_length_one_is_no_list_of_classes():
    task, note = task_of(None, (3, 32, 32), (64, 1, 1), ("reshape.64", "normalise.1"))
    assert task.name == "features" and "features" in note


@pytest.mark.parametrize("stated, output", [("classification", (1, 1, 1)), ("classification", (4, 2, 2)), ("binary", (2, 1, 1)), ("segmentation", (1, 4, 4))])
def test_tasks_that_an_output_cannot_have(stated, output):
    with pytest.raises(BfpError, match=f"task '{stated}' needs"):
        task_of(stated, (3, 32, 32), output)


# -- the user's own figure ---------------------------------------------------------------------


def own(function):
    return UserMetric("metrics:own", function, "net.toml: metric")


def test_a_metric_of_the_user_sees_one_image_at_a_time():
    reference, other = outputs("segmentation", count=100), outputs("segmentation", 1, 100)
    seen = []

    def metric(output, reference, label):
        seen.append((output.shape, label))
        output += 1  # its own to change
        return -np.abs(output - 1 - reference).max()

    judge = judge_of("segmentation", np.arange(100), metric=own(metric))
    found = figures(judge, reference, other)
    assert found["metric"] == "metrics:own" and found["agreement"] is not None
    assert found["figure"] == pytest.approx(-np.abs(reference - other).max(1).mean())
    assert seen == [((4, 6, 5), n) for n in range(100)]
    assert title_of("metrics:own") == "own" and own_text(found) == f"{found['figure']:.4g}"


@pytest.mark.parametrize(
    "result, words",
    [(float("nan"), "returns nan"), (float("inf"), "returns inf"), ("good", "returns 'good'"), (None, "returns None"),
     (np.zeros(2), "returns array"), ([1.0], "returns \\[1.0\\]"), (1j, "returns 1j"), (10**400, "returns 1000")],
)  # fmt: skip
def test_a_metric_must_give_one_finite_number(result, words):
    with pytest.raises(BfpError, match=f"net.toml: metric 'metrics:own', image 0.*{words}.*one finite number"):
        figures(judge_of("features", metric=own(lambda *a: result)), outputs("features"), outputs("features"))


def test_a_metric_that_fails_is_named_with_its_image():
    def metric(output, reference, label):
        if len(calls) == 75:
            raise RuntimeError("no \x1b such luck")
        calls.append(label)
        return np.float32(1)

    calls: list = []
    with pytest.raises(BfpError, match=r"metric 'metrics:own', image 75 without a label: it fails \(RuntimeError: no \\x1b such luck\)"):
        figures(judge_of("features", metric=own(metric)), outputs("features"), outputs("features"))
    with pytest.raises(BfpError, match="ends the program"):
        figures(judge_of("features", metric=own(lambda *a: exit(3))), outputs("features"), outputs("features"))
    with pytest.raises(BfpError, match="fails \\(TypeError"):
        figures(judge_of("features", metric=own(lambda output: 1)), outputs("features"), outputs("features"))


# -- what the default method chooses by ----------------------------------------------------------


def trial(judge, reference, quantised, sqnr_db):
    rows = judge.rows(reference, quantised)
    return auto.Trial(sqnr_db, rows, judge.measure.of_set(rows))


def test_the_figure_decides_where_it_is_certain():
    """Noise in all values that moves no answer, and noise in a few that does: the first is louder, and better."""
    reference = outputs("binary", count=16) + 3
    harmless, harmful = reference * 2, reference.copy()
    harmful[:8] = -0.01
    judge = judge_of("binary")
    trials = {"harmful": trial(judge, reference, harmful, 30.0), "harmless": trial(judge, reference, harmless, 0.0)}
    assert trials["harmless"].figure == 1.0 and trials["harmful"].figure == 0.5
    assert auto.best(trials, judge) == "harmless" and auto.best(trials, None) == "harmful"


def test_noise_decides_where_the_figure_is_not_certain():
    """One answer of sixteen more or less is chance; so is any difference on one image."""
    reference = outputs("binary", count=16) + 5
    one_wrong = reference.copy()
    one_wrong[0] = -1
    judge = judge_of("binary")
    trials = {"a": trial(judge, reference, one_wrong, 30.0), "b": trial(judge, reference, reference * 3, 10.0)}
    assert auto.best(trials, judge) == "a"
    single = {"a": trial(judge, reference[:1], -reference[:1], 30.0), "b": trial(judge, reference[:1], reference[:1], 10.0)}
    assert auto.best(single, judge) == "a"
    equal = {"first": trials["a"], "second": trials["a"]}
    assert auto.best(equal, judge) == "first"


def test_what_is_usually_better_stays_where_noise_says_nothing_for_certain():
    """One image out of eight that one candidate does much better is chance; all of them, if only a little, is none."""
    quiet = np.full((8, 1, 2), (100.0, 1.0))
    once, always = quiet.copy(), quiet * (1, 0.9)
    once[0, 0, 1] = 0.01
    for other, taken in ((once, "usual"), (always, "other"), (quiet, "usual"), (always[:1], "usual")):
        powers = {"usual": quiet[: len(other)], "other": other}
        trials = {n: auto.Trial(auto.noise_ratio(p), np.zeros((len(p), 0)), powers=p) for n, p in powers.items()}
        assert auto.best(trials, None, "usual") == taken
        assert auto.best(trials, None) == ("usual" if other is quiet else "other")


@pytest.mark.parametrize("name", ["segmentation", "image", "features"])
def test_figures_that_are_no_means_are_judged_with_certainty_too(name):
    """Half the noise in every image is better for certain, whatever SQNR is claimed; the same noise in another seed is not."""
    reference, noise = outputs(name, count=16), outputs(name, 1, 16)
    judge = judge_of(name)
    loud, soft = (trial(judge, reference, reference + s * noise, 0.0) for s in (0.8, 0.2))
    assert auto.certainly_better(soft.rows, loud.rows, judge.measure.of_set) and not auto.certainly_better(loud.rows, soft.rows, judge.measure.of_set)
    assert auto.best({"loud": auto.Trial(9.0, loud.rows, loud.figure), "soft": soft}, judge) == "soft"
    assert not auto.certainly_better(soft.rows, soft.rows, judge.measure.of_set)
