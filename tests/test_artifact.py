"""The artifact file: what goes in comes out, and nothing damaged is ever loaded."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from support.random_graphs import random_artifact

from bfp import BfpError
from bfp import artifact_file, files
from bfp.artifact import Artifact, NetworkInput, Preprocessing
from bfp.artifact_file import SCHEMA, array_digest, load, save
from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from bfp.limits import ACC_LIMIT
from bfp.parameters import Parameters, Weights, derive

FLIPS = 400


def same(a: object, b: object) -> bool:
    """Equality that looks into arrays, dataclasses and containers."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (Parameters, Weights)):
        return type(a) is type(b) and same(vars(a), vars(b))
    return a == b


def message_of(path) -> str:
    """The sentence with which a file is refused; any other exception fails the test."""
    with pytest.raises(BfpError) as error:
        load(path)
    text = str(error.value)
    assert "\n" not in text and text
    return text


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "artifact.npz"
    artifact = save(random_artifact(3, 16), path)
    return artifact, path


def entries(path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {k: archive[k] for k in archive.files}


def rewrite(path, change, rehash: bool = True) -> None:
    """Write the file again after ``change(manifest, arrays)``, with digests that fit unless told otherwise."""
    arrays = entries(path)
    manifest = json.loads(arrays.pop("manifest").tobytes())
    digest = arrays.pop("digest").tobytes()
    change(manifest, arrays)
    if rehash and "sha256" in manifest:
        manifest["sha256"] = {k: array_digest(v) for k, v in arrays.items()}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    if rehash:
        digest = hashlib.sha256(text).hexdigest().encode()
    np.savez(path, manifest=np.frombuffer(text, np.uint8), digest=np.frombuffer(digest, np.uint8), **arrays)


@pytest.mark.parametrize("seed", range(30))
def test_round_trip(seed, tmp_path):
    artifact = random_artifact(seed, 4)
    channels, *size = artifact.graph.shapes["input"]
    rng = np.random.default_rng(seed)
    mean, std = (tuple(rng.uniform(0.5, 3, channels).tolist()) for _ in range(2))
    entry = NetworkInput("input", Preprocessing(tuple(size), mean, std, 9, "bilinear", "bgr"))
    end = artifact.result
    names = tuple(f"ü {i}" for i in range(int(np.prod(artifact.graph.shapes[end.tensor]))))
    end = replace(end, offset=0.25, scale=1.5, classes=names)
    record = {"method": "kl", "n": [1, None]}
    artifact = replace(artifact, inputs=(entry,), outputs=(end,), provenance=record, float_digest="f" * 64)
    written = save(artifact, tmp_path / "deep" / "folder" / "a.npz")
    read = load(tmp_path / "deep" / "folder" / "a.npz")
    assert len(written.digest) == 64
    assert same(vars(read), vars(written))
    assert same({**vars(artifact), "digest": ""}, {**vars(read), "digest": ""})
    for name, p in read.parameters.items():
        if p.weights is not None:
            assert p.weights.mantissas.dtype == np.int8, name


def test_same_content_gives_the_same_bytes(tmp_path):
    first, second = (save(random_artifact(8, 16), tmp_path / name) for name in ("a.npz", "b.npz"))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert first.digest == second.digest
    save(load(tmp_path / "a.npz"), tmp_path / "c.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    assert save(random_artifact(9, 16), tmp_path / "d.npz").digest != first.digest


def test_any_damaged_byte_is_refused_or_harmless(saved, tmp_path):
    """Flipped bits anywhere: a sentence, or (zip's redundant fields) exactly the same content."""
    artifact, path = saved
    good = path.read_bytes()
    damaged = tmp_path / "damaged.npz"
    rng = random.Random(0)
    # the zip directory is at the end, and a plain uniform draw would seldom meet it
    places = [rng.randrange(len(good)) for _ in range(FLIPS)]
    places += [len(good) - 1 - i for i in range(200)] + list(range(60))
    refused = 0
    for at in places:
        data = bytearray(good)
        data[at] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data)
        try:
            read = load(damaged)
        except BfpError as error:
            assert str(damaged) in str(error) and "\n" not in str(error), at
            refused += 1
        else:
            assert same(vars(read), vars(artifact)), f"byte {at}"
    assert refused > FLIPS * 0.9


def test_damaged_runs_of_bytes_are_refused(saved, tmp_path):
    artifact, path = saved
    good = path.read_bytes()
    rng = random.Random(1)
    for _ in range(100):
        start, length = rng.randrange(len(good)), rng.randrange(1, 400)
        data = bytearray(good)
        data[start : start + length] = rng.randbytes(len(data[start : start + length]))
        path.write_bytes(data)
        try:
            assert same(vars(load(path)), vars(artifact))
        except BfpError as error:
            assert "\n" not in str(error)


def test_truncated_files_are_refused(saved):
    _, path = saved
    good = path.read_bytes()
    for length in [0, 1, 3, 4, 30, *range(50, len(good), max(1, len(good) // 60)), len(good) - 1]:
        path.write_bytes(good[:length])
        assert "damaged or truncated" in message_of(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not an artifact" * 40, b"\x93NUMPY\x01\x00", b"\x80\x04K\x01."])
def test_files_of_another_kind_are_refused(content, tmp_path):
    path = tmp_path / "artifact.npz"
    path.write_bytes(content)
    assert "damaged or truncated" in message_of(path)


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "artifact.npz"
    np.save(tmp_path / "plain.npy", np.arange(3))
    path.write_bytes((tmp_path / "plain.npy").read_bytes())
    message_of(path)
    np.savez(path, images=np.zeros(3))
    assert "damaged" in message_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest", "{}")
    message_of(path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "w") as archive:  # a pickle: must not be read
        archive.writestr("manifest.npy", buffer.getvalue())
        archive.writestr("digest.npy", buffer.getvalue())
    assert "damaged" in message_of(path)


def test_missing_file_and_folder(tmp_path):
    assert "does not exist" in message_of(tmp_path / "none.npz")
    assert "is no ordinary file" in message_of(tmp_path)


def test_newer_schema_is_refused_and_says_so(saved):
    _, path = saved
    rewrite(path, lambda manifest, arrays: manifest.update(schema=SCHEMA + 1))
    assert f"has schema {SCHEMA + 1}, this version reads {SCHEMA}; update the project" in message_of(path)


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_older_schemas_are_refused_with_what_to_run(saved, schema):
    _, path = saved
    rewrite(path, lambda manifest, arrays: manifest.update(schema=schema))
    message = message_of(path)
    assert f"has the older schema {schema}, this version reads {SCHEMA}; write it again with `doit calibrate`" in message


def test_newer_schema_says_so_even_where_the_layout_changed(saved):
    """Whatever a later version does to the other entries, its number is what the user reads."""
    _, path = saved

    def later(manifest, arrays):
        schema = {"schema": SCHEMA + 4}
        manifest.clear()
        manifest.update(schema)

    rewrite(path, later)
    assert f"has schema {SCHEMA + 4}" in message_of(path)


@pytest.mark.parametrize("schema", ["2", None, 1.5, [1], {}, 0, -3])
def test_nonsense_schema_is_refused(saved, schema):
    _, path = saved
    rewrite(path, lambda manifest, arrays: manifest.update(schema=schema))
    assert f"is damaged: schema is {schema!r}, not the number {SCHEMA}" in message_of(path)


def first_weights(manifest: dict) -> dict:
    return next(n for n in manifest["nodes"].values() if "weights" in n)


@pytest.mark.parametrize("key", ["graph", "formats", "nodes", "inputs", "outputs", "provenance", "float_digest", "sha256"])
def test_missing_manifest_entry_is_refused(saved, key):
    _, path = saved
    rewrite(path, lambda manifest, arrays: manifest.pop(key))
    assert str(path) in message_of(path)


@pytest.mark.parametrize("value", [None, 3, True, [[]], ["text"], {"a": 1}], ids=str)
@pytest.mark.parametrize("key", ["graph", "formats", "nodes", "inputs", "outputs", "sha256"])
def test_manifest_entries_of_another_kind_are_refused(saved, key, value):
    _, path = saved

    rewrite(path, lambda manifest, arrays: manifest.update({key: value}), rehash=key != "sha256")
    message_of(path)


def test_missing_array_is_refused(saved):
    _, path = saved
    rewrite(path, lambda manifest, arrays: arrays.pop("m0000"))
    message_of(path)
    arrays = entries(path)
    del arrays["digest"]
    np.savez(path, **arrays)
    assert "damaged" in message_of(path)


def test_altered_weights_are_refused_by_their_hash(saved):
    _, path = saved

    def flip(manifest, arrays):
        arrays["m0000"] = arrays["m0000"] ^ 1

    rewrite(path, flip, rehash=False)
    assert "a hash does not match" in message_of(path)


def test_altered_manifest_is_refused_by_its_digest(saved):
    _, path = saved
    rewrite(path, lambda manifest, arrays: manifest["provenance"].update(method="other"), rehash=False)
    assert "a hash does not match" in message_of(path)


def test_tampered_shift_is_refused_with_its_node(saved):
    """Digests that fit do not help: shifts must be those of the exponents."""
    _, path = saved
    names = []

    def tamper(manifest, arrays):
        name, entry = next(iter(manifest["nodes"].items()))
        entry["round_shift"][0] += 1
        names.append(name)

    rewrite(path, tamper)
    message = message_of(path)
    assert f"node {names[0]}" in message and "shifts are not those of its exponents" in message


def change_exponent(manifest, arrays):
    first_weights(manifest)["acc_exponent"][0] += 40


def change_bits(manifest, arrays):
    first_weights(manifest)["weights"]["bits"] = 9


def change_shape(manifest, arrays):
    first_weights(manifest)["weights"]["shape"][0] += 1


def change_array(manifest, arrays):
    first_weights(manifest)["weights"]["bias"] = "b9999"


def change_format(manifest, arrays):
    next(iter(manifest["formats"].values()))["splits"][-1] += 1


def change_operator(manifest, arrays):
    manifest["graph"]["nodes"][0]["op"] = "lstm"


def change_input(manifest, arrays):
    manifest["graph"]["nodes"][0]["inputs"] = ["nowhere"]


def change_tensor(manifest, arrays):
    manifest["graph"]["shapes"][manifest["graph"]["outputs"][0]][1] += 1


def cut_array(manifest, arrays):
    arrays["b0000"] = arrays["b0000"][:-1]


TAMPERING = (
    change_exponent, change_bits, change_shape, change_array, change_format,
    change_operator, change_input, change_tensor, cut_array,
)  # fmt: skip


@pytest.mark.parametrize("change", TAMPERING, ids=lambda f: f.__name__)
def test_contents_that_do_not_fit_each_other_are_refused(saved, change):
    _, path = saved
    rewrite(path, change)
    message_of(path)


# -- accumulators ------------------------------------------------------------------


def overflowing(channels: int) -> Artifact:
    """One dense layer 'fc' of largest weights on largest activations, shifted by 7: 127 * 255 * 128 a channel."""
    source, target = BlockFormat(8, False, (0, channels), (0,)), BlockFormat(8, True, (0, 1), (20,))
    # the second block is finer by 7 bits, so the first one is shifted
    splits = (0, channels - 1, channels)
    weights = Weights(8, np.full((1, channels, 1, 1), 127, np.int8), splits, np.array([[7, 0]]))
    node = Node("fc", "conv", ("in",), "out", Window())
    p = derive(node, source, target, None, weights, np.zeros(1))
    graph = Graph("wide", ("in",), ("out",), (node,), {"in": (channels, 1, 1), "out": (1, 1, 1)})
    return Artifact.of_one(graph, {"in": source, "out": target}, {"fc": p}, Preprocessing((1, 1), (0.0,) * channels, (1.0,) * channels))


def test_accumulator_that_can_overflow_is_refused_with_its_layer(tmp_path):
    half = 1 << 19  # what rounding by 20 adds
    most = (ACC_LIMIT - 1 - half - 127 * 255) // (127 * 255 * 128)
    path = tmp_path / "a.npz"
    save(overflowing(most + 1), path)
    load(path)
    with pytest.raises(BfpError, match=r"node fc, filter 0: the accumulator can reach .* 32 bits end at 2147483648"):
        save(overflowing(most + 2), tmp_path / "b.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_accumulator_that_can_overflow_is_refused_when_it_is_loaded(tmp_path, monkeypatch):
    """A file whose digests fit, written by something that proved nothing."""
    path = tmp_path / "a.npz"
    monkeypatch.setattr(artifact_file, "verify", lambda artifact: None)
    save(overflowing(1000), path)
    monkeypatch.undo()
    assert "node fc, filter 0: the accumulator can reach" in message_of(path)


def test_bias_and_shortcut_count_in_the_proof(tmp_path):
    artifact = overflowing(10)
    for bias in (ACC_LIMIT, -ACC_LIMIT):
        p = replace(artifact.parameters["fc"], bias=np.array([bias]))
        with pytest.raises(BfpError, match="node fc, filter 0"):
            save(replace(artifact, parameters={"fc": p}), tmp_path / "a.npz")


# -- writing -----------------------------------------------------------------------


def test_nothing_is_left_half_written(saved, tmp_path, monkeypatch):
    """A disk that fills up in the middle leaves the older file as it was."""
    artifact, path = saved
    good = path.read_bytes()

    def fails(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", fails)
    with pytest.raises(BfpError, match="cannot be written .*No space left"):
        save(random_artifact(4, 16), path)
    monkeypatch.undo()
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert same(vars(load(path)), vars(artifact))


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BfpError, match="cannot be written"):
        save(random_artifact(4, 16), tmp_path / "file" / "artifact.npz")
