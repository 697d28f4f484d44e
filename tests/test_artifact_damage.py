"""A damaged, truncated, foreign or altered artifact is one sentence, or (where bytes mean nothing) the same artifact."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile

import numpy as np
import pytest
from support.artifact_files import message_of, same, saved

from bfp import BfpError
from bfp.artifact_file import SCHEMA, array_digest, load

FLIPS = 400


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


@pytest.mark.parametrize("value", [None, 3, [[]], "text"], ids=str)
def test_provenance_is_an_object(saved, value):
    _, path = saved
    rewrite(path, lambda manifest, arrays: manifest.update(provenance=value))
    assert "provenance" in message_of(path)


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
        entry["requantisation_shift"][0] += 1
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
