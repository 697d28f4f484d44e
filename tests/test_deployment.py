"""The deployment folder: what its reader refuses, before any hardware is touched."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace

import numpy as np
import pytest
from support import toy_board as toy

from bfp.deployment import DEPLOYMENT, Deployment, content_digest, read_deployment, read_weights
from bfp.errors import BfpError
from host.driver import Accelerator


@pytest.fixture
def deploy(tmp_path):
    return toy.write(tmp_path / "deploy")


def open_deployment(folder):
    """Everything that the driver reads of a folder before it looks for a bitstream."""
    deployment = read_deployment(folder)
    read_weights(deployment, folder)


def put(*keys, value):
    """A change of the manifest: the value under these keys."""

    def change(data):
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


def own(*keys, value):
    """A change of the only network."""
    return put("networks", 0, *keys, value=value)


def without(key):
    return lambda data: data.pop(key)


def both(first, second):
    return lambda data: (first(data), second(data))


LAYERS = DEPLOYMENT.write(toy.deployment())["kernel"]["layers"]


@pytest.mark.parametrize(
    "change, message",
    [
        (put("schema", value=10), "schema 10, this version reads 9; update"),
        (put("schema", value=8), "schema 8, this version reads 9; generate the deployment folder again with `doit codegen`"),
        (put("schema", value="x"), "no manifest: its schema is 'x'"),
        (without("schema"), "no manifest: its schema is None"),
        (put("identity", value="12"), "identity is '12', not 16 hexadecimal digits"),
        (put("identity", value="G" * 16), "not 16 hexadecimal digits"),
        (without("identity"), "the key 'identity' is missing"),
        (put("mood", value=1), "the key 'mood' is not known"),
        (put("weights_words", value=7), "hold 96 bytes, the manifest says 112"),
        (put("weights_words", value=2**32), "more than 4294967296"),
        (put("weights_words", value=5), "has 96 bytes, more than the 80 that it may have"),
        (put("files", "weights.bin", value="00" * 32), "SHA-256"),
        (put("files", value={}), "no hash of weights.bin"),
        (put("files", "../weights.bin", value="00" * 32), "files is '../weights.bin', not a file's name"),
        (put("fmap_words", value=17), "ends at word 18 of an arena of 17"),
        (put("lanes", value=0), "lanes is 0, not a whole number from 2 to 64"),
        (put("lanes", value=12), "lanes is 12, not a power of two from 2 to 64"),
        (put("lanes", value=True), "lanes is True, not a whole number"),
        (put("clock_mhz", value=0), "clock_mhz is 0"),
        (put("clock_mhz", value="fast"), "clock_mhz is 'fast', not a number"),
        (without("board"), "the key 'board' is missing"),
        (put("board", value="a\nb"), r"board is 'a\\nb', not printable text"),
        (put("kernel", "layers", value=LAYERS[:1]), "network toy has layers 0 to 2, where layer 0 of 1 comes next"),
        (put("kernel", "layers", value=LAYERS[::-1]), "tensor 'first' comes from 'layer 0', and layer 0 is another"),
        (put("kernel", "layers", 0, "aligned", value=1), r"kernel.layers\[0\].aligned is 1, not true or false"),
        (put("kernel", "layers", 1, "shifts", value="x" * 16), r"layers\[1\].shifts is 'x+', not 16 hexadecimal"),
        (put("kernel", "align_bits", value=5), "align_bits is 5, not a whole number from 0 to 4"),
        (put("files", "toy.bit", value="00" * 32), "it has a hash of toy.bit and does not say how a bitstream was made"),
        (put("files", "other.bit", value="00" * 32), "its file 'other.bit' is none of a package"),
        (put("implementation", value=DEPLOYMENT.write(toy.deployment(implementation=toy.MADE))["implementation"]),
         "it has no hash of toy.bit and says how a bitstream was made"),
        (both(put("minimal", value=True), put("files", "samples.npz", value="00" * 32)), "it is minimal, and has samples.npz"),
        (put("minimal", value=None), "minimal is None, not true or false"),
        (own("end", value=1), "tensor 'last' comes from layer 1, of layers 0 to 1"),
        (own("begin", value=1), "network toy has layers 1 to 2, where layer 0 of 2 comes next"),
        (own("name", value="other"), "it is named toy, and its only network other; name both alike"),
        (put("networks", value=[]), "networks: it has 0 entries"),
        (own("tensors", 1, "layer_index", value=-1), "tensor 'first' comes from layer -1"),
        (own("outputs", 0, "classes", value=["a", "b"]), "output last has 18 values and 2 class names"),
        (own("outputs", 0, "classes", 3, value="\x1b[2J"), r"outputs\[0\].classes\[3\] is '\\x1b\[2J', not printable"),
        (own("outputs", 0, "tensor", value="nothing"), "output tensor 'nothing'"),
        (own("outputs", 0, "host", value=["softmin"]), "host operator 'softmin' is not known; update the project"),
        (own("outputs", 0, "scale", value=float("inf")), "damaged or no JSON"),
        (own("outputs", value=[]), "outputs: it has 0 entries"),
        (own("inputs", 0, "preprocessing", "size", value=[4, 4]), "its preprocessing makes \\(4, 4\\)"),
        (own("inputs", 0, "preprocessing", "interpolation", value="cubic"), "interpolation is 'cubic', not one of"),
        (own("tensors", value=[1]), r"tensors\[0\] is 1, not an object"),
        (own("tensors", 0, "name", value="first"), "two tensors have the same name"),
        (own("tensors", 0, "shape", value=[65536, 16384, 16384]), "not a shape of at most"),
        (own("tensors", 2, "format", "exponents", value=[-4]), r"tensors\[2\].format: block format has 1 exponents"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(deploy, change, message):
    path = deploy / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    if "Infinity" in json.dumps(data):
        path.write_text(json.dumps(data))
    else:
        toy.edit(deploy, change)
    with pytest.raises(BfpError, match=message) as error:
        open_deployment(deploy)
    assert "\n" not in str(error.value) and len(str(error.value).replace(str(path), "")) < 300


def test_a_manifest_edited_by_hand_is_refused(deploy):
    toy.edit(deploy, own("outputs", 0, "offset", value=0.25), signed=False)
    with pytest.raises(BfpError, match="was changed: its digest is not that of its content; generate"):
        open_deployment(deploy)


def test_no_flipped_bit_of_a_manifest_is_taken(tmp_path):
    """Not one of thousands, and above all none that leaves valid JSON of the right types."""
    names = tuple(f"ü {i}" for i in range(18))  # an escape has letters whose case means nothing
    output = replace(toy.deployment().output, offset=1e-7, classes=names)
    path = toy.write(tmp_path, outputs=(output,)) / "manifest.json"
    original = path.read_bytes()
    rng, said = np.random.default_rng(0), set()
    for position in rng.choice(8 * len(original), 4000, replace=False):
        flipped = bytearray(original)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(BfpError) as error:
            read_deployment(tmp_path)
        said.add(str(error.value).replace(str(path), "")[:30])
    assert {"deployment  was changed: its di"[:30], "deployment  is damaged or no J"} <= said
    for same in (original.replace(b"1e-07", b"1E-07"), original.replace(b"u00fc", b"u00FC"), original.rstrip()):
        assert same != original and json.loads(same) == json.loads(original)
        path.write_bytes(same)
        with pytest.raises(BfpError, match="was changed: its digest is not that of its content"):
            read_deployment(tmp_path)
    path.write_bytes(original)
    assert read_deployment(tmp_path).output == output


@pytest.mark.parametrize("field", [f.name for f in fields(Deployment) if f.name not in ("schema", "digest")])
def test_the_digest_covers_every_field(field):
    data = DEPLOYMENT.write(toy.deployment())
    assert content_digest({**data, field: "another"}) != content_digest(data)


def test_a_deployment_of_several_inputs_is_read(deploy):
    def second(data):
        (network,) = data["networks"]
        network["inputs"].append({**network["inputs"][0], "tensor": "first"})
        network["tensors"][1]["layer_index"] = -1

    toy.edit(deploy, second)
    assert [e.tensor for e in read_deployment(deploy).inputs] == ["input", "first"]
    with pytest.raises(BfpError, match=r"network toy has 2 inputs \(input, first\), and one is asked for; name it"):
        read_deployment(deploy).input  # noqa: B018


def test_damaged_files_are_refused(deploy):
    weights = deploy / "weights.bin"
    original = weights.read_bytes()
    weights.write_bytes(original[:-1])
    with pytest.raises(BfpError, match="hold 95 bytes, the manifest says 96"):
        open_deployment(deploy)
    weights.write_bytes(original + b"\0")
    with pytest.raises(BfpError, match="has 97 bytes, more than the 96"):
        open_deployment(deploy)
    weights.write_bytes(bytes([original[0] ^ 1]) + original[1:])
    with pytest.raises(BfpError, match="damaged: their SHA-256"):
        open_deployment(deploy)
    (deploy / "manifest.json").write_text((deploy / "manifest.json").read_text()[:100])
    with pytest.raises(BfpError, match="damaged or no JSON"):
        open_deployment(deploy)
    with pytest.raises(BfpError, match="does not exist; give the deployment folder"):
        open_deployment(deploy / "missing")


@pytest.mark.parametrize("name", ["weights.bin", "manifest.json"])
@pytest.mark.parametrize(
    "what", ["pipe", "link to a pipe", "link to a device", "folder", "link to nowhere", "link to itself", "missing"]
)
def test_what_is_no_ordinary_file_is_refused_at_once(deploy, name, what):
    path = deploy / name
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what != "missing":
        os.mkfifo(deploy / "pipe")
        links = {"link to a pipe": deploy / "pipe", "link to a device": "/dev/zero", "link to itself": path}
        path.symlink_to(links.get(what, deploy / "nowhere"))
    with pytest.raises(BfpError, match=f"{name} (is no ordinary file|does not exist|cannot be read)") as error:
        open_deployment(deploy)
    assert "\n" not in str(error.value)
