"""Boxes: overlap, suppression, partners, a detector's rows, where a picture lies in the input, and average precision."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bfp.artifact import Preprocessing
from bfp.boxes import CANDIDATES, Boxes, overlaps, partners, suppressed
from bfp.detection import Detection, detect, verify_detection
from bfp.errors import BfpError
from bfp.placement import placement
from calib.evaluation.average_precision import average_precision, checked_box, mean_average_precision, seen
from host.image import EXIF_ORIENTATION, fit_image, fit_picture, open_image, picture_size


def boxes(corners, scores=None, classes=None):
    n = len(corners)
    scores = np.ones(n) if scores is None else np.array(scores, np.float64)
    return Boxes(np.array(corners, np.float64).reshape(-1, 4), scores, np.array([0] * n if classes is None else classes, np.int64))


def drawn(seed, n, classes=2, levels=6):
    """Boxes on a coarse grid, so that scores and overlaps are often equal."""
    rng = np.random.default_rng(seed)
    low, side = rng.integers(0, 8, (n, 2)), rng.integers(1, 6, (n, 2))
    return boxes(np.hstack([low, low + side]), rng.integers(0, levels, n) / levels, rng.integers(0, classes, n))


def overlap_of(a, b):
    """Intersection over union of two boxes, number by number."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(across, 0) * max(down, 0)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either else 0.0


def test_overlaps_by_hand():
    a = np.array([[0.0, 0, 10, 10], [5.0, 5, 5, 5]])
    b = np.array([[5.0, 0, 15, 10], [10.0, 0, 20, 10], [5.0, 5, 5, 5]])
    np.testing.assert_allclose(overlaps(a, b), [[50 / 150, 0, 0], [0, 0, 0]])
    assert overlaps(a, np.zeros((0, 4))).shape == (2, 0)


@pytest.mark.parametrize("seed", range(30))
def test_suppression_is_that_of_plain_loops(seed):
    """One box after the other, by falling score and, of equal scores, in their order; strict at the limit."""
    found, limit, most = drawn(seed, 40), [0.0, 0.25, 0.5, 1.0][seed % 4], [3, 100][seed % 2]
    kept: list[int] = []
    for n in sorted(range(40), key=lambda n: (-found.scores[n], n)):
        same = [k for k in kept if found.classes[k] == found.classes[n]]
        if len(kept) < most and all(overlap_of(found.corners[k], found.corners[n]) <= limit for k in same):
            kept.append(n)
    got = suppressed(found, limit, most)
    assert np.array_equal(got.corners, found.corners[kept]) and np.array_equal(got.classes, found.classes[kept])
    assert (np.diff(got.scores) <= 0).all()


def test_of_equal_scores_the_first_wins():
    same = boxes([[0, 0, 10, 10], [0, 0, 10, 9]], [0.5, 0.5])
    assert suppressed(same, 0.5, 9).corners.tolist() == [[0, 0, 10, 10]]
    assert suppressed(same[np.array([1, 0])], 0.5, 9).corners.tolist() == [[0, 0, 10, 9]]
    assert len(suppressed(boxes([[0, 0, 10, 10], [0, 0, 10, 9]], [0.5, 0.5], [0, 1]), 0.5, 9)) == 2  # of two classes
    assert len(suppressed(Boxes.none(), 0.5, 9)) == 0


def test_only_so_many_boxes_are_looked_at():
    apart = boxes([[20 * n, 0, 20 * n + 9, 9] for n in range(CANDIDATES + 5)], np.arange(CANDIDATES + 5))
    found = suppressed(apart, 0.5, CANDIDATES + 5)
    assert len(found) == CANDIDATES and found.scores[0] == CANDIDATES + 4 and found.scores[-1] == 5


def test_partners_choose_by_score():
    """Two boxes want the same one: the more certain one gets it, the other has none; classes must be equal."""
    wanted = boxes([[0, 0, 10, 10], [50, 50, 60, 60]], classes=[0, 1])
    found = boxes([[0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], [0.6, 0.7, 0.5], [0, 0, 0])
    assert partners(found, wanted, 0.5).tolist() == [-1, 0, -1]
    assert partners(found, Boxes.none(), 0.5).tolist() == [-1, -1, -1] and len(partners(Boxes.none(), wanted, 0.5)) == 0
    assert partners(boxes([[0, 0, 10, 5]]), wanted, 0.5).tolist() == [0]  # exactly as much


# -- rows of a detector ------------------------------------------------------------------------


def test_rows_become_boxes():
    """Centre or corners, pixels or shares, probabilities or logits, with objectness or without: the same two boxes."""
    corners = np.array([[[2.0, 4, 10, 8], [20.0, 10, 30, 20], [3.0, 3, 3, 9], [0.0, 0, np.nan, 4]]])  # the last two are none
    scores = np.array([[[0.8, 0.5, 0.75], [0.5, 0.9, 0.9], [1.0, 1, 1], [1.0, 1, 1]]])
    expected = boxes([[2, 4, 10, 8], [20, 10, 30, 20]], [0.6, 0.45], [1, 0])  # of equal scores the first class

    def check(rows, classes=2, **options):
        (found,) = detect({"a": rows[:, :1], "b": rows[:, 1:]}, Detection(classes, score=0.3, **options), (24, 32))
        np.testing.assert_allclose(found.corners, expected.corners)
        np.testing.assert_allclose(found.scores, expected.scores)
        assert np.array_equal(found.classes, expected.classes)

    middle, sides = (corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]
    centred = np.concatenate([middle, sides], -1)
    check(np.concatenate([centred, scores], -1))
    check(np.concatenate([corners, scores], -1), boxes="corners")
    check(np.concatenate([centred / [32, 24, 32, 24], scores], -1), unit="relative")
    with np.errstate(divide="ignore"):
        check(np.concatenate([centred, np.log(scores / (1 - scores))], -1), scores="logits")
    both = scores[..., :1] * scores[..., 1:]
    check(np.concatenate([corners, both], -1).reshape(1, 4, 6), boxes="corners", objectness=False)


@pytest.mark.parametrize("seed", range(5))
def test_a_lower_least_score_adds_boxes_behind(seed):
    rows = np.abs(np.random.default_rng(seed).normal(size=(3, 50, 7))) * [9, 9, 4, 4, 0.4, 0.4, 0.4]
    detection = Detection(2, score=0.3)
    for few, many in zip(detect({"a": rows}, detection, (9, 9)), detect({"a": rows}, detection, (9, 9), 0.01)):
        assert len(few) < len(many) and np.array_equal(few.corners, many.corners[: len(few)]) and (many.scores[len(few) :] < 0.3).all()


def test_outputs_that_are_no_rows_are_refused():
    with pytest.raises(BfpError, match="output a has 20 values, no rows of 7 .a box, its objectness, 2 classes"):
        detect({"a": np.zeros((2, 20))}, Detection(2), (9, 9))
    with pytest.raises(BfpError, match="net: a detector of 2 classes has 1 class names"):
        verify_detection(Detection(2, names=("cat",)), {"a": 14}, "net")
    assert detect({"a": np.zeros((0, 14))}, Detection(2), (9, 9)) == []


# -- where a picture lies ----------------------------------------------------------------------

WAYS = {
    "letterbox": {"letterbox": 114}, "resized": {}, "cropped": {"resize": 48},
}  # fmt: skip


def preprocessing(way, size=(32, 40), channels="rgb"):
    count = 1 if channels == "gray" else 3
    return Preprocessing(size, (0.0,) * count, (1.0,) * count, channels=channels, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("picture", [(200, 100), (100, 200), (64, 64), (40, 32), (17, 9)])
def test_a_bright_spot_lies_where_its_corners_are_mapped(way, picture):
    """White on black: the white pixels of the input are those of the mapped rectangle, and back."""
    w, h = picture
    left, top, right, bottom = corners = [w * 3 // 8, h * 3 // 8, w * 5 // 8, h * 5 // 8]
    pixels = np.zeros((h, w, 3), np.uint8)
    pixels[top:bottom, left:right] = 255
    pre = preprocessing(way)
    found = fit_image(Image.fromarray(pixels), pre)
    assert found.shape == (32, 40, 3)
    rows, columns = np.where(found[..., 0] > 180)
    place = placement(picture, pre)
    mapped = place.to_input(np.array([corners], np.float64))
    np.testing.assert_allclose([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], mapped, atol=1.6)
    np.testing.assert_allclose(place.to_picture(mapped), [corners], atol=1e-9)


@pytest.mark.parametrize("channels, gray", [("rgb", 114), ("gray", 0), ("bgr", 255)])
def test_letterbox_by_hand(channels, gray):
    """The whole picture in the middle, bars of the gray that is asked for, each pixel once."""
    pre = Preprocessing((8, 8), (0.0,) * 3, (1.0,) * 3, channels=channels, letterbox=gray, interpolation="nearest")
    mode = "L" if channels == "gray" else "RGB"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)).convert(mode)
    found = np.asarray(fit_picture(image, pre))
    assert np.array_equal(found[1:6], np.asarray(image)) and (found[:1] == gray).all() and (found[6:] == gray).all()
    half = np.asarray(fit_picture(image.resize((16, 10), Image.NEAREST), pre))
    assert np.array_equal(half, found)
    exact = image.resize((8, 8))
    assert np.array_equal(np.asarray(fit_picture(exact, pre)), np.asarray(exact))
    line = fit_picture(Image.new(mode, (4000, 1), (7, 7, 7) if mode == "RGB" else 7), pre)
    assert line.size == (8, 8) and (np.asarray(line) == 7).any()


def test_boxes_end_where_the_picture_ends():
    place = placement((200, 100), preprocessing("letterbox"))  # rows 6 to 26 of 32
    assert place.resized == (40, 20) and place.offset == (0, 6)
    assert place.to_picture(np.array([[-5.0, 0, 50, 31]])).tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_size_of_a_file_is_that_of_the_upright_picture(tmp_path, orientation):
    image = Image.fromarray(np.zeros((4, 7, 3), np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[EXIF_ORIENTATION] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    assert picture_size(tmp_path / "a.png") == open_image(tmp_path / "a.png", preprocessing("resized")).size
    with pytest.raises(BfpError, match="b.png does not exist"):
        picture_size(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("nothing")
    with pytest.raises(BfpError, match="c.png cannot be read"):
        picture_size(tmp_path / "c.png")


# -- average precision -------------------------------------------------------------------------


def test_average_precision_by_hand():
    """Right, wrong, right of three: precision 1 up to a third, then 2/3 up to two thirds, and nothing beyond."""
    assert average_precision(np.array([[0.9, 1], [0.8, 0], [0.7, 1.0]]), 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(np.zeros((0, 2)), 3) == 0.0
    # a later, better precision counts for the recall before it
    assert average_precision(np.array([[0.9, 0], [0.8, 1], [0.7, 1.0]]), 2) == pytest.approx(2 / 3)


def test_the_mean_is_over_the_classes_that_there_are():
    truth = boxes([[0, 0, 9, 9], [20, 20, 29, 29]], classes=[0, 2])
    found = boxes([[0, 0, 9, 8], [20, 20, 29, 29], [20, 20, 29, 29]], [0.9, 0.8, 0.7], [0, 1, 0])
    kept = seen([found], [truth])
    assert kept == [[0, 0.9, 1], [1, 0.8, 0], [0, 0.7, 0]] and [checked_box(box) for box in kept] == kept
    assert mean_average_precision(kept, [0, 2]) == 0.5 and mean_average_precision(kept, []) is None
    for damaged in ([0, 0.5], [0.5, 0.5, 1], [0, 0.5, 2], [-1, 0.5, 1], ["x", 1, 1], None):
        with pytest.raises((ValueError, TypeError)):
            checked_box(damaged)
