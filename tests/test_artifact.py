"""The artifact file: what goes in comes out, and nothing damaged is ever loaded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.random_graphs import random_artifact
from support.artifact_files import message_of, same, saved

from bfp import BfpError
from bfp import artifact_file, files
from bfp.artifact import Artifact, NetworkInput, Preprocessing
from bfp.artifact_file import load, save
from bfp.format import BlockFormat
from bfp.graph import Graph, Node, Window
from bfp.limits import ACC_LIMIT
from bfp.parameters import Weights, derive


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
