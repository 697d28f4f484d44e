"""Artifacts on disk, taken apart and written again."""

from __future__ import annotations

import numpy as np
import pytest
from support.random_graphs import random_artifact

from bfp import BfpError
from bfp.artifact_file import load, save
from bfp.parameters import Parameters, Weights


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
