"""The toy deployment on a simulated board."""

from __future__ import annotations

import numpy as np
import pytest
from support import toy_board as toy

from host.simulated_board import SimulatedBoard


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return toy.compile_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def deploy(tmp_path):
    return toy.write(tmp_path / "deploy")


@pytest.fixture
def board(library, deploy):
    return SimulatedBoard(library, deploy)


def random_mantissas(seed=0):
    return np.random.default_rng(seed).integers(-30, 31, (toy.CHANNELS, toy.HEIGHT, toy.WIDTH)).astype(np.int16)
