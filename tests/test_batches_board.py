"""Batches on the simulated board: every tensor of each picture, many images, and what goes wrong in between."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.boards import BOARD
from support.deployed import put_references
from support.engines import ENGINES, engine_options
from support.random_graphs import random_artifact
from support.random_heads import random_classifier
from support.random_inputs import random_input

from bfp import golden
from bfp.artifact_file import load, save
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from bfp.format import dequantise
from codegen.generate import generate
from codegen.simulation.csim import compile_engine
from host.__main__ import main
from host.bench import bench, modelled, table
from host.check import check
from host.driver import Accelerator
from host.faults import Faults
from host.info import of_files
from host.simulated_board import SimulatedBoard
from host.stream import Stages, Stream

BATCH, SEED = 3, 13


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A build folder with a classifier and a network without such layers, and their artifacts."""
    folder, engine = tmp_path_factory.mktemp("batches"), ENGINES[1]
    found = []
    for artifact in (random_classifier(SEED, engine.lanes), random_artifact(1000, engine.lanes)):
        save(artifact, folder / "one.npz")
        found.append(load(folder / "one.npz"))
    options = replace(engine_options(found, engine), batch=BATCH)
    program, _ = generate(found, options, BOARD, folder, name="both")
    assert program.shared[0] < program.ranges[0][1] and program.shared[1] == program.ranges[1][1]
    _, library = compile_engine(folder / "generated", folder / "csim", optimise=("-O1",))
    return folder / "deploy", library, found


def opened(made, network: int = 0, **options) -> Accelerator:
    deploy, library, artifacts = made
    board = SimulatedBoard(library, deploy, deploy.parent / "simulated", **options)
    return Accelerator(deploy, device=board, network=artifacts[network].graph.name)


def mantissas(artifact, count: int) -> list[np.ndarray]:
    return [random_input(artifact, 50 + n)[0] for n in range(count)]


def floats(artifact, images: list[np.ndarray]) -> list[np.ndarray]:
    fmt = artifact.formats[artifact.graph.inputs[0]]
    return [dequantise(q[None], fmt)[0].astype(np.float32) for q in images]


@pytest.mark.parametrize("count", range(1, BATCH + 1))
def test_every_tensor_of_each_picture_is_the_golden_models(made, count):
    artifact = made[2][0]
    images = mantissas(artifact, count)
    with opened(made) as accelerator:
        accelerator.run_batch(mantissas(artifact, BATCH)[::-1])  # what other places hold
        results = accelerator.run_batch(images)
        for number, (one, result) in enumerate(zip(images, results)):
            wanted = golden.run(artifact, one[None])
            for tensor in accelerator.deployment.tensors:
                assert np.array_equal(accelerator.tensor(tensor.name, number), wanted[tensor.name][0]), tensor.name
            assert np.array_equal(accelerator.run_mantissas(one), result) or number < count - 1
            if number < count - 1:
                accelerator.run_batch(images)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8])
def test_many_give_what_one_by_one_gives(made, count):
    for network, artifact in enumerate(made[2]):
        images = floats(artifact, mantissas(artifact, count))
        with opened(made, network) as accelerator:
            wanted = [accelerator.run(image) for image in images]
            found = list(accelerator.run_many(iter(images)))
            assert len(found) == count and all(map(np.array_equal, found, wanted))
            assert np.array_equal(accelerator.run(images[0]), wanted[0])


def test_a_wrong_image_within_a_batch_comes_after_those_before_it(made):
    artifact = made[2][0]
    images = floats(artifact, mantissas(artifact, 5))
    with opened(made) as accelerator:
        wanted, results = [accelerator.run(image) for image in images], []
        with pytest.raises(BfpError, match="1x2x3"):
            results.extend(accelerator.run_many([*images, np.zeros((1, 2, 3)), *images]))
        assert len(results) == 5 and all(map(np.array_equal, results, wanted))
        stream = accelerator.run_many(images * 20)
        assert np.array_equal(next(stream), wanted[0])
        stream.close()
        assert np.array_equal(accelerator.run(images[3]), wanted[3])


def test_the_self_test_runs_batches_and_names_the_first_difference(made):
    artifact = made[2][0]
    images = np.stack(floats(artifact, mantissas(artifact, 4)))
    with opened(made) as accelerator:
        whole, layers = check(accelerator, artifact, images), check(accelerator, artifact, images, by_layer=True)
        tensors = len(accelerator.deployment.tensors)
        assert (whole["images"], whole["tensors_compared"], whole["mismatches"]) == (4, 4 * tensors, 0)
        assert (layers["images"], layers["tensors_compared"], layers["mismatches"]) == (4, 8 * tensors, 0)
        # pointers that stay at the first picture: the places of the others are not written
        use, first = accelerator._opened.use, accelerator._opened.batch.pictures[0]
        accelerator._opened.use = lambda arena: use(first)
        wrong = check(accelerator, artifact, images[::-1])
        assert wrong["mismatches"] > 0 and wrong["first_mismatch"].startswith("image ")


def test_what_cannot_be_at_once_is_refused(made):
    artifact, other = made[2]
    with opened(made) as accelerator:
        for count in (0, BATCH + 1):
            with pytest.raises(BfpError, match=f"takes 1 to {BATCH} images at once, not {count}"):
                accelerator.run_batch(mantissas(artifact, count))
        accelerator.run_batch(mantissas(artifact, 2))
        with pytest.raises(BfpError, match="the last batch had 2 pictures, and none is number 2; count from 0"):
            accelerator.tensor(accelerator.deployment.tensors[0].name, 2)
        another = accelerator.network(other.graph.name)
        with pytest.raises(BfpError, match="takes 1 to 1 images at once, not 2"):
            another.run_batch(mantissas(other, 2))


def test_an_engine_that_hangs_in_a_batch_is_loaded_again(made):
    artifact = made[2][0]
    images = mantissas(artifact, BATCH)
    with opened(made, faults=Faults(finishes_late_s=0.3)) as accelerator:
        accelerator.timeout_s = 0.05
        with pytest.raises(BfpError, match="did not finish|has not finished|stands in layer"):
            accelerator.run_batch(images)
        accelerator.timeout_s = 60
        again = accelerator.run_batch(images)
        assert all(np.array_equal(accelerator.run_mantissas(one), result) for one, result in zip(images, again))


def test_the_engine_is_measured_in_full_batches(made):
    deploy, _, (artifact, _) = made
    with opened(made) as accelerator:
        result = bench(accelerator, floats(artifact, mantissas(artifact, 2)), 0.01)
        assert result["images_at_once"] == BATCH and f"{BATCH} at once; " in table(result, simulated=True)
        with pytest.raises(BfpError, match=f"takes 1 to {BATCH} images at once"):
            accelerator.run_engine(BATCH + 1)
    deployment = read_deployment(deploy).of(artifact.graph.name)
    own, path = deployment.only, deploy.parent / "estimate.json"
    layers = [{"cycles": 1000, "pictures": BATCH if own.shared <= n else 1} for n in range(own.end)]
    data = {"cycles": 9000, "batch": BATCH, "batch_cycles": 12000, "network": "both", "layers": layers}
    path.write_text(json.dumps(data))
    cycles = 1000 * (own.shared - own.begin) + 1000 / BATCH * (own.end - own.shared)
    assert modelled(deploy, deployment)["images_a_second"] == pytest.approx(deployment.clock_mhz * 1e6 / cycles)
    path.write_text(json.dumps({**data, "batch": 1}))
    with pytest.raises(BfpError, match=f"it is not of batches of {BATCH}"):
        modelled(deploy, deployment)
    path.unlink()


def test_all_pictures_memory_is_asked_for_and_said(made):
    deploy, library, _ = made
    deployment = read_deployment(deploy)
    assert deployment.map_words == BATCH * deployment.fmap_words
    size = 2 * deployment.map_words * deployment.lanes / 2**20
    assert f"twice {size / 2:.1f} of feature maps" in dict(of_files(deploy))["memory"]
    with opened(made) as accelerator:
        words = [len(memory.data) // deployment.lanes for memory in accelerator._board._device._memories.values()]
        assert sum(words) >= deployment.map_words


def test_a_package_with_references_verifies(made, tmp_path):
    """The whole way of one network: files, samples, self-test."""
    _, _, (artifact, _) = made
    engine = ENGINES[1]
    options = replace(engine_options([artifact], engine), batch=2)
    generate([artifact], options, BOARD, tmp_path)
    _, library = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    put_references(tmp_path / "deploy", artifact)
    shutil.copyfile(tmp_path / "deploy" / "artifact.npz", tmp_path / "a.npz")
    shutil.copyfile(tmp_path / "deploy" / "samples.npz", tmp_path / "s.npz")
    out = tmp_path / "board.json"
    words = ["check", str(tmp_path / "deploy"), "--simulate", str(library), "--artifact", str(tmp_path / "a.npz")]
    assert main([*words, "--samples", str(tmp_path / "s.npz"), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["images"] == 2


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("places", [2, 3])
def test_slots_with_places_are_filled_in_order(count, places):
    memory, filled = {}, []

    def load(image, slot, place):
        memory.setdefault(slot, []).append(image)
        assert len(memory[slot]) == place + 1

    def finish(slot):
        filled.append(len(memory[slot]))

    def read(slot):
        return [10 * image for image in memory.pop(slot)]

    stages = Stages(lambda image: image, load, lambda slot: None, finish, lambda slot: None, read)
    assert list(Stream(range(count), stages, (0, 1), 2, places)) == [10 * n for n in range(count)]
    assert filled == [places] * (count // places) + [count % places] * (count % places > 0)
