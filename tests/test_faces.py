"""MTCNN: three networks in one bitstream find the face in scikit-image's astronaut.

Their weights are in a package that may be absent: the networks have random ones then, and what needs the trained ones is skipped.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bfp.artifact_file import load
from bfp.boxes import overlaps
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from calib import pipeline
from calib.config import SHIPPED, load_config
from calib.evaluation.faces import FACE, WINDOW, Cascade, golden_network, normalised, pyramid, resized, squared, window
from calib.together import load_together
from calib.zoo import mtcnn
from codegen.__main__ import main as codegen
from codegen.networks import collect
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard

TRAINED = find_spec(mtcnn.PACKAGE) is not None
TOGETHER = load_together(SHIPPED / "mtcnn.toml")
NAMES = tuple(TOGETHER.networks)
CANVAS, LEAST = (160, 368), 40.0
needs_weights = pytest.mark.skipif(not TRAINED, reason="needs the package facenet-pytorch (the extra faces)")


@pytest.fixture(scope="module")
def astronaut():
    skimage = Path(find_spec("skimage").submodule_search_locations[0])
    return np.asarray(Image.open(skimage / "data" / "astronaut.png").convert("RGB"))


def float_network(stage):
    module = mtcnn.mtcnn(stage)

    def run(images):
        with torch.no_grad():
            return {name: values.numpy() for name, values in module(torch.from_numpy(images)).items()}

    return run


def device_network(accelerator):
    shapes = {"scores": (2,), "offsets": (4,)}

    def run(images):
        each = [accelerator.returned(image) for image in images]
        size = (75, 179) if images.shape[2:] == CANVAS else ()  # of the maps of windows
        return {t: np.stack([values[t].reshape(*shape, *size) for values in each]) for t, shape in shapes.items()}

    return run


def calibrated(folder, quick):
    """Artifacts of the three in folders of their own. quick: the plainest method on few images."""
    found = []
    for name, path in TOGETHER.networks.items():
        config = load_config(path)
        if quick:
            few = replace(config.calibration, limit=4, augment=4)
            config = replace(config, calibration=few, bfp=replace(config.bfp, method="max", weight_group=16, activation_group=16))
        if not TRAINED:
            config = replace(config, arguments={**config.arguments, "pretrained": False}, weights="random")
        pipeline.calibrate(config, folder / name)
        found.append(load(folder / name / "artifact.npz"))
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build folder of the three together, and their artifacts."""
    folder = tmp_path_factory.mktemp("faces")
    artifacts = calibrated(folder, quick=True)
    collect(folder / "mtcnn", "mtcnn", [folder / name for name in NAMES])
    assert codegen(["csim", str(folder / "mtcnn"), "--limit", "1"]) == 0
    return folder / "mtcnn", artifacts


def test_the_three_are_one_bitstream():
    assert (TOGETHER.name, NAMES) == ("mtcnn", ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"))
    shapes = [load_config(path).input_shape for path in TOGETHER.networks.values()]
    assert shapes == [(3, *CANVAS), (3, 24, 24), (3, 48, 48)]


@pytest.mark.parametrize("stage", mtcnn.STAGES)
def test_a_missing_package_is_one_sentence(stage, monkeypatch):
    monkeypatch.setattr(mtcnn, "find_spec", lambda name: None)
    with pytest.raises(BfpError, match="facenet-pytorch, which is not installed; run pip install --no-deps facenet-pytorch==2.5.3, or"):
        mtcnn.mtcnn(stage)
    with pytest.raises(BfpError, match="MTCNN has no network 'qnet'; it has pnet, rnet, onet"):
        mtcnn.mtcnn("qnet", pretrained=False)
    assert mtcnn.mtcnn(stage, pretrained=False).training is False


@pytest.mark.parametrize("size, least", [((512, 512), LEAST), ((300, 500), 45), ((512, 90), 40), ((97, 61), 12.5)])
def test_levels_lie_side_by_side(size, least):
    taken = np.zeros(CANVAS, int)
    levels = pyramid(size, CANVAS, least)
    for level in levels:
        assert level.top % 2 == level.left % 2 == 0 and min(level.height, level.width) >= WINDOW
        taken[level.rows, level.columns] += 1
        assert level.height * level.down == pytest.approx(size[0]) and level.width * level.across == pytest.approx(size[1])
    assert taken.max() == 1 and taken.sum() == sum(level.height * level.width for level in levels)
    assert abs(levels[0].height - size[0] * WINDOW / least) <= 1 >= abs(levels[0].width - size[1] * WINDOW / least)


def test_a_picture_too_large_is_refused():
    with pytest.raises(BfpError, match="the pyramid of a picture of 600 x 512 pixels for faces of 40 does not fit into an input of 160 x 368"):
        pyramid((600, 512), CANVAS, 40)


def test_windows_end_with_the_picture():
    picture = np.full((30, 40, 3), 255, np.uint8)
    seen = window(picture, np.array([-10.0, 20.0, 10.0, 40.0]), 20)
    assert seen.shape == (3, 20, 20) and seen.dtype == np.float32
    assert (seen[:, :9, 11:] > 0.99).all() and (seen[:, 12:] < -0.99).all() and (seen[:, :, :8] < -0.99).all()
    np.testing.assert_array_equal(squared(np.array([[10.0, 10.0, 20.0, 40.0]])), [[0, 10, 30, 40]])


@pytest.mark.parametrize("index", range(8))
def test_a_window_of_each_level_becomes_its_box(index, astronaut):
    """Networks that see one window, and move nothing: what is found is where that window lies in the picture."""
    level = pyramid(astronaut.shape[:2], CANVAS, LEAST)[index]
    row, column = (level.top + level.height - WINDOW) // 2, (level.left + level.width - WINDOW) // 2

    def first(images):
        scores = np.zeros((1, 2, 75, 179))
        scores[0, FACE, row, column] = 1
        return {"scores": scores, "offsets": np.zeros((1, 4, 75, 179))}

    def later(images):
        return {"scores": np.tile([0.1, 0.9], (len(images), 1)), "offsets": np.zeros((len(images), 4))}

    (found,) = Cascade(first, later, later, CANVAS, LEAST).find(astronaut).corners
    side = WINDOW * level.down
    np.testing.assert_allclose(found, [512 - side, 512 - side, 512, 512], atol=1)


def test_no_face_is_no_box(astronaut):
    def nothing(images):
        assert images.shape == (1, 3, *CANVAS)
        return {"scores": np.zeros((1, 2, 75, 179)), "offsets": np.zeros((1, 4, 75, 179))}

    assert len(Cascade(nothing, None, None, CANVAS, LEAST).find(astronaut)) == 0


@pytest.mark.slow
def test_three_networks_are_bit_equal_and_run_without_loading_again(built, astronaut):
    """Whatever their weights: C simulation and golden model, and the whole cascade on the simulated board."""
    folder, artifacts = built
    result = json.loads((folder / "csim.json").read_text())
    assert (result["network"], result["mismatches"]) == ("mtcnn", 0), result["first_mismatch"]
    assert result["layers_compared"] == read_deployment(folder / "deploy").layers
    board = SimulatedBoard(folder / "csim" / "libengine.so", folder / "deploy")
    thresholds = (0.6, 0.7, 0.7) if TRAINED else (0.0, 0.0, 0.0)
    options = {"canvas": CANVAS, "least": LEAST if TRAINED else 400.0, "thresholds": thresholds}
    wanted = Cascade(*map(golden_network, artifacts), **options).find(astronaut)
    with Accelerator(folder / "deploy", device=board, network=NAMES[0]) as first:
        networks = [first, *(first.network(name) for name in NAMES[1:])]
        found = Cascade(*map(device_network, networks), **options).find(astronaut)
    assert board.loads == 1 and len(found)
    for part in ("corners", "scores"):
        np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part))


@needs_weights
def test_the_float_cascade_finds_the_face(astronaut):
    found = Cascade(*map(float_network, mtcnn.STAGES), CANVAS, LEAST).find(astronaut)
    ((left, top, right, bottom),) = found.corners
    assert 170 < left < 195 and 50 < top < 80 and 255 < right < 280 and 160 < bottom < 190 and found.scores[0] > 0.99


def overlap_with_float(artifacts, picture):
    """Of the one face that the golden model finds with the one that the float networks find."""
    wanted = Cascade(*map(float_network, mtcnn.STAGES), CANVAS, LEAST).find(picture)
    found = Cascade(*map(golden_network, artifacts), CANVAS, LEAST).find(picture)
    assert len(found) == len(wanted) == 1
    return overlaps(found.corners, wanted.corners)[0, 0]


@needs_weights
@pytest.mark.slow
def test_8_bits_find_the_same_face(built, astronaut):
    assert overlap_with_float(built[1], astronaut) > 0.8


def pieces(picture, count):
    """Parts of the astronaut that show the face, every other one mirrored, in the astronaut's size."""
    draw = np.random.default_rng(0)
    for index in range(count):
        side = int(draw.integers(256, 513))
        top = int(draw.integers(0, min(60, 512 - side) + 1))
        left = int(draw.integers(max(0, 270 - side), min(180, 512 - side) + 1))
        piece = picture[top : top + side, left : left + side][:, :: -1 if index % 2 else 1]
        yield np.asarray(Image.fromarray(np.ascontiguousarray(piece)).resize((512, 512)))


@needs_weights
@pytest.mark.heavy
def test_8_bits_as_shipped_find_the_same_faces(astronaut, tmp_path):
    """In the astronaut and 32 parts of it; and of 200 windows of other people and of none, all are told apart."""
    artifacts = calibrated(tmp_path, quick=False)
    assert overlap_with_float(artifacts, astronaut) > 0.9
    float_networks, ours = ([*map(make, of)] for make, of in ((float_network, mtcnn.STAGES), (golden_network, artifacts)))
    found = [[Cascade(*n, CANVAS, LEAST).find(piece) for n in (float_networks, ours)] for piece in pieces(astronaut, 32)]
    assert all(len(wanted) == len(boxes) for wanted, boxes in found)
    shared = [overlaps(wanted.corners[:1], boxes.corners).max() for wanted, boxes in found]
    assert min(shared) > 0.85 and np.mean(shared) > 0.93
    skimage = Path(find_spec("skimage").submodule_search_locations[0])
    windows = np.round(np.load(skimage / "data" / "lfw_subset.npy") * 255).astype(np.uint8)
    for number, side in ((1, 24), (2, 48)):
        images = normalised(np.stack([resized(np.repeat(w[..., None], 3, 2), (side, side)) for w in windows]))
        for network in (float_networks[number], ours[number]):
            faces = network(images)["scores"].reshape(-1, 2)[:, FACE] > 0.7
            np.testing.assert_array_equal(faces, np.arange(200) < 100)
