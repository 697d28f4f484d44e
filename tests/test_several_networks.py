"""Several networks in one bitstream: collected, simulated, and run in turns on one board without loading it again."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support import toy_board as toy
from support.deployed import negated, samples_of, telling_layer
from support.random_graphs import random_artifact
from support.random_inputs import random_input

from bfp import golden
from bfp.artifact_file import load, save
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from bfp.format import dequantise
from bfp.samples import save_samples
from codegen.__main__ import main as codegen
from codegen.deploy.__main__ import deploy_locally
from codegen.networks import NETWORKS, collect, read_networks
from codegen.performance.board import DEFAULT_BOARD, load_board
from codegen.vendor.package import check_samples, complete_package, has_bitstream, package_is_current
from codegen.vendor.request import open_request
from host.__main__ import main as host
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard

DEFAULT = load_board(DEFAULT_BOARD)
SEEDS = {"one": 3, "other": next(seed for seed in range(4, 50) if telling_layer(random_artifact(seed, lanes=16)))}
ENGINE = ["--engine", "lanes=16", "filters=4", "pixels=2"]


def named(name, seed):
    artifact = random_artifact(seed, lanes=16)
    return replace(artifact, graph=replace(artifact.graph, name=name))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build folder of both together, and their artifacts by name."""
    folder = tmp_path_factory.mktemp("networks")
    artifacts = {}
    for name, seed in SEEDS.items():
        save(named(name, seed), folder / name / "artifact.npz")
        artifacts[name] = load(folder / name / "artifact.npz")
        save_samples(samples_of(artifacts[name]), folder / name / "samples.npz")
    both = folder / "both"
    assert codegen(["collect", str(both), *(str(folder / name) for name in SEEDS), "--name", "both"]) == 0
    assert codegen(["csim", str(both), *ENGINE]) == 0
    assert codegen(["estimate", str(both), *ENGINE]) == 0
    return both, artifacts


@pytest.fixture
def board(built):
    folder, _ = built
    return SimulatedBoard(folder / "csim" / "libengine.so", folder / "deploy")


def wanted(artifact, mantissas):
    """What run gives: values of the only output, or of each by its name."""
    parts = {t: v[0] for t, v in artifact.graph.output_parts(golden.logits(artifact, mantissas)).items()}
    return parts if len(parts) > 1 else next(iter(parts.values()))


def same(found, expected):
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    else:
        np.testing.assert_array_equal(found, expected)


def image_of(artifact, mantissas):
    values = {t: dequantise(q, artifact.formats[t])[0].astype(np.float32) for t, q in artifact.graph.input_parts(mantissas).items()}
    return values if len(values) > 1 else next(iter(values.values()))


def test_the_manifest_has_layers_and_ends_of_each(built):
    folder, artifacts = built
    deployment = read_deployment(folder / "deploy")
    first, second = deployment.networks
    assert (deployment.name, deployment.bitfile) == ("both", "both.bit")
    assert (first.name, second.name, first.begin, first.end) == ("one", "other", 0, second.begin)
    assert second.end == deployment.layers == len(deployment.kernel.layers)
    for network in deployment.networks:
        artifact = artifacts[network.name]
        assert (network.inputs, network.outputs, network.artifact_digest) == (artifact.inputs, artifact.outputs, artifact.digest)
        assert all(t.layer_index < 0 or network.begin <= t.layer_index < network.end for t in network.tensors)
        assert deployment.of(network.name).only == network
    with pytest.raises(BfpError, match=r"both has 2 networks \(one, other\), and one is asked for; name it"):
        deployment.inputs  # noqa: B018
    with pytest.raises(BfpError, match="both has no network 'third'; its networks are one, other"):
        deployment.of("third")


def test_the_c_simulation_agrees_for_both(built):
    result = json.loads((built[0] / "csim.json").read_text())
    assert result["network"] == "both" and result["mismatches"] == 0 and result["images"] == 2


@pytest.mark.parametrize("order", [["one", "other"], ["other", "one"]])
def test_both_run_in_turns_without_loading_again(built, board, order):
    folder, artifacts = built
    loads = None
    with Accelerator(folder / "deploy", device=board, network=order[0]) as first:
        networks = {order[0]: first, order[1]: first.network(order[1])}
        loads = board.loads
        for seed in range(3):
            inputs = {name: random_input(artifacts[name], seed) for name in order}
            for name in order:
                same(networks[name].run_mantissas(inputs[name][0]), wanted(artifacts[name], inputs[name]))
            for name in order:  # the other has run since, and has not touched a tensor
                kept = golden.run(artifacts[name], inputs[name])
                for tensor in networks[name].deployment.tensors:
                    np.testing.assert_array_equal(networks[name].tensor(tensor.name), kept[tensor.name][0])
        assert board.loads == loads == 1


def test_every_way_to_run_is_of_the_network_that_is_asked(built, board):
    folder, artifacts = built
    with Accelerator(folder / "deploy", device=board, network="other") as other:
        one = other.network("one")
        for name, accelerator in (("one", one), ("other", other), ("one", other.network("one"))):
            artifact, mantissas = artifacts[name], random_input(artifacts[name], 7)
            expected, image = wanted(artifact, mantissas), image_of(artifacts[name], mantissas)
            assert accelerator.deployment.network == name
            same(accelerator.run(image), expected)
            same(asyncio.run(accelerator.run_async(image)), expected)
            for found in accelerator.run_many([image] * 3):
                same(found, expected)
            same(accelerator.profile(image)[0], expected)
            kept = golden.run(artifact, mantissas)
            traced = dict(accelerator.trace_mantissas(mantissas[0]))
            assert set(traced) == {t.name for t in accelerator.deployment.tensors}
            assert all(np.array_equal(values, kept[t][0]) for t, values in traced.items())


def test_they_share_one_device(built, board):
    folder, artifacts = built
    one = Accelerator(folder / "deploy", device=board, network="one")
    other = one.network("other")
    images = [random_input(artifacts["one"], seed)[0] for seed in range(2)]
    trace = one.trace_mantissas(images[0])
    next(trace)
    with pytest.raises(BfpError, match="a run cannot begin while a trace of the accelerator for both is under way"):
        other.run_mantissas(random_input(artifacts["other"], 0)[0])
    trace.close()
    other.timeout_s = 7.0
    assert one.timeout_s == 7.0
    with pytest.raises(BfpError, match="is in use by the accelerator for both of this process"):
        Accelerator(folder / "deploy", device=board, network="other")
    other.close()
    with pytest.raises(BfpError, match="the accelerator for one is closed; open it again"):
        one.run_mantissas(images[0])
    one.close()
    assert not board._memories


def test_a_network_has_to_be_named(built, board):
    folder, _ = built
    with pytest.raises(BfpError, match=r"both has 2 networks \(one, other\), and one is asked for; name it"):
        Accelerator(folder / "deploy", device=board)
    with Accelerator(folder / "deploy", device=board, network="one") as one:
        with pytest.raises(BfpError, match="both has no network 'third'; its networks are one, other"):
            one.network("third")
    assert board.loads == 1


def test_the_boards_program_takes_each_and_verifies_all(built, tmp_path, capsys):
    folder, artifacts = built
    with_references = tmp_path / "board"
    assert deploy_locally(folder, with_references) == 0
    library, deploy = with_references / "libengine.so", with_references / "deploy"

    def run(*words):
        capsys.readouterr()
        status = host([str(word) for word in (words[0], deploy, *words[1:], "--simulate", library)])
        return status, *capsys.readouterr()

    status, out, _ = run("verify", "--out", tmp_path / "all.json")
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == ["one", "other"]
    found = json.loads((tmp_path / "all.json").read_text())
    assert (found["network"], found["mismatches"], found["images"]) == ("both", 0, 4)
    assert found["tensors_compared"] == sum(one["tensors_compared"] for one in found["networks"])
    status, out, _ = run("verify", "--network", "other")
    assert status == 0 and out.startswith("other on the simulated board: 2 images") and "one on" not in out
    status, out, _ = run("info")
    assert status == 0 and all(re.search(f"^network +{name}$", out, re.M) for name in SEEDS)
    status, out, _ = run("bench", "--network", "one", "--seconds", 0.05, "--json", tmp_path / "bench.json")
    assert status == 0 and out.startswith("one, measured on the simulated board")
    layers = json.loads((folder / "estimate.json").read_text())["layers"]
    own = read_deployment(deploy).of("one").only
    cycles = sum(layer["cycles"] for layer in layers[own.begin : own.end])
    figures = json.loads((tmp_path / "bench.json").read_text())["modelled"]
    assert figures["images_a_second"] == pytest.approx(1e6 * figures["clock_mhz"] / cycles)
    for words, sentence in (
        (("bench",), "both has 2 networks (one, other), and one is asked for; name it"),
        (("run", "--network", "third", "x.png"), "both has no network 'third'"),
        (("verify", "--until", "x"), "--until is a layer of one; name that with --network"),
        (("verify", "--artifact", folder / "one.artifact.npz"), "--artifact names 1 files for 2 networks; give one for each"),
    ):
        status, _, err = run(*words)
        assert status == 2 and sentence in err and err.count("\n") == 1


def test_a_difference_is_of_one_network(built, tmp_path, capsys):
    folder, artifacts = built
    wrong = negated(artifacts["other"], telling_layer(artifacts["other"]))
    deploy = shutil.copytree(folder / "deploy", tmp_path / "deploy")
    toy.edit(deploy, lambda data: data["networks"][1].update(artifact_digest=save(wrong, tmp_path / "wrong.npz").digest))
    files = [tmp_path / "wrong.npz", folder / "one.artifact.npz", folder / "one.samples.npz", folder / "other.samples.npz"]
    words = ["check", deploy, "--simulate", folder / "csim" / "libengine.so", "--artifact", files[1], files[0],
             "--samples", *files[2:], "--out", tmp_path / "out.json"]  # fmt: skip
    assert host([str(word) for word in words]) == 1
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["networks"][0]["mismatches"] == 0 < found["networks"][1]["mismatches"] == found["mismatches"]
    assert found["first_mismatch"].startswith("other, image 0, layer other/")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda one, two: two.update(name="one"), "two of its networks are named one; name one otherwise"),
        (lambda one, two: two.update(name="both"), "it is named both as one of its networks is"),
        (lambda one, two: two.update(begin=two["begin"] - 1), "where layer [0-9]+ of [0-9]+ comes next"),
        (lambda one, two: one.update(end=one["end"] - 1), "of layers 0 to|comes next"),
        (lambda one, two: two.update(end=two["end"] + 1), "where layer [0-9]+ of [0-9]+ comes next"),
        (lambda one, two: [s.update(address=0) for s in two["tensors"][0]["segments"]], "tensors of other lie where those of one do"),
    ],
)
def test_manifests_whose_networks_do_not_fit_are_refused(built, tmp_path, change, sentence):
    deploy = shutil.copytree(built[0] / "deploy", tmp_path / "deploy")
    toy.edit(deploy, lambda data: change(*data["networks"]))
    with pytest.raises(BfpError, match=sentence) as error:
        read_deployment(deploy)
    assert "\n" not in str(error.value)


def test_what_cannot_be_put_together_is_refused(built, tmp_path):
    folder, artifacts = built
    one, other = folder.parent / "one", folder.parent / "other"
    for sources, name, sentence in (
        ([one], "x", "2 to 64|has 1 entr"),
        ([one, one], "x", "two of its networks are named one; name one otherwise"),
        ([one, other], "one", "it is named one as one of its networks is; name it otherwise"),
        ([one, other], "a/b", "not a name"),
        ([one, tmp_path / "nothing"], "x", "artifact.npz does not exist"),
    ):
        with pytest.raises(BfpError, match=sentence) as error:
            collect(tmp_path / "x", name, sources)
        assert "\n" not in str(error.value) and not (tmp_path / "x").exists()
    save(artifacts["one"], tmp_path / "bare" / "artifact.npz")
    with pytest.raises(BfpError, match="samples.npz does not exist; calibrate one first"):
        collect(tmp_path / "x", "x", [tmp_path / "bare", other])
    with pytest.raises(BfpError, match="is the build folder of one network"):
        collect(one, "x", [one, other])


def test_a_collection_that_was_changed_is_refused(built, tmp_path):
    folder = shutil.copytree(built[0], tmp_path / "both")
    assert read_networks(folder).name == "both"
    shutil.copyfile(folder / "one.artifact.npz", folder / "other.artifact.npz")
    with pytest.raises(BfpError, match="is of network one; collect its networks again"):
        read_networks(folder)
    (folder / NETWORKS).write_text("[]")
    with pytest.raises(BfpError, match="list of networks .*networks.json"):
        read_networks(folder)


def test_the_package_of_a_bitstream_has_artifact_and_samples_of_each(built, tmp_path):
    """And keeps those of a network that stays when another one is calibrated again."""
    folder = shutil.copytree(built[0], tmp_path / "both")
    request = open_request(folder, DEFAULT)
    (tmp_path / "any.bit").write_bytes(b"of no board")
    complete_package(request, tmp_path / "any.bit", b"neither", toy.MADE)
    names = {f"{network}.{part}" for network in SEEDS for part in ("artifact.npz", "samples.npz")}
    done = read_deployment(folder / "deploy")
    assert set(done.files) == {"weights.bin", "both.bit", "both.hwh", *names} and done.implementation == toy.MADE
    assert has_bitstream(open_request(folder, DEFAULT)) and package_is_current(open_request(folder, DEFAULT))
    assert codegen(["generate", str(folder), *ENGINE]) == 0
    assert read_deployment(folder / "deploy") == done
    artifact = load(folder / "other.artifact.npz")
    outputs = tuple(replace(end, offset=0.5) for end in artifact.outputs)  # which the bitstream does not know of
    save(replace(artifact, outputs=outputs), folder / "other.artifact.npz")
    assert codegen(["generate", str(folder), *ENGINE]) == 0
    kept = read_deployment(folder / "deploy")
    assert set(done.files) - set(kept.files) == {"other.artifact.npz", "other.samples.npz"} and kept.implementation == toy.MADE
    with pytest.raises(BfpError, match="the manifest of other is of another artifact than its other.artifact.npz"):
        check_samples(built[0], kept)
