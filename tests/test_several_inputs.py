"""Networks with several inputs of one size: each has a name, a format and a comparison of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.imported import lively
from support.several import INPUTS, Pair, drawn, leaves, together
from torch import nn

import static_bfp
from bfp import golden
from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError
from calib.evaluation.integer_model import IntegerModel
from calib.frontend.importer import import_module
from calib.network import fake_quant, float_model
from calib.options import BfpOptions
from calib.state import begin


def parts(found):
    return list(found.values()) if isinstance(found, dict) else [found]


def same(found, wanted):
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(np.asarray(ours).reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", INPUTS)
def test_the_graph_is_the_module(case):
    module, shapes = INPUTS[case]
    network = import_module(lively(module), shapes, "net")
    images = drawn(shapes)
    assert network.graph.inputs == tuple(shapes)
    assert network.graph.image_shape == together(images).shape[1:]
    same(parts(float_model.returned(network, together(images))), leaves(module, images))


FORMS = {
    "traced": lambda m, x: torch.jit.trace(m, tuple(x.values()), strict=False),
    "scripted": lambda m, x: torch.jit.script(m),
    "program": lambda m, x: torch.export.export(m, tuple(x.values())),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_network(form):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)

        def forward(self, left, right):
            return self.one(left) - self.two(right), self.one(left)

    module, shapes = lively(Plain()), {"left": (3, 8, 9), "right": (1, 8, 9)}
    images = drawn(shapes, count=1)
    network = import_module(FORMS[form](module, images), shapes, "net")
    same(parts(float_model.returned(network, together(images))), leaves(module, images))


REFUSED = {
    "one of two": ((3, 8, 8), "takes 2 inputs .left, right.; say how many channels each has"),
    "another name": ({"left": (3, 8, 8), "third": (3, 8, 8)}, "takes the inputs left, right, and left, third are given"),
    "three": (dict.fromkeys(("left", "right", "third"), (3, 8, 8)), "takes the inputs left, right"),
    "two sizes": ({"left": (3, 8, 8), "right": (3, 8, 9)}, "its inputs are of several sizes .*one height and width"),
    "none": ({}, "has 0 inputs"),
    "a shape that is none": ({"left": (3, 8, 8), "right": (0, 8, 8)}, "input shape .0, 8, 8. must be channels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    shapes, message = REFUSED[case]
    with pytest.raises(BfpError, match=message):
        import_module(Pair(), shapes, "net")


def test_an_input_that_nothing_reads_is_refused():
    class Half(nn.Module):
        def forward(self, left, right):
            return torch.relu(left)

    with pytest.raises(BfpError, match="nothing that it returns depends on its input right; leave it out"):
        import_module(Half(), {"left": (1, 4, 4), "right": (1, 4, 4)}, "net")


def test_pictures_are_the_only_input():
    network = import_module(Pair(), INPUTS["pair"][1], "net")
    pre = Preprocessing((8, 10), (0.0,) * 6, (1.0,) * 6)
    with pytest.raises(BfpError, match="has 2 inputs .left, right., and no picture is several"):
        begin(network, BfpOptions(), pre)


HEAVY = [pytest.param(case, marks=pytest.mark.heavy) for case in ("another order", "a default", "sequences")]


@pytest.fixture(scope="module", params=["pair", pytest.param("a default", marks=pytest.mark.heavy), "sequences"])
def calibrated(request):
    module, shapes = INPUTS[request.param]
    loader = [drawn(shapes, 4, seed) for seed in range(4)]
    return module, shapes, loader, static_bfp.calibrate(module.eval(), loader, name="several", weights=8)


@pytest.mark.parametrize("calibrated", ["pair", *HEAVY], indirect=True)
def test_from_a_loader_to_a_simulated_engine(calibrated, tmp_path):
    """With every correction there is; each tensor, inputs and outputs among them, bit for bit."""
    module, shapes, loader, artifact = calibrated
    record = artifact.record
    assert [e.tensor for e in record.inputs] == list(shapes)
    assert [len(e.preprocessing.mean) for e in record.inputs] == [shape[0] for shape in shapes.values()]
    result = static_bfp.csim(artifact, tmp_path / "engine", loader, limit=2, lanes=4, filters=2, pixels=2)
    assert result["mismatches"] == 0 and result["images"] == 2 and result["tensors_compared"] > len(shapes) + 1
    again = static_bfp.load(tmp_path / "engine" / "artifact.npz")
    assert again.record.inputs == record.inputs and again.record.outputs == record.outputs


def test_emulation_takes_and_gives_what_the_module_does(calibrated):
    module, shapes, loader, artifact = calibrated
    emulation, images = artifact.emulate("cpu"), loader[0]
    found = emulation(**images)
    by_place, by_batch = emulation(*images.values()), emulation(*list(images.values())[:1], **dict(list(images.items())[1:]))
    mantissas = golden.quantise_input(artifact.record, together(images).numpy())
    wanted = golden.returned(artifact.record, mantissas)
    for name, ours, theirs, real in zip(*(map(list, (shapes, parts(found), parts(wanted), leaves(module, images))))):
        assert np.array_equal(ours.numpy(), theirs)
        assert np.abs(theirs.reshape(real.shape) - real).max() < 0.2 * np.abs(real).max(), name
    for other in (by_place, by_batch):
        assert all(torch.equal(a, b) for a, b in zip(parts(other), parts(found)))
    with pytest.raises(BfpError, match="takes the inputs"):
        emulation(*images.values(), images[next(iter(images))])
    with pytest.raises(BfpError, match="takes the inputs"):
        emulation(**{**images, "another": images[next(iter(images))]})
    assert np.array_equal(IntegerModel(artifact.record, torch.device("cpu")).logits(mantissas), golden.logits(artifact.record, mantissas))
    assert all(d.ok for d in fake_quant.check(artifact.record, mantissas))


def test_evaluation_has_a_figure_for_each_output(calibrated):
    module, shapes, loader, artifact = calibrated
    figures, outputs = artifact.evaluate(loader), artifact.record.graph.outputs
    if len(outputs) == 1:
        assert "outputs" not in figures
        return
    assert figures["task_output"] == outputs[0] and list(figures["outputs"]) == list(outputs)
    assert figures["outputs"][outputs[0]]["sqnr_db"] == figures["sqnr_db"]
    assert all(one["sqnr_db"] > 15 for one in figures["outputs"].values())
    other = artifact.evaluate(loader, task_output=outputs[1])
    assert other["task_output"] == outputs[1] and other["sqnr_db"] == figures["outputs"][outputs[1]]["sqnr_db"]


def test_labels_and_classes_are_of_the_output_that_is_named():
    module, shapes = Pair().eval(), INPUTS["pair"][1]
    images = drawn(shapes, 8)
    truth = torch.from_numpy(leaves(module, images)[0].argmax(1))
    classes = {"scores": ("a", "b", "c", "d")}
    artifact = static_bfp.calibrate(module, [(images, truth)], classes=classes, method="max")
    assert [end.classes for end in artifact.record.outputs] == [classes["scores"], ()]
    assert artifact.evaluate([(images, truth)])["top1_float"] == 1.0
    with pytest.raises(BfpError, match="3 class names for the 4 values of output scores"):
        static_bfp.calibrate(module, images, classes={"scores": ("a", "b", "c")})
    with pytest.raises(BfpError, match="no output named 'score'"):
        static_bfp.calibrate(module, images, classes={"score": ("a",)})


BATCHES = {
    "another number": ({"left": torch.zeros(2, 3, 8, 10), "right": torch.zeros(3, 3, 8, 10)}, "all must be as many"),
    "another size": ({"left": torch.zeros(2, 3, 8, 10), "right": torch.zeros(2, 3, 8, 9)}, "of one height and width"),
    "whole numbers": ({"left": torch.zeros(2, 3, 8, 10), "right": torch.zeros(2, 3, 8, 10, dtype=torch.int64)}, "finite normalised"),
    "names that change": (
        [{"left": torch.zeros(2, 3, 8, 8), "right": torch.zeros(2, 3, 8, 8)}, {"left": torch.zeros(2, 3, 8, 8)}],
        "inputs of several names",
    ),
}


@pytest.mark.parametrize("case", BATCHES)
def test_batches_that_are_none(case):
    images, message = BATCHES[case]
    with pytest.raises(BfpError, match=message):
        static_bfp.calibrate(Pair(), images)


@pytest.mark.parametrize("use", ["emulate", "evaluate", "layers", "csim"])
def test_every_input_has_the_shape_that_the_network_takes(use, tmp_path):
    module, shapes = Pair().eval(), INPUTS["pair"][1]
    images = drawn(shapes, 4)
    artifact = static_bfp.calibrate(module, images, method="max")
    uses = {
        "emulate": lambda images: artifact.emulate("cpu")(**images),
        "evaluate": artifact.evaluate,
        "layers": artifact.layers,
        "csim": lambda images: static_bfp.csim(artifact, tmp_path, images),
    }
    name = list(shapes)[-1]
    channels, *size = shapes[name]
    with pytest.raises(BfpError, match=f"images of the input {name} have the shape .{channels + 1}, .*network takes .{channels}, "):
        uses[use]({**images, name: torch.zeros(4, channels + 1, *size)})
    with pytest.raises(BfpError, match="takes the inputs"):
        uses[use]({name: images[name]})
