"""Arrays on the board's command line: what the files hold is what the accelerator is given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError
from host.arrays import find_arrays, names_arrays

RNG = np.random.default_rng(0)


def network(channels=ARRAY, **shapes):
    """As much of a deployment as is asked for. shapes: of each input."""
    entries = [
        SimpleNamespace(tensor=name, preprocessing=Preprocessing(shape[1:], (1.0,) * shape[0], (2.0,) * shape[0], channels=channels))
        for name, shape in shapes.items()
    ]
    return SimpleNamespace(inputs=entries, tensor=lambda name: SimpleNamespace(shape=shapes[name]))


def test_one_input(tmp_path):
    maps, frames = RNG.normal(size=(3, 4, 5, 6)).astype(np.float32), RNG.integers(0, 256, (2, 2, 5, 6, 2)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=maps, other=frames, labels=np.arange(3), classes=np.array([1, 0]))
    one = network(input=(4, 5, 6))
    found = find_arrays([tmp_path / "a.npz", f"{tmp_path}/a.npz:other:classes"], one)
    assert [s.label for s in found] == [0, 1, 2, 1, 0] and found[4].name == f"{tmp_path}/a.npz, image 1"
    for source, values in zip(found[:3], maps):
        assert np.array_equal(source.image, (values - 1) / 2)
    film = frames[1].astype(np.float32).transpose(0, 3, 1, 2).reshape(4, 5, 6)  # frame after frame
    assert np.array_equal(found[4].image, (film - 1) / 2) and np.array_equal(found[0].image, (maps[0] - 1) / 2)


def test_several_inputs_and_sequences(tmp_path):
    left, right = (RNG.normal(size=(2, channels, 7)).astype(np.float32) for channels in (3, 1))
    np.savez(tmp_path / "a.npz", left=left, right=right, labels=np.array([4, 5]))
    found = find_arrays([tmp_path / "a.npz"], network(left=(3, 1, 7), right=(1, 1, 7)))
    assert [s.label for s in found] == [4, 5] and list(found[1].image) == ["left", "right"]
    assert np.array_equal(found[1].image["right"], (right[1][:, None] - 1) / 2)
    np.savez(tmp_path / "a.npz", left=left, right=right[:1])
    with pytest.raises(BfpError, match=r"several numbers of images \(left 2, right 1\)"):
        find_arrays([tmp_path / "a.npz"], network(left=(3, 1, 7), right=(1, 1, 7)))


def test_what_is_refused_or_left_to_pictures(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 5, 7), np.float32))
    with pytest.raises(BfpError, match="images must be uint8 or float32 of shape"):
        find_arrays([tmp_path / "a.npz"], network(input=(4, 5, 6)))
    with pytest.raises(BfpError, match="gone.npz is no .npz file that exists"):
        find_arrays([tmp_path / "gone.npz"], network(input=(4, 5, 6)))
    assert not names_arrays(["a.npz"], network("rgb", input=(3, 5, 6))) and not names_arrays(["a.png"], network(input=(4, 5, 6)))
    assert names_arrays(["a.npz"], network(input=(4, 5, 6)))
