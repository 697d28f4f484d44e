"""A network with several inputs and outputs on the simulated board: each has a place, a name and a comparison of its own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from PIL import Image
from support import toy_board as toy
from support.deployed import build
from support.driven import board, deploy, library, random_mantissas  # noqa: F401 (fixtures)
from support.random_graphs import random_artifact
from support.random_inputs import random_input

from bfp import golden
from bfp.artifact import NetworkOutput
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from bfp.format import dequantise
from host.__main__ import main
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard


def has_both(seed):
    graph = random_artifact(seed, lanes=16, several=True).graph
    return len(graph.inputs) > 1 and len(graph.outputs) > 1


SEED = next(seed for seed in range(50) if has_both(seed))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    return folder, build(folder, SEED, several=True)


@pytest.fixture
def accelerator(built):
    folder, _ = built
    with Accelerator(folder / "deploy", device=SimulatedBoard(folder / "csim" / "libengine.so", folder / "deploy")) as found:
        yield found


def expected(artifact, mantissas):
    return artifact.graph.output_parts(golden.logits(artifact, mantissas))


def check(found, wanted):
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values[0])


def test_the_manifest_has_all_of_them(built):
    folder, artifact = built
    deployment = read_deployment(folder / "deploy")
    assert (deployment.inputs, deployment.outputs) == (artifact.inputs, artifact.outputs)
    assert deployment.image_shape == artifact.graph.image_shape
    stored = {t.name for t in deployment.tensors}
    assert {*artifact.graph.inputs, *artifact.graph.outputs} <= stored


def test_every_way_to_run_gives_every_output_by_its_name(built, accelerator):
    _, artifact = built
    graph = artifact.graph
    for seed in range(2):
        mantissas = random_input(artifact, seed)
        parts = graph.input_parts(mantissas)
        floats = {t: dequantise(q, artifact.formats[t])[0].astype(np.float32) for t, q in parts.items()}
        wanted = expected(artifact, mantissas)
        check(accelerator.run_mantissas(mantissas[0]), wanted)
        check(accelerator.run_mantissas({t: q[0] for t, q in parts.items()}), wanted)
        check(accelerator.run(dict(reversed(floats.items()))), wanted)
        check(accelerator.run(np.concatenate(list(floats.values()))), wanted)
        check(asyncio.run(accelerator.run_async(floats)), wanted)
        check(next(accelerator.run_many([floats, floats])), wanted)
        check(accelerator.profile(floats)[0], wanted)
        returned = accelerator.returned(floats)
        assert {t: v.tobytes() for t, v in returned.items()} == {t: v[0].tobytes() for t, v in wanted.items()}


def test_each_input_is_looked_at(built, accelerator):
    """Another second input gives another output; nothing was put into the first one's place twice."""
    _, artifact = built
    mantissas = random_input(artifact, 0)
    accelerator.run_mantissas(mantissas[0])
    for tensor, part in artifact.graph.input_parts(mantissas).items():
        np.testing.assert_array_equal(accelerator.tensor(tensor), part[0])


def test_layer_by_layer(built, accelerator):
    _, artifact = built
    mantissas = random_input(artifact, 1)
    golden_tensors = golden.run(artifact, mantissas)
    for name, values in accelerator.trace_mantissas(mantissas[0]):
        np.testing.assert_array_equal(values, golden_tensors[name][0])


def test_classes_of_an_output_that_is_named(built, accelerator):
    _, artifact = built
    values = accelerator.run_mantissas(random_input(artifact, 0)[0])
    for name in artifact.graph.outputs:
        assert accelerator.predictions(values, 1, name)[0].index == int(values[name].argmax())
    assert accelerator.output().tensor == artifact.graph.outputs[0]
    with pytest.raises(BfpError, match="has no output 'other'; its outputs are"):
        accelerator.predictions(values, 1, "other")


@pytest.mark.parametrize(
    "image",
    [{}, {"input": np.zeros((1, 2, 2), np.float32)}, np.zeros((1, 2, 2), np.float32), "picture.png"],
    ids=["empty", "one of two", "another shape", "a picture"],
)
def test_what_is_no_image_of_it_is_refused(built, accelerator, image):
    _, artifact = built
    with pytest.raises(BfpError, match=f"takes a mapping with an image for {', '.join(artifact.graph.inputs)}, or an array"):
        accelerator.run(image)


def test_an_image_of_one_input_is_refused_by_its_name(built, accelerator):
    _, artifact = built
    shapes = {t: artifact.graph.shapes[t] for t in artifact.graph.inputs}
    images = {t: np.zeros(shape, np.float32) for t, shape in shapes.items()}
    last = artifact.graph.inputs[-1]
    with pytest.raises(BfpError, match=f"network seed{SEED}, input {last} takes an image of"):
        accelerator.run({**images, last: np.zeros((*shapes[last][:2], shapes[last][2] + 1), np.float32)})


@pytest.mark.parametrize("command", ["verify", "info", "bench"])
def test_commands(built, command, capsys):
    folder, artifact = built
    words = {"verify": [], "info": [], "bench": ["--seconds", "0.02"]}[command]
    assert main([command, str(folder / "deploy"), "--simulate", str(folder / "csim" / "libengine.so"), *words]) == 0
    text = capsys.readouterr().out
    if command == "verify":
        assert "2 images" in text and "(bit-equal)" in text
    if command == "info":
        for kind, names in (("input", artifact.graph.inputs), ("output", artifact.graph.outputs)):
            assert all(f"{kind} {name}" in text for name in names)


TWO = (
    NetworkOutput("last", 0.5, 0.75, tuple(f"name {i}" for i in range(18)), host=("softmax.1",)),
    NetworkOutput("first", host=("reshape.3.2.3", "permute.0.2.3.1")),
)


def test_what_the_host_computes_is_of_each_output(board, tmp_path):  # noqa: F811
    mantissas = random_mantissas()
    with Accelerator(toy.write(tmp_path, outputs=TWO), device=board) as accelerator:
        values = accelerator.run_mantissas(mantissas)
        scale = np.array([2.0**-4, 2.0**-3, 2.0**-3]).reshape(3, 1, 1)
        found = accelerator.returned((mantissas * scale).astype(np.float32))
    np.testing.assert_array_equal(values["first"], ((mantissas + toy.weight_values()) * scale).reshape(-1))
    np.testing.assert_array_equal(found["first"], values["first"].reshape(3, 2, 3).transpose(1, 2, 0))
    e = np.exp(values["last"] - values["last"].max())
    np.testing.assert_allclose(found["last"], e / e.sum(), rtol=1e-12)


def test_an_output_that_was_not_written_is_not_taken(board, tmp_path):  # noqa: F811
    """Each is looked at: the one that the engine has written does not speak for the other."""
    moved = [toy.tensor("input", -1, 0), toy.tensor("first", 0, toy.PIXELS), toy.tensor("last", 1, 3 * toy.PIXELS)]
    folder = toy.write(tmp_path, outputs=TWO, tensors=tuple(moved), fmap_words=4 * toy.PIXELS)
    with Accelerator(folder, device=board) as accelerator:
        with pytest.raises(BfpError, match="did not write its result"):
            accelerator.run_mantissas(random_mantissas())


def test_classes_of_pictures_are_of_the_output_that_is_named(library, tmp_path, capsys):  # noqa: F811
    folder = toy.write(tmp_path / "deploy", outputs=TWO)
    Image.fromarray(np.full((toy.HEIGHT, toy.WIDTH, 3), 200, np.uint8)).save(tmp_path / "a.png")
    words = ["run", str(folder), str(tmp_path / "a.png"), "--simulate", str(library), "--top", "1"]
    assert main(words) == main([*words, "--output", "last"]) == 0
    first, second = capsys.readouterr().out.split(str(tmp_path / "a.png"))[1:]
    assert first.split() == second.split() and "name " in first
    assert main([*words, "--output", "first"]) == 0
    assert "class " in capsys.readouterr().out
    assert main([*words, "--output", "other"]) == 2
    assert "network toy has no output 'other'; its outputs are last, first" in capsys.readouterr().err
