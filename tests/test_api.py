"""The project from Python, as a notebook uses it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import static_bfp
from bfp import golden
from bfp.errors import BfpError
from calib.__main__ import main as calib


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 4), nn.Softmax(1))


def loader(count=24):
    torch.manual_seed(1)
    images = torch.randn(count, 3, 8, 8)
    return DataLoader(TensorDataset(images, module().eval()(images).argmax(1)), batch_size=5)


@pytest.fixture(scope="module")
def artifact():
    return static_bfp.calibrate(module(), loader(), name="toy", classes=("a", "b", "c", "d"), method="max", limit=16)


def test_from_a_loader_to_a_simulated_engine(artifact, tmp_path):
    images = next(iter(loader()))[0]
    found = artifact.emulate("cpu")(images)
    assert found.shape == (5, 4) and torch.allclose(found.sum(1), torch.ones(5, dtype=torch.float64))
    wanted = golden.returned(artifact.record, golden.quantise_input(artifact.record, images.numpy()))
    assert np.array_equal(found.numpy(), wanted)
    figures = artifact.evaluate(loader())
    assert figures["images"] == 24 and figures["top1_float"] == 1.0 and figures["agreement"] > 0.6 and figures["sqnr_db"] > 25
    folder, engine = tmp_path / "engine", {"lanes": 4, "filters": 2, "pixels": 2}
    manifest = static_bfp.generate(artifact, folder, **engine)
    assert manifest["name"] == "toy" and (folder / "generated" / "schedule.hpp").is_file()
    assert manifest == json.loads((folder / "deploy" / "manifest.json").read_text())
    figures = static_bfp.estimate(artifact, **engine)
    assert figures == json.loads((folder / "estimate.json").read_text()) and figures["cycles"] > 0
    result = static_bfp.csim(artifact, folder, loader(), limit=3, **engine)
    assert result["mismatches"] == 0 and result["images"] == 3 and result["layers_compared"] > 1
    assert result == json.loads((folder / "csim.json").read_text())
    layers = artifact.layers(loader(), limit=10)
    assert layers["images"] == 10 and {f["name"] for f in layers["layers"]} >= set(layers["worst"])
    assert all(f["own_sqnr_db"] is None or f["own_sqnr_db"] > 20 for f in layers["layers"])
    again = static_bfp.load(tmp_path / "engine" / "artifact.npz")
    assert torch.equal(again.emulate("cpu")(images), found)
    with pytest.raises(BfpError, match="has no float network"):
        again.evaluate(loader())


def test_sequences_and_plain_arrays():
    network = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1))
    values = np.random.default_rng(0).normal(size=(12, 4, 30)).astype(np.float32)
    artifact = static_bfp.calibrate(network, values, method="max", weights=6)
    assert artifact.emulate("cpu")(torch.from_numpy(values[:2])).shape == (2, 1)
    figures = artifact.evaluate(values)
    assert figures["task"] == "binary" and figures["top1_bfp"] is None
    assert artifact.evaluate(values, task="regression")["metric"] == "psnr_db"


@pytest.mark.parametrize(
    "network, shape",
    [
        (nn.Sequential(nn.Conv2d(2, 3, 3)), (2, 6, 7)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()), (2, 6, 7)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1)), (2, 6, 7)),
        (nn.Sequential(nn.Conv1d(2, 3, 3)), (2, 9)),
        (nn.Sequential(nn.Conv3d(2, 3, 2), nn.ReLU(), nn.MaxPool3d(2)), (2, 5, 5, 7)),
    ],
)
def test_answers_have_the_shape_of_what_the_module_returns(network, shape, tmp_path):
    images = torch.randn(4, *shape)
    artifact, wanted = static_bfp.calibrate(network, images, method="max"), network(images).detach().double()
    again = static_bfp.load(artifact.save(tmp_path / "a.npz") and tmp_path / "a.npz")
    for found in (artifact.emulate("cpu")(images), again.emulate("cpu")(images)):
        assert found.shape == wanted.shape and (found - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_frozen_scripts_and_programs_of_several_images():
    network, images = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).eval(), torch.randn(2, 2, 6, 7)
    assert static_bfp.calibrate(torch.jit.freeze(torch.jit.script(network)), images, method="max").record.graph.nodes
    with pytest.raises(BfpError, match="exported for batches of another size"):
        static_bfp.calibrate(torch.export.export(network, (images,)), images, method="max")


@pytest.mark.parametrize(
    "images, options, message",
    [
        (3, {}, "give an array, a tensor, or a DataLoader"),
        ([], {}, "there are no images"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), {}, "must be finite normalised floats"),
        (torch.full((2, 3, 8, 8), float("nan")), {}, "must be finite"),
        ([torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 9, 8)], {}, "give them one shape"),
        ([()], {}, "a batch of images is empty"),
        (torch.zeros(2, 3, 8, 8).to_sparse(), {}, "give a dense one"),
        (torch.zeros(2, 3, 8, 8), {"weight": 5}, "weight is not a known key"),
        (torch.zeros(2, 3, 8, 8), {"method": "best"}, "method is 'best'"),
        (torch.zeros(2, 3, 12, 12), {}, "cannot be traced"),
        (torch.zeros(2, 3, 8, 8), {"method": "online"}, "finds exponents at run time"),
        (torch.zeros(2, 3, 8, 8), {"classes": ("a", "b")}, "2 class names for the 4 values of output"),
        (torch.zeros(2, 3, 8, 8), {"name": "a b"}, "name is 'a b'; it must be letters"),
        (torch.zeros(2, 3, 8, 8), {"limit": 0}, "limit is 0; give a whole number of images, at least 1"),
        (torch.zeros(2, 3, 8, 8), {"limit": -1}, "limit is -1"),
        (torch.zeros(2, 3, 8, 8), {"limit": "2"}, "limit is '2'"),
    ],
)
def test_bad_input_is_one_sentence(images, options, message):
    with pytest.raises(BfpError, match=message) as error:
        static_bfp.calibrate(module(), images, **options)
    assert "\n" not in str(error.value)


def test_what_the_interface_finds_is_what_the_tasks_find(tmp_path):
    """The same module, images and options by a network's file: the same integers, and the same figures."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 4))
    images = torch.randn(24, 3, 8, 8)
    labels = network(images).argmax(1)
    np.savez(tmp_path / "data.npz", images=images.numpy(), labels=labels.numpy())
    torch.save(network.state_dict(), tmp_path / "net.pth")
    (tmp_path / "api_beside.py").write_text(
        "from torch import nn\n\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 4))\n"
    )
    (tmp_path / "net.toml").write_text(
        'model = "api_beside:make"\nweights = "net.pth"\nclasses = ["a", "b", "c", "d"]\n[input]\nsize = 8\n'
        'channels = 3\nmean = 0\nstd = 1\n[calibration]\nimages = "data.npz:images:labels"\n'
        '[evaluation]\nimages = "data.npz:images:labels"\n'
    )
    for command, *words in (["calibrate"], ["evaluate", "--device", "cpu"]):
        assert calib([command, str(tmp_path / "net.toml"), "--out", str(tmp_path / "out"), *words]) == 0
    batches = DataLoader(TensorDataset(images, labels), batch_size=7)
    found = static_bfp.calibrate(network, batches, name="net", classes=("a", "b", "c", "d"))
    saved = static_bfp.load(tmp_path / "out" / "artifact.npz")
    ours, theirs = (golden.run(a.record, golden.quantise_input(a.record, images.numpy())) for a in (found, saved))
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[t], theirs[t]) for t in ours)
    assert found.record.formats.keys() == saved.record.formats.keys()
    figures, task = found.evaluate(batches, device="cpu"), json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures.keys() == task.keys() and figures["artifact"] == found.record.digest
    differing = {key for key in figures if figures[key] != task[key]}
    assert differing <= {"artifact", "weights", "seconds", "sqnr_db", "notes"}
    assert abs(figures["sqnr_db"] - task["sqnr_db"]) < 1e-3  # transforms keep the function but for rounding


def test_a_module_stays_as_it_was():
    network = module().train()
    static_bfp.calibrate(network, loader(), method="max")
    assert all(part.training for part in network.modules())
    network[1].eval()
    static_bfp.calibrate(network, loader(), method="max")
    assert [part.training for part in network.children()] == [True, False, *[True] * 5]


@pytest.mark.parametrize(
    "beside, top1",
    [
        (lambda labels: labels, 1.0),
        (lambda labels: labels[:, None], 1.0),
        (lambda labels: torch.nn.functional.one_hot(labels, 4), None),
        (lambda labels: labels + 0.5, None),
        (lambda labels: torch.zeros(len(labels), 8, 8, dtype=torch.long), None),
    ],
)
def test_what_a_loader_brings_beside_images_are_labels_only_where_it_can_be(artifact, beside, top1):
    brought = ((images, beside(labels), "path") for images, labels in loader())
    assert artifact.evaluate(brought)["top1_float"] == top1


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_that_are_no_classes_are_refused(artifact, label):
    with pytest.raises(BfpError, match=f"label {label} of the images is no class: the network has 4"):
        artifact.evaluate([(torch.zeros(2, 3, 8, 8), torch.tensor([0, label]))])


@pytest.mark.parametrize("use", ["emulate", "evaluate", "layers", "csim"])
def test_images_of_another_shape_are_refused(artifact, use, tmp_path):
    uses = {
        "emulate": lambda images: artifact.emulate("cpu")(images),
        "evaluate": artifact.evaluate,
        "layers": artifact.layers,
        "csim": lambda images: static_bfp.csim(artifact, tmp_path, images),
    }
    with pytest.raises(BfpError, match=r"images have the shape \(3, 9, 8\); toy takes \(3, 8, 8\)"):
        uses[use](torch.zeros(2, 3, 9, 8))


def test_every_name_says_what_it_takes_and_returns():
    public = [getattr(static_bfp, name) for name in static_bfp.__all__]
    public += [getattr(static_bfp.Artifact, name) for name in ("emulate", "evaluate", "layers", "save")]
    for found in public:
        assert "raises" in found.__doc__.lower() or isinstance(found, type), found
