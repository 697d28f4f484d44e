"""Every file that crosses a border, damaged in thousands of ways: refused in one sentence, or read as what it says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import toy_board as toy
from support.mutations import mutate, mutate_array
from support.random_graphs import random_artifact
from support.several import drawn
from support.small_modules import conv

from bfp import artifact_file, deployment, samples
from bfp.archive import read_arrays, write_arrays
from bfp.artifact import Artifact
from bfp.detection import Detection
from bfp.errors import BfpError
from bfp.fields import canonical
from bfp.files import json_text
from static_bfp import calibrate

MOST = 300  # characters of a refusal, the file's path left out
pytestmark = pytest.mark.filterwarnings("error")  # no arithmetic goes wrong on the way


def text_of(data: object) -> bytes:
    """JSON as other programs may write it: NaN, infinity and lone surrogates included."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def refused(error: BfpError, path) -> None:
    """Assert that the refusal is one sentence that names the file."""
    text = str(error)
    assert str(path) in text, text
    rest = text.replace(str(path), "")
    assert len(rest) <= MOST and rest.isprintable(), text


def finite(data: object) -> bool:
    try:
        canonical(data)
    except (ValueError, RecursionError):
        return False
    return True


# -- deployment ---------------------------------------------------------------------


def check_manifest(folder, data: object, signed: bool) -> bool:
    """Whether the manifest is refused; otherwise it must read as exactly what it says."""
    path = folder / deployment.MANIFEST
    if signed and isinstance(data, dict) and finite(data):
        data["digest"] = deployment.content_digest(data)
    path.write_bytes(json_text(data).encode() if finite(data) else text_of(data))
    try:
        read = deployment.read_deployment(folder)
    except BfpError as error:
        refused(error, path)
        return True
    assert deployment.DEPLOYMENT.write(read) == data
    return False


def fuzz_manifest(folder, count: int, seed: int) -> None:
    original = json.loads((toy.write(folder) / deployment.MANIFEST).read_text())
    rng = np.random.default_rng(seed)
    good = 0
    for i in range(count):
        data = original
        for _ in range(int(rng.integers(1, 4))):
            data = mutate(data, rng)
        good += not check_manifest(folder, data, signed=i % 4 > 0)
    assert good < count / 5
    assert not check_manifest(folder, original, signed=False)


def test_manifests(tmp_path):
    fuzz_manifest(tmp_path, 1000, 0)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"null", b"[]", b"3", b'"schema"', b"\xff\xfe{}", b"{" * 50, b'{"schema": 5, "schema": 5}',
        b"[" * 100_000, b'{"a":' * 100_000, b'{"schema": NaN}', b'{"schema": 1e400}', b'{"schema": ' + b"9" * 6000 + b"}",
        b'{"schema": 5.0}', b'{"schema": true}', b"\xef\xbb\xbf{}", b'{"schema": 5}\0',
    ],
    ids=range(18),
)  # fmt: skip
def test_texts_that_are_no_manifest(tmp_path, text):
    (tmp_path / deployment.MANIFEST).write_bytes(text)
    with pytest.raises(BfpError) as error:
        deployment.read_deployment(tmp_path)
    refused(error.value, tmp_path / deployment.MANIFEST)


# -- artifact -----------------------------------------------------------------------


def write_artifact(path, data: object, arrays: dict[str, np.ndarray], signed: bool) -> None:
    """The file as a writer that hashes whatever it is given would make it."""
    if signed and isinstance(data, dict):
        data["sha256"] = {k: artifact_file.array_digest(v) for k, v in arrays.items()}
    text = text_of(data)
    digest = hashlib.sha256(text).hexdigest().encode() if signed else b"0" * 64
    write_arrays(path, {"manifest": np.frombuffer(text, np.uint8), "digest": np.frombuffer(digest, np.uint8), **arrays})


def check_artifact(path, data: object, arrays: dict[str, np.ndarray], signed: bool = True) -> bool:
    """Whether the artifact is refused; otherwise saving it again must give the same manifest and arrays."""
    write_artifact(path, data, arrays, signed)
    try:
        read = artifact_file.load(path)
    except BfpError as error:
        refused(error, path)
        return True
    again = path.with_name("again.npz")
    artifact_file.save(read, again)
    found = read_arrays(again, "artifact", "", "")
    assert json.loads(found.pop("manifest").tobytes()) == data
    found.pop("digest")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert np.array_equal(found[name], array)
    return False


class Detector(torch.nn.Module):
    """Two inputs, tables, and two outputs of rows that the host finishes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.rows = conv(2, 4), conv(1, 4), torch.nn.Linear(4, 12)

    def forward(self, left, right):
        flat = F.silu(self.left(left) + self.right(right)).mean((2, 3))
        return {"near": self.rows(flat).sigmoid(), "far": self.rows(F.hardswish(flat)).reshape(-1, 2, 6)}


@cache
def detector() -> Artifact:
    made = calibrate(Detector(), drawn({"left": (2, 6, 6), "right": (1, 6, 6)}), method="max").record
    return replace(made, detection=Detection(1, names=("a thing",)), digest="")


def networks_of(path) -> list[tuple[dict, dict[str, np.ndarray]]]:
    """Manifest and arrays of artifacts that have all that one may: shortcuts, tables, several ends, boxes."""
    return [parts_of(path, a) for a in (*(random_artifact(s, 4, nodes=5) for s in (2, 3, 8, 13)), detector())]


def parts_of(path, artifact: Artifact) -> tuple[dict, dict[str, np.ndarray]]:
    artifact_file.save(artifact, path)
    arrays = read_arrays(path, "artifact", "", "")
    arrays.pop("digest")
    return json.loads(arrays.pop("manifest").tobytes()), arrays


def fuzz_artifact(path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    networks = networks_of(path)
    good = 0
    for i in range(count):
        data, arrays = networks[i % len(networks)]
        for _ in range(int(rng.integers(1, 3))):
            data = mutate(data, rng)
        good += not check_artifact(path, data, arrays, signed=i % 8 > 0)
    assert good < count / 4
    for data, arrays in networks:
        assert not check_artifact(path, data, arrays)


def test_artifacts(tmp_path):
    fuzz_artifact(tmp_path / "a.npz", 500, 1)


def fuzz_arrays(path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    networks = networks_of(path)
    for i in range(count):
        data, arrays = networks[i % len(networks)]
        arrays, names = dict(arrays), sorted(arrays)
        name = names[int(rng.integers(len(names)))]
        what = int(rng.integers(8))
        if what == 0:
            del arrays[name]
        elif what == 1:
            arrays[("x", "m9999", name.upper())[int(rng.integers(3))]] = arrays[name]
        elif what == 2:
            arrays[name] = arrays[names[int(rng.integers(len(names)))]]
        else:
            arrays[name] = mutate_array(arrays[name], rng)
        check_artifact(path, json.loads(text_of(data)), arrays)


def test_arrays_of_artifacts(tmp_path):
    fuzz_arrays(tmp_path / "a.npz", 200, 2)


# -- samples ------------------------------------------------------------------------


def fuzz_samples(path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(3, 2, 4, 4)).astype(np.float32)
    samples.save_samples(samples.Samples(images, np.array([-1, 0, 3]), ("a", "ü", "c d"), np.ones((3, 5))), path)
    original = read_arrays(path, "", "", "")
    refusals = 0
    for _ in range(count):
        arrays, names = dict(original), sorted(original)
        name = names[int(rng.integers(len(names)))]
        what = int(rng.integers(6))
        if what == 0:
            del arrays[name]
        elif what == 1:
            arrays["more"] = arrays[name]
        else:
            arrays[name] = mutate_array(arrays[name], rng)
        write_arrays(path, arrays)
        try:
            read = samples.load_samples(path)
        except BfpError as error:
            refused(error, path)
            refusals += 1
            continue
        samples.save_samples(read, path.with_name("again.npz"))
        again = read_arrays(path.with_name("again.npz"), "", "", "")
        assert again.keys() == arrays.keys()
        for k, a in again.items():
            assert a.shape == arrays[k].shape and np.array_equal(a, arrays[k]), (k, arrays[k], a)
    assert refusals > count / 2


def test_samples(tmp_path):
    fuzz_samples(tmp_path / "samples.npz", 300, 3)


# -- thousands ----------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(100, 104))
def test_thousands_of_each(tmp_path, seed):
    fuzz_manifest(tmp_path / "deploy", 5000, seed)
    fuzz_artifact(tmp_path / "a.npz", 4000, seed)
    fuzz_arrays(tmp_path / "a.npz", 2000, seed)
    fuzz_samples(tmp_path / "samples.npz", 2000, seed)
