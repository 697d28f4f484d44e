"""Engines compiled in less time, for tests that look at what they compute, not at how quickly."""

from __future__ import annotations

from functools import partial

import pytest

from codegen.simulation import csim as simulation

QUICK = ("-O1",)


@pytest.fixture
def compiled_quickly(monkeypatch):
    """``static_bfp.csim`` and what else compiles by its module's name does so with QUICK."""
    monkeypatch.setattr(simulation, "compile_engine", partial(simulation.compile_engine, optimise=QUICK))
