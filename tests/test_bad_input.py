"""Bad input, with every method: a clear sentence that says what, where and what to do, or a correct result."""

import sys

import numpy as np
import pytest
from PIL import Image

from bfp import golden
from bfp.artifact_file import load
from calib.network import float_model
from calib.__main__ import main
from calib.config import load_config
from calib.options import AUTO, FAN2019, METHODS
from calib.pipeline import prepare

METHODS_TRIED = (*METHODS, AUTO)
MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    \"\"\"Convolution, batch norm, depthwise, residual, linear: what every correction has to walk through.\"\"\"

    def __init__(self, what):
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16, eps=0.0 if what == "no eps" else 1e-5)
        self.depth = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 4)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 1.0)
            if what == "nothing in places":
                self.stem.weight[3] = 0  # filters
                self.depth.weight[5] = 0
                self.point.weight[7] = 0
                self.head.weight[2] = 0
                self.point.weight[:, 4] = 0  # channels
                self.head.weight[:, 6] = 0
                self.depth.bias[8] = -1e4  # never above zero
                self.stem.weight[9] = 0  # as training leaves the channel of a dead filter
                self.norm.running_mean[9] = 0.0
                self.norm.running_var[9] = 0.0
            if what == "zero layer":
                self.point.weight.zero_()
                self.point.bias.zero_()
            if what == "dead layer":
                self.depth.bias.fill_(-1e4)
            if what in ("no variance", "no eps"):
                self.norm.running_var[9] = 0.0
            if what in ("nan", "infinity"):
                self.point.weight[0, 0] = float("nan" if what == "nan" else "inf")
            if what == "large":
                self.depth.weight *= 1e20
                self.depth.bias *= 1e20
                self.point.weight *= 1e-20
            if what == "overflow":
                self.depth.weight.fill_(1e20)
                self.point.weight.fill_(1e20)

    def forward(self, x):
        first = torch.relu(self.norm(self.stem(x)))
        mid = torch.relu(self.depth(first))
        return self.head((first + self.point(mid)).mean((2, 3)))
"""
TOML = """
model = "bad_input_network:Net"
arguments = {{ what = "{what}" }}
[input]
size = 12
mean = 127
std = 64
[calibration]
images = "{images}"
[bfp]
method = "{method}"
"""


@pytest.fixture
def attempt(tmp_path, capsys):
    """attempt(method, what, images, more options): exit status, and artifact folder or the sentences on stderr."""
    (tmp_path / "bad_input_network.py").write_text(MODULE)

    def run(method, what="", images="images.npz", more=""):
        (tmp_path / "net.toml").write_text(TOML.format(what=what, images=images, method=method) + more)
        status = main(["calibrate", str(tmp_path / "net.toml"), "--out", str(tmp_path / "out")])
        errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
        return status, errors

    run.folder = tmp_path
    yield run
    sys.modules.pop("bad_input_network", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def save(folder, images):
    np.savez(folder / "images.npz", images=images)


def noise(count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 3)).astype(np.uint8)


def check_result(folder):
    """The artifact answers like the float network: output's signal to noise, dB (300 where there is no noise)."""
    artifact, prepared = load(folder / "out" / "artifact.npz"), prepare(load_config(folder / "net.toml"))
    batch = next(prepared.calibration.batches(64))
    want = float_model.run(prepared.network, float_model.torch.from_numpy(batch))
    stored = golden.run(artifact, golden.quantise_input(artifact, batch))
    for tensor, values in want.items():  # what is nothing in float is nothing in integers, channel by channel
        dead = ~values.numpy().any(axis=(0, 2, 3))
        assert not stored[tensor][:, dead].any(), tensor
    got = golden.logits(artifact, golden.quantise_input(artifact, batch))
    reference = want[artifact.graph.output].flatten(1).double().numpy()
    assert np.isfinite(got).all()
    error = ((got - reference) ** 2).sum()
    return 10 * np.log10((reference**2).sum() / error) if error else 300.0


def refused(result, *words):
    status, errors = result
    assert status == 2 and len(errors) == 1, errors
    assert all(word in errors[0] for word in words), errors[0]


# the published rule clips a single image's or a constant image's values as hard as any others
LEAST_DB = {m: 3 if m == FAN2019 else 18 for m in METHODS_TRIED}
by_method = pytest.mark.parametrize("method", METHODS_TRIED)


@by_method
@pytest.mark.parametrize("what", ["nothing in places", "zero layer", "dead layer"])
def test_layers_that_are_partly_nothing(attempt, method, what):
    """All-zero filters and channels, ReLUs that never open: zeros stay zeros, the rest is as good as ever."""
    save(attempt.folder, noise())
    assert attempt(method, what) == (0, [])
    assert check_result(attempt.folder) > LEAST_DB[method]


@pytest.mark.parametrize("what", ["nothing in places", "zero layer", "dead layer"])
def test_layers_that_are_partly_nothing_under_a_budget(attempt, what):
    """Sensitivities of nothing, and of the rest: widths are still found."""
    save(attempt.folder, noise())
    assert attempt("auto", what, more="weights = 6\nweight_budget = 6\nactivation_budget = 7\n") == (0, [])
    assert check_result(attempt.folder) > 18


@by_method
def test_batch_norm_without_variance_is_carried_by_eps(attempt, method):
    """One channel is 300 times as large as it would be: it sets the exponents, and the output is still right."""
    save(attempt.folder, noise())
    assert attempt(method, "no variance") == (0, [])
    assert check_result(attempt.folder) > LEAST_DB[method]


@by_method
def test_batch_norm_without_variance_and_eps_is_refused_by_name(attempt, method):
    save(attempt.folder, noise())
    refused(attempt(method, "no eps"), "layer norm", "NaN or infinite", "check its running variance")


@by_method
@pytest.mark.parametrize("value", ["nan", "infinity"])
def test_weights_that_are_not_finite_are_refused_by_name(attempt, method, value):
    save(attempt.folder, noise())
    refused(attempt(method, value), "layer point", "its weight holds NaN or infinity")


@by_method
def test_activations_that_are_not_finite_are_refused_by_name(attempt, method):
    save(attempt.folder, noise())
    refused(attempt(method, "overflow"), "activations of layer point hold NaN or infinity", "check the weights file")


def test_values_whose_squares_float32_does_not_hold_are_refused_where_these_are_needed(attempt):
    save(attempt.folder, noise())
    refused(attempt("auto", "large"), "layer point: it reads values up to", "e+20, whose squares", 'take rounding = "nearest"')
    assert attempt("max", "large", more='rounding = "nearest"\n') == (0, [])
    assert check_result(attempt.folder) > 18


@by_method
@pytest.mark.parametrize("pixel", [127, 255])
def test_constant_images(attempt, method, pixel):
    """127 is the mean: every input is exactly zero, and what remains are the biases."""
    save(attempt.folder, np.full((4, 12, 12, 3), pixel, np.uint8))
    assert attempt(method) == (0, [])
    assert check_result(attempt.folder) > LEAST_DB[method]


@by_method
def test_a_single_image(attempt, method):
    save(attempt.folder, noise(1))
    assert attempt(method) == (0, [])
    assert check_result(attempt.folder) > LEAST_DB[method]


@by_method
def test_no_images(attempt, method):
    save(attempt.folder, noise(0))
    refused(attempt(method), "images.npz hold no images", "give others")
    (attempt.folder / "empty").mkdir()
    refused(attempt(method, images="empty"), "empty holds no images", "give another")


def picture(folder, name, mode="RGB", size=(40, 30)):
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(folder / "photos" / name)


@pytest.fixture
def photos(attempt):
    (attempt.folder / "photos").mkdir()
    picture(attempt.folder, "a.png")
    return attempt.folder / "photos"


@pytest.mark.parametrize("mode, name", [("L", "b.jpg"), ("P", "b.png"), ("RGBA", "b.png"), ("CMYK", "b.jpg")])
def test_images_of_other_modes_are_converted(attempt, photos, mode, name):
    picture(attempt.folder, name, mode)
    assert attempt("max", images="photos") == (0, [])
    assert check_result(attempt.folder) > 18


@by_method
def test_truncated_image_files_are_refused_by_name(attempt, photos, method):
    picture(attempt.folder, "b.jpg")
    whole = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(whole[: len(whole) // 2])
    refused(attempt(method, images="photos"), "b.jpg cannot be read", "truncated", "give a readable")


def test_empty_and_foreign_files_are_refused_by_name(attempt, photos):
    for content in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"not an image"):
        (photos / "b.png").write_bytes(content)
        refused(attempt("max", images="photos"), "b.png cannot be read")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_too_large_to_open_are_refused_by_name(attempt, photos, monkeypatch):
    """Above twice PIL's limit an image is taken for a bomb; below, it is read."""
    picture(attempt.folder, "b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 30 // 3)
    refused(attempt("max", images="photos"), "a.png cannot be read", "exceeds limit")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 30 - 1)
    assert attempt("max", images="photos") == (0, [])


def test_a_large_photograph_is_read(attempt, photos):
    """24 megapixels, as a camera makes them."""
    Image.new("RGB", (6000, 4000), (90, 120, 30)).save(photos / "b.jpg")
    assert attempt("max", images="photos") == (0, [])
    assert check_result(attempt.folder) > 18
