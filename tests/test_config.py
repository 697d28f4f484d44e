"""A network's file: what is read, and what is refused, with its message."""

import re

import pytest

from bfp import BfpError
from calib.config import SHIPPED, find_network, load_config
from calib.together import shipped_networks

MINIMAL = """
model = "toy:make"
[input]
size = 32
mean = [1, 2, 3]
std = 2
[calibration]
images = "random"
"""


def write(folder, text):
    path = folder / "toy.toml"
    path.write_text(text)
    return path


def test_defaults(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    assert config.name == "toy" and config.weights == "model" and config.seed == 0
    assert config.input.size == (32, 32) and config.input.std == (2.0, 2.0, 2.0)
    assert config.input_shape == (3, 32, 32)
    assert config.calibration.images == ("random",) and config.evaluation is None
    assert (config.bfp.weights, config.bfp.method, config.bfp.max_spread) == (8, "auto", 7)


def test_everything_is_read(tmp_path):
    text = """
name = "other"
model = "toy:make"
arguments = { depth = 20 }
weights = "w.pth"
weights_fallback = "random"
classes = ["a", "b"]
[input]
size = [10, 12]
channels = "gray"
resize = 14
mean = 0
std = 255.0
[calibration]
images = ["a", "/b", "package:skimage/data/chelsea.png"]
fallback = "random"
limit = 5
augment = 3
[evaluation]
images = "$SBFP_DATA/x.npz:images:labels"
skip = 2
stride = 3
[bfp]
weights = 4
method = "kl"
unsigned = false
[[bfp.override]]
layers = "first*"
weights = 6
[engine]
board = "kv260"
lanes = 16
"""
    config = load_config(write(tmp_path, text))
    assert config.name == "other" and config.arguments == {"depth": 20} and config.classes == ("a", "b")
    assert config.weights == str(tmp_path / "w.pth") and config.weights_fallback == "random"
    assert config.input.channels == "gray" and config.input.size == (10, 12) and len(config.input.mean) == 1
    assert config.calibration.images == (str(tmp_path / "a"), "/b", "package:skimage/data/chelsea.png")
    assert (config.calibration.augment, config.evaluation.skip, config.evaluation.stride) == (3, 2, 3)
    assert config.bfp.overrides[0].layers == "first*" and config.bfp.overrides[0].weights == 6
    assert config.bfp.overrides[0].activations is None and config.engine == {"lanes": 16}
    assert config.board == "kv260"


def test_environment_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("SBFP_DATA", "/data")
    monkeypatch.setenv("ELSEWHERE", "/e")
    text = MINIMAL.replace('"random"', '["$SBFP_DATA/a", "${SBFP_DATA}/b", "$ELSEWHERE/c", "$NOT_SET_AT_ALL/d"]')
    config = load_config(write(tmp_path, text))
    assert config.calibration.images == ("/data/a", "/data/b", "/e/c", "$NOT_SET_AT_ALL/d")


@pytest.mark.parametrize(
    "change, message",
    [
        (('model = "toy:make"', 'model = "toy"'), "model is 'toy'; it must be 'module:callable'"),
        (('model = "toy:make"', 'modle = "toy:make"'), "modle is not a known key; did you mean 'model'"),
        (('model = "toy:make"', 'model = "toy:make"\nweight = "x"'), "weight is not a known key; .* 'weights'"),
        (("size = 32", "size = 32\nresizes = 40"), r"\[input\] resizes is not a known key; did you mean 'resize'"),
        (("size = 32", "size = 0"), r"\[input\] size is 0; it must be"),
        (("size = 32", "size = [1, 2, 3]"), r"\[input\] size is \[1, 2, 3\]"),
        (("size = 32", "size = true"), r"\[input\] size is True"),
        (("size = 32", "size = 32\nresize = 31"), r"\[input\] resize is 31, less than size"),
        (("std = 2", "std = 0"), r"\[input\] std is 0; it must be 3 number"),
        (("std = 2", "std = [1, 2]"), r"\[input\] std is \[1, 2\]; it must be 3"),
        (("std = 2", "std = nan"), r"\[input\] std is nan"),
        (("mean = [1, 2, 3]", "mean = [1, 2, inf]"), r"\[input\] mean"),
        (("mean = [1, 2, 3]", ""), r"\[input\] mean is missing; give 3"),
        (("size = 32", 'size = 32\ninterpolation = "cubic"'), r"interpolation is 'cubic'; it must be one of nearest"),
        (("[calibration]", "[calibrate]"), "calibrate is not a known key; did you mean 'calibration'"),
        (('images = "random"', "images = []"), r"\[calibration\] images is \[\]"),
        (('images = "random"', 'images = "random"\nlimit = 0'), r"\[calibration\] limit is 0; it must be a whole"),
        (('images = "random"', 'images = "random"\nlimit = 2.5'), r"\[calibration\] limit is 2.5"),
        (
            ('images = "random"', 'images = "random"\n[evaluation]\naugment = 2\nimages="random"'),
            "augment is not a known",
        ),
        (('images = "random"', 'images = "random"\n[bfp]\nweights = 9'), r"\[bfp\] weights is 9; .* from 2 to 8"),
        (('images = "random"', 'images = "random"\n[bfp]\nmethod = "best"'), "method is 'best'; it must be one of max"),
        (('images = "random"', 'images = "random"\n[bfp]\nmax_spread = 16'), r"\[bfp\] max_spread is 16"),
        (('images = "random"', 'images = "random"\n[bfp]\nunsigned = 1'), r"\[bfp\] unsigned is 1; it must be true or"),
        (
            ('images = "random"', 'images = "random"\n[[bfp.override]]\nlayers = "a"\nweigths = 4'),
            r"\[bfp.override\] weigths is not a known key; did you mean 'weights'",
        ),
        (('images = "random"', 'images = "random"\n[[bfp.override]]\nweights = 4'), "layers is missing"),
        (('images = "random"', 'images = "random"\n[engine]\nlanes = "many"'), r"\[engine\] lanes is 'many'"),
        (('images = "random"', 'images = "random"\n[engine]\nboard = 96'), r"\[engine\] board is 96; it must be"),
        (('images = "random"', 'images = "random'), "is not valid TOML"),
        (('model = "toy:make"', 'model = "toy:make"\nname = "a/b"'), "it names a folder"),
        (('model = "toy:make"', 'model = "toy:make"\nbfp = 3'), "bfp must be a table"),
    ],
)
def test_refused(tmp_path, change, message):
    path = write(tmp_path, MINIMAL.replace(*change))
    with pytest.raises(BfpError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value).split("not valid TOML")[0]


MEANT = r'say units = "0..1" .*std \[58.4, 57.12, 57.38\] in pixels of 0..255.*or units = "0..255" .*inputs of'


@pytest.mark.parametrize("std", ["[0.229, 0.224, 0.225]", "0.5", "1e-3", "[0.999, 0.1, 0.2]"])
def test_units_of_0_to_1_are_asked_about(tmp_path, std):
    """torchvision's numbers would make inputs of a thousand and more, at full agreement."""
    text = MINIMAL.replace("std = 2", f"std = {std}").replace("mean = [1, 2, 3]", "mean = [0.485, 0.456, 0.406]")
    with pytest.raises(BfpError, match=r"\[input\] std is .* less than one step of a pixel of 0..255; say units = ") as caught:
        load_config(write(tmp_path, text))
    if "0.229" in std:
        assert re.search(MEANT, str(caught.value)), caught.value
    as_they_stand = load_config(write(tmp_path, text.replace("size = 32", 'size = 32\nunits = "0..255"')))
    assert as_they_stand.input.mean == (0.485, 0.456, 0.406) and not as_they_stand.notes
    of_one = load_config(write(tmp_path, text.replace("size = 32", 'size = 32\nunits = "0..1"')))
    assert of_one.input.mean == (0.485 * 255, 0.456 * 255, 0.406 * 255) and not of_one.notes
    assert of_one.input.std == tuple(255 * v for v in as_they_stand.input.std)


@pytest.mark.parametrize(
    "mean, std, said",
    [("0", "1", True), ("0.5", "[0.5, 1, 1]", True), ("0.5", "1.5", False), ("127", "1", False), ("0", "255", False)],
)
def test_units_that_may_be_meant_otherwise_are_noted(tmp_path, mean, std, said):
    config = load_config(write(tmp_path, MINIMAL.replace("std = 2", f"std = {std}").replace("[1, 2, 3]", mean)))
    assert len(config.notes) == said and all("are taken for pixels of 0..255; say units =" in n for n in config.notes)


def test_the_published_rules_old_name_still_works(tmp_path):
    """``seed`` is what earlier versions called ``fan2019``: in [bfp], in overrides, in a sweep."""
    old = '[bfp]\nmethod = "seed"\nweight_method = "seed"\n[[bfp.override]]\nlayers = "a"\nmethod = "seed"\n'
    old += 'weight_method = "seed"\n[sweep]\nmethods = ["seed", "kl", "fan2019"]\n'
    config = load_config(write(tmp_path, MINIMAL + old))
    assert config == load_config(write(tmp_path, MINIMAL + old.replace("seed", "fan2019")))
    assert (config.bfp.method, config.bfp.weight_method, config.bfp.unsigned) == ("fan2019", "fan2019", False)
    assert (config.bfp.overrides[0].method, config.bfp.overrides[0].weight_method) == ("fan2019", "fan2019")
    assert config.sweep.methods == ("fan2019", "kl")
    # the published rule brings its own blocks, weights and signs
    plain = load_config(write(tmp_path, MINIMAL + '[bfp]\nmethod = "seed"\n')).bfp
    assert (plain.weight_method, plain.unsigned) == ("fan2019", False)
    assert (plain.weight_group, plain.activation_group) == (64, 0)
    with pytest.raises(BfpError, match="method is 'sed'; it must be one of max, percentile, mse, kl, fan2019, auto"):
        load_config(write(tmp_path, MINIMAL + '[bfp]\nmethod = "sed"\n'))


def test_missing_file_and_missing_network(tmp_path):
    with pytest.raises(BfpError, match="none.toml does not exist; give the path of a network's .toml file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(BfpError, match="there is no network nothing; .*resnet20"):
        find_network("nothing")


def with_model(folder, model):
    return write(folder, re.sub(r"(?m)^model = .*$", f"model = {model!r}", MINIMAL))


def test_an_onnx_file_inside_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "packed_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "a.onnx").touch()
    (package / "b.onnx").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert load_config(with_model(tmp_path, "package:packed_model/a.onnx")).onnx == package / "a.onnx"
    with pytest.raises(BfpError, match=r"package:packed_model/\*.onnx are 2 files; give the name of one"):
        load_config(with_model(tmp_path, "package:packed_model/*.onnx"))


@pytest.mark.parametrize(
    "model, said",
    [
        ("package:no_such_package/x.onnx", "need the package 'no_such_package', which is not installed; install it"),
        ("package:numpy/no_such.onnx", "do not exist in the package 'numpy'"),
        ("package:numpy/../x.onnx", "names no files of the package"),
        ("package:.onnx", "which is not installed"),
    ],
)
def test_a_package_without_the_onnx_file_is_one_sentence(model, said, tmp_path):
    with pytest.raises(BfpError) as refused:
        load_config(with_model(tmp_path, model))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_networks_are_found_by_name_and_by_path(tmp_path):
    path = write(tmp_path, MINIMAL)
    assert find_network(path) == path and find_network("resnet20") == SHIPPED / "resnet20.toml"


@pytest.mark.parametrize("path", shipped_networks(), ids=lambda p: p.stem)
def test_shipped_networks_are_valid(path):
    config = load_config(path)
    assert config.name == path.stem and config.model.startswith("calib.zoo.")
