"""The published table, measured again: here on a few pictures with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bfp.artifact import Preprocessing
from calib.network import float_model
from calib.__main__ import main as calib
from calib.config import SHIPPED, load_config
from calib.data.images import open_images, random_photograph
from calib.pipeline import prepare
from calib.evaluation.sweep import points, reproduce
from calib.evaluation.sweep.reproduce import METHODS, NETWORKS, PUBLISHED, network_points
from calib.zoo import weights as zoo_weights

PICTURES = 11

# another network of 1000 classes, small enough for every test, under the name of a published one
TINY = """
model = "tiny_beside:make"
arguments = { pretrained = true }
classes = "imagenet"
[input]
size = 16
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
[calibration]
images = "random"
[bfp]
weights = 4
"""
MODULE = """
from torch import nn

from bfp import BfpError


def make(pretrained):
    if pretrained:
        raise BfpError("the published weights of tiny could not be downloaded from http://nowhere (offline)")
    layers = [nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 1000))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A CSV file beside a few labelled pictures, and a tiny network's file."""
    folder = tmp_path_factory.mktemp("pictures")
    lines = ["file,label"]
    for i in range(PICTURES):
        picture = random_photograph(Preprocessing((120, 150), (0.0,) * 3, (1.0,) * 3), np.random.default_rng(i))
        picture.save(folder / f"{i}.jpg")
        lines.append(f"{i}.jpg,{90 * i}")
    (folder / "val.csv").write_text("\n".join(lines) + "\n")
    (folder / "resnet50.toml").write_text(TINY)
    (folder / "tiny_beside.py").write_text(MODULE)
    return folder


def run(pictures: Path, out: Path, *words: str) -> int:
    return calib(["reproduce-table", "--images", str(pictures / "val.csv"), "--out", str(out), *words])


def cells(line: str) -> list[str]:
    return [c.strip() for c in line.strip("|\n").split("|")]


def check_table(out: Path, networks: tuple[str, ...], images: int) -> dict:
    """table.json holds every network by every method, and table.md says the same."""
    content = json.loads((out / "table.json").read_text())
    assert [r["network"] for r in content["networks"]] == list(networks) and content["mantissa_bits"] == 8
    text = (out / "table.md").read_text()
    lines = [cells(line) for line in text.splitlines() if line.startswith("| ")]
    assert all("published" in c or "measured here" in c for c in lines[0][1:-1])
    for r, line in zip(content["networks"], lines[1:], strict=True):
        assert r["images"] == images and r["weights"] == "random" and set(r["methods"]) == set(METHODS)
        published = PUBLISHED[r["network"].removesuffix("_small")]
        assert r["published"] == vars(published)
        want = [published.float_top1, published.bfp_top1, published.loss]
        assert [line[i] for i in (1, 3, 4)] == ["-" if v is None else f"{v:.3f}" for v in want]
        assert line[2] == f"{r['float_top1']:.2f}" and line[-1] == str(images)
        for i, (method, m) in enumerate(r["methods"].items()):
            assert m["loss"] == pytest.approx(r["float_top1"] - m["top1"], abs=0.002)
            assert line[5 + 2 * i : 7 + 2 * i] == [f"{m['top1']:.2f}", f"{m['loss']:.2f}"]
            assert m["sqnr_db"] > 5
        assert f"{r['network']}: random weights, whose accuracy means nothing" in text
    return content


def test_published_figures():
    """Of the README: float less BFP is the loss that it prints."""
    assert tuple(PUBLISHED) == NETWORKS
    for p in PUBLISHED.values():
        if p.float_top1 is not None:
            assert p.loss == pytest.approx(p.float_top1 - p.bfp_top1)


def test_points_of_a_shipped_network(pictures):
    """By its name, with random weights: each method is prepared on these pictures as the network's own file says."""
    chosen = network_points("mobilenet_v2_small", str(pictures / "val.csv"), 4, "random", None)
    assert [(p.network, p.method, p.limit) for p in chosen] == [(str(SHIPPED / "mobilenet_v2_small.toml"), m, 4) for m in METHODS]
    prepared = prepare(load_config(chosen[0].network, chosen[0].replaced))
    assert prepared.config.weights == "random" and prepared.config.arguments == {"pretrained": False}
    assert len(prepared.calibration) == 2 and len(points.evaluation_images(prepared, 4, True)) == 4


@pytest.mark.heavy
def test_table_to_the_end_on_a_shipped_network(pictures, tmp_path, capsys):
    assert run(pictures, tmp_path, "--weights", "random", "--networks", "mobilenet_v2_small", "--limit", "4") == 0
    check_table(tmp_path, ("mobilenet_v2_small",), 4)
    assert "| mobilenet_v2_small | - |" in capsys.readouterr().out


@pytest.mark.heavy
def test_table_of_every_network(pictures, tmp_path):
    networks = tuple(f"{n}_small" for n in NETWORKS)
    assert run(pictures, tmp_path, "--weights", "random", "--networks", ",".join(networks), "--limit", "4") == 0
    for r in check_table(tmp_path, networks, 4)["networks"]:
        assert r["methods"]["auto"]["sqnr_db"] > r["methods"]["fan2019"]["sqnr_db"] + 3


def test_calibrating_images_are_not_evaluated(pictures):
    """The very images that each point reads."""
    network = str(pictures / "resnet50.toml")
    read = {"calibration": set(), "evaluation": set()}
    for point in network_points(network, str(pictures / "val.csv"), None, "random", None):
        prepared = prepare(load_config(point.network, point.replaced))
        images = points.evaluation_images(prepared, point.limit, point.apart)
        read["calibration"] |= {Path(i.name).name for i in prepared.calibration.items}
        read["evaluation"] |= {Path(i.name).name for i in images.items}
    assert read["calibration"] == {"0.jpg", "5.jpg"} and len(read["evaluation"]) == PICTURES - 2
    assert not read["calibration"] & read["evaluation"]


def test_accuracy_is_counted_against_the_labels(pictures, tmp_path, monkeypatch, capsys):
    """With the float network's own answers as labels: float is never wrong, and BFP as often as it disagrees."""
    network = str(pictures / "resnet50.toml")
    one = network_points(network, str(pictures / "val.csv"), None, "random", None)[0]
    prepared = prepare(load_config(one.network, one.replaced))
    everything = open_images(load_config(one.network, one.replaced).evaluation, prepared.config.input)
    batch = np.concatenate(list(everything.batches(64)))
    answers = float_model.logits(prepared.network, torch.from_numpy(batch)).argmax(1).tolist()
    answers[1] = answers[1] + 1 if answers[1] < 999 else 0  # one of the evaluated is wrong
    lines = ["file,label", *(f"{Path(item.name).name},{a}" for item, a in zip(everything.items, answers))]
    (pictures / "answers.csv").write_text("\n".join(lines) + "\n")
    words = ["reproduce-table", "--images", str(pictures / "answers.csv"), "--out", str(tmp_path)]
    words += ["--weights", "random", "--networks", network]
    assert calib([*words, "--workers", "1"]) == 0
    (found,) = check_table(tmp_path, ("resnet50",), PICTURES - 2)["networks"]
    assert "| resnet50 | 76.130 |" in capsys.readouterr().out
    right = 100 * (PICTURES - 3) / (PICTURES - 2)
    assert found["float_top1"] == pytest.approx(right, abs=0.001) and found["calibration_images"] == 2
    for m in found["methods"].values():
        assert abs(m["top1"] - m["agreement"]) <= 100 / (PICTURES - 2) + 0.001
    assert found["methods"]["auto"]["chosen"].startswith("auto: ")

    # a second run measures nothing
    before = (tmp_path / "table.json").read_bytes()
    monkeypatch.setattr("calib.evaluation.sweep.engine.cluster_client", None)
    assert calib(words) == 0
    assert (tmp_path / "table.json").read_bytes() == before


def test_methods_are_the_published_rule_the_default_and_the_reference(pictures):
    options = {}
    for point in network_points(str(pictures / "resnet50.toml"), str(pictures / "val.csv"), 3, "random", None):
        options[point.method] = load_config(point.network, point.replaced).bfp
        assert point.limit == 3 and point.apart
    assert tuple(options) == ("fan2019", "auto", "online") == tuple(METHODS)
    for o in options.values():
        assert (o.weights, o.activations, o.overrides, o.sensitive) == (8, 8, (), 0)
    rule = options["fan2019"]
    assert (rule.weight_method, rule.unsigned, rule.weight_group, rule.activation_group) == ("fan2019", False, 64, 0)


def test_other_calibration_images(pictures, tmp_path):
    """A source of its own; what of it is among the labelled ones is left out all the same."""
    network = str(pictures / "resnet50.toml")
    one = network_points(network, str(pictures / "val.csv"), None, "random", str(pictures))[0]
    prepared = prepare(load_config(one.network, one.replaced))
    assert len(prepared.calibration) == PICTURES
    with pytest.raises(Exception, match="every evaluation image also calibrates"):
        points.evaluation_images(prepared, None, True)
    folder = tmp_path / "others"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes((pictures / f"{i}.jpg").read_bytes())
    one = network_points(network, str(pictures / "val.csv"), None, "random", str(folder))[0]
    prepared = prepare(load_config(one.network, one.replaced))
    assert len(prepared.calibration) == 3 and len(points.evaluation_images(prepared, None, True)) == PICTURES


def refused(pictures, tmp_path, capsys, *words: str) -> str:
    assert run(pictures, tmp_path, *words) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err and err.count("\nerror: ") + err.startswith("error: ") == 1
    return err


def test_offline_without_weights(pictures, tmp_path, capsys, monkeypatch):
    """One sentence a network, no point of it is tried, and the table says what is missing."""
    monkeypatch.setattr("calib.evaluation.sweep.engine.cluster_client", None)
    err = refused(pictures, tmp_path, capsys, "--networks", str(pictures / "resnet50.toml"))
    assert "table: resnet50 failed: the published weights of tiny could not be downloaded" in err
    text = (tmp_path / "table.md").read_text()
    assert "| resnet50 | 76.130 | - | 75.758 | 0.372 | failed |" in text and "(offline)" in text

    def unreachable(*arguments, **options):
        raise OSError("network is unreachable")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision._internally_replaced_utils.load_state_dict_from_url", unreachable, raising=False)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    err = refused(pictures, tmp_path, capsys, "--networks", "mobilenet_v2")
    assert "published weights of mobilenet_v2 could not be downloaded from https://" in err
    assert 'give a weights file, or weights = "random"' in err


def test_weights_of_a_folder(pictures, tmp_path, capsys):
    network = str(pictures / "resnet50.toml")
    keys = reproduce.weight_keys(Path(network), "resnet50", "random")
    assert keys == {"weights": "random", "arguments": {"pretrained": False}}
    err = refused(pictures, tmp_path, capsys, "--networks", network, "--weights", str(tmp_path))
    assert f"there are no weights resnet50.pth (or .th, .pt, .ckpt, .tar, .bin, .safetensors, .npz) in {tmp_path}" in err
    (tmp_path / "resnet50.npz").write_bytes(b"")
    keys = reproduce.weight_keys(Path(network), "resnet50", str(tmp_path))
    assert keys["weights"] == str(tmp_path / "resnet50.npz") and zoo_weights.SUFFIXES[0] == ".pth"


def test_images_without_labels_or_too_few(pictures, tmp_path, capsys):
    network = str(pictures / "resnet50.toml")
    words = ["--networks", network, "--weights", "random"]
    assert calib(["reproduce-table", "--images", str(pictures), "--out", str(tmp_path), *words]) == 2
    assert "have no labels; give an ImageFolder" in capsys.readouterr().err
    (pictures / "three.csv").write_text("file,label\n0.jpg,1\n1.jpg,2\n2.jpg,3\n")
    assert calib(["reproduce-table", "--images", str(pictures / "three.csv"), "--out", str(tmp_path), *words]) == 2
    assert "3 images" in capsys.readouterr().err
    assert calib(["reproduce-table", "--images", str(pictures / "none.csv"), "--out", str(tmp_path), *words]) == 2
    assert "none.csv do not exist" in capsys.readouterr().err
    assert calib(["reproduce-table", "--images", "x", "--out", str(tmp_path), "--limit", "0"]) == 2
