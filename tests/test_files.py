"""Files are written whole or not at all, by any number of processes at once, and read without surprises."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import racing
from support import toy_board as toy
from support.boards import BOARD
from support.full_disk import full_disk
from support.random_graphs import random_artifact
from support.random_inputs import random_input

from bfp import archive, artifact_file, files
from bfp.errors import BfpError
from bfp.graph import Graph
from bfp.samples import save_samples
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.state import weights_digest
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.simulation.csim import write_golden
from host import hwh

RACE_SECONDS = 3.0


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_processes_that_race_for_the_same_files_never_see_a_damaged_one(tmp_path):
    racing.write(tmp_path, racing.SEEDS[0], random_artifact(racing.SEEDS[0], 16))
    command = [sys.executable, racing.__file__]
    roles = ("write", "write", "read", "read")
    running = [
        subprocess.Popen([*command, role, str(tmp_path), str(RACE_SECONDS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for role in roles
    ]
    for role, process in zip(roles, running):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{role}: {err.decode()}"
        assert int(out) >= racing.ROUNDS_AT_LEAST
    own = {f"{role}/{seed}.npz" for role in ("write", "read") for seed in racing.SEEDS}
    shared = {"artifact.npz", "samples.npz", "figures.json", "deploy/manifest.json", "deploy/weights.bin"}
    assert set(contents(tmp_path)) == own | shared


def writers():
    """Everything that writes a file of its own, by name: called with a path."""
    artifact = random_artifact(2, 16)

    def golden(path):
        program = build([artifact], EngineOptions(), BOARD)
        write_golden(path, program, "0" * 16, [random_input(artifact, 0)])

    return {
        "artifact": lambda path: artifact_file.save(artifact, path),
        "samples": lambda path: save_samples(racing.sample(1), path),
        "deployment": lambda path: toy.write(path.parent / "deploy"),
        "handoff": lambda path: hwh.write_hwh(path, "sbfp_engine_0", 16, 250),
        "golden values": golden,
        "JSON": lambda path: files.write_json(path, list(range(1000))),
        "text": lambda path: files.write_text(path, "a line\n" * 100),
        "bytes": lambda path: files.write_bytes(path, bytes(1000)),
        "a copy": lambda path: files.copy_file(__file__, path),
    }


WRITERS = writers()


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_older_file_and_nothing_else(name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with pytest.raises(BfpError, match=r"cannot be written \(File too large\); make room") as error, full_disk():
        WRITERS[name](path)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == {"file": b"older"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_takes_no_files_is_one_sentence(name, tmp_path, monkeypatch):
    """root may write where others may not, so the system's answer is put in its place."""

    def refuses(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.os, "replace", refuses)
    with pytest.raises(BfpError, match=r"cannot be written \(Read-only file system\); make room") as error:
        WRITERS[name](tmp_path / "file")
    assert "\n" not in str(error.value) and contents(tmp_path) == {}


def test_devices_and_pipes_are_not_replaced(tmp_path):
    """Root, who drives the board, could."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(BfpError, match=f"{name} cannot be written .it is no ordinary file.; name another"):
            files.write_json(tmp_path / name, {})
    with pytest.raises(BfpError, match="cannot be written .File name too long"):
        files.write_bytes(tmp_path / (300 * "n"), b"")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "null").is_char_device()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["null", "pipe"]


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for name, write in WRITERS.items():
        with pytest.raises(BfpError, match="cannot be written"):
            write(tmp_path / "file" / "inside")
        assert contents(tmp_path) == {"file": b""}, name


def test_a_block_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"file": b"older"}
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "folder") as temporary:
        (temporary / "inside").mkdir(parents=True)
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_folders_are_replaced_whole(tmp_path):
    for names in (["a", "b"], ["c"]):
        with files.replacing(tmp_path / "events") as temporary:
            temporary.mkdir()
            for name in names:
                (temporary / name).write_text(name)
        assert contents(tmp_path) == {f"events/{n}": n.encode() for n in names}


def test_two_who_replace_a_folder_at_once_leave_one_of_them(tmp_path):
    """The other one's folder appears between the two renames: it steps aside as well."""
    target, rename, met = tmp_path / "events", os.rename, []

    def late(source, to):
        if Path(to) == target and not met:
            met.append(True)
            target.mkdir()
            (target / "theirs").write_text("theirs")
        rename(source, to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "rename", late)
        with files.replacing(target) as temporary:
            temporary.mkdir()
            (temporary / "ours").write_text("ours")
    assert met and contents(tmp_path) == {"events/ours": b"ours"}


def test_a_text_that_says_the_same_is_left_alone(tmp_path):
    path = tmp_path / "deep" / "text"
    files.write_text(path, "ü\n")
    before = path.stat().st_mtime_ns
    files.write_text(path, "ü\n")
    assert path.stat().st_mtime_ns == before and path.read_bytes() == "ü\n".encode()
    files.write_json(path, {"b": 1, "a": [1.5, None]})
    assert json.loads(path.read_text()) == {"b": 1, "a": [1.5, None]} and path.read_text().index('"b"') < 5
    with pytest.raises(ValueError):
        files.write_json(path, float("nan"))
    assert contents(tmp_path) == {"deep/text": path.read_bytes()}


def kinds_of_nothing(path):
    """What a reader may find in a file's place, one after the other."""
    yield "missing"
    path.symlink_to(path.parent / "nowhere")
    yield "a link to nowhere"
    path.unlink()
    path.symlink_to(path)
    yield "a link to itself"
    path.unlink()
    path.mkdir()
    yield "a folder"
    path.rmdir()
    os.mkfifo(path)
    yield "a pipe"
    path.unlink()
    path.symlink_to("/dev/zero")
    yield "a device"


def test_readers_refuse_at_once_what_is_no_ordinary_file(tmp_path):
    path = tmp_path / "file"
    for what in kinds_of_nothing(path):
        for read in (
            lambda: files.read_file(path, "notes", "write them"),
            lambda: files.file_digest(path, "notes", "write them"),
            lambda: archive.read_arrays(path, "notes", "write them", "write them again"),
        ):
            with pytest.raises(BfpError, match="^notes .*file (does not exist|cannot be read|is no ordinary file)"):
                read()
            assert what


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(BfpError, match="has 1099511627776 bytes, more than the 10 that it may have"):
        files.read_file(tmp_path / "file", "notes", "write them", most=10)


def test_an_archive_that_states_absurd_sizes_makes_nothing_of_that_size(tmp_path):
    """A header of 2**60 values, and a directory entry of as many bytes, in a file of some hundred bytes."""
    path = tmp_path / "file.npz"
    np.savez(path, images=np.zeros(5, np.uint8))
    good = path.read_bytes()
    path.write_bytes(good.replace(b"'shape': (5,), }" + b" " * 19, b"'shape': (1152921504606846976,), }" + b" "))
    assert path.read_bytes() != good
    with pytest.raises(BfpError, match="is damaged or truncated"):
        archive.read_arrays(path, "notes", "write them", "write them again")
    np.savez_compressed(path, images=np.zeros(1 << 20, np.uint8))
    with pytest.raises(BfpError, match="an array is compressed"):
        archive.read_arrays(path, "notes", "write them", "write them again")


def test_hashes_cover_type_and_shape():
    array = np.arange(6, dtype="<i4")
    other = [array.view(">i4"), array.reshape(2, 3), array.view("<u4"), array.view("<i2"), array.astype("<i8")]
    assert len({artifact_file.array_digest(a) for a in (array, *other)}) == 6
    assert artifact_file.array_digest(array) == artifact_file.array_digest(array[::-1][::-1])


def test_the_digest_of_float_weights_covers_type_and_shape():
    weight, bias = np.arange(1, 13, dtype="<f4").reshape(3, 4, 1, 1), np.ones(3, "<f4")
    variants = [(weight, bias), (weight.reshape(3, 1, 2, 2), bias), (weight.view(">f4"), bias), (weight, bias[:, None])]
    variants += [(weight, bias.view("<i4")), (weight[::-1], bias)]
    networks = [FloatNetwork(Graph("n", ("a",), ("a",), (), {}), {"conv": FloatWeights(*v)}) for v in variants]
    assert len({weights_digest(n) for n in networks}) == len(variants)


def test_the_same_bytes_of_weights_with_another_meaning_are_refused(tmp_path):
    """A bias that says it is big-endian, with every hash computed again, would be another bias."""
    artifact_file.save(random_artifact(3, 16), tmp_path / "a.npz")
    arrays = archive.read_arrays(tmp_path / "a.npz", "", "", "")
    for name, kind in (("b0000", ">i4"), ("b0000", "<u4"), ("e0000", ">i2"), ("m0000", "|i1")):
        changed = {**arrays, name: arrays[name].view(kind)}
        manifest = json.loads(changed.pop("manifest").tobytes())
        changed.pop("digest")
        manifest["sha256"] = {k: artifact_file.array_digest(v) for k, v in changed.items()}
        racing_text = artifact_file.canonical(manifest)
        digest = artifact_file.hashlib.sha256(racing_text).hexdigest().encode()
        texts = {"manifest": np.frombuffer(racing_text, np.uint8), "digest": np.frombuffer(digest, np.uint8)}
        archive.write_arrays(tmp_path / "b.npz", {**texts, **changed})
        with pytest.raises(BfpError, match=f"node .*: array {name} is .{kind[1:]} of shape"):
            artifact_file.load(tmp_path / "b.npz")


def test_what_could_not_be_read_is_not_written(tmp_path):
    artifact = random_artifact(3, 16)
    for bad, message in (
        (replace(artifact, float_digest="none"), "float_digest is 'none', not 64 hexadecimal digits"),
        (replace(artifact, provenance={"a": object()}), "provenance is <object"),
        (replace(artifact, provenance={"a": float("nan")}), "provenance is nan"),
        (replace(artifact, outputs=(replace(artifact.result, scale=1e-40),)), r"outputs\[0\].scale is 1e-40"),
    ):
        with pytest.raises(BfpError, match=message):
            artifact_file.save(bad, tmp_path / "a.npz")
    with pytest.raises(BfpError, match="artifact_digest is '', not 64 hexadecimal digits"):
        toy.write(tmp_path, artifact_digest="")
    with pytest.raises(BfpError, match="ends at word 18 of an arena of 17"):
        toy.write(tmp_path, fmap_words=17)
    good = racing.sample(1)
    for bad, message in (
        (replace(good, names=("a\n",) * 40), r"a name is 'a\\n', no printable text"),
        (replace(good, images=np.full((40, 3, 8, 8), np.nan)), "images holds values that are not finite"),
        (replace(good, labels=np.arange(39)), "and there are 39 labels"),
        (replace(good, labels=np.full(40, -2)), "a label is -2, less than -1"),
    ):
        with pytest.raises(BfpError, match=message):
            save_samples(bad, tmp_path / "samples.npz")
    assert contents(tmp_path) == {}
