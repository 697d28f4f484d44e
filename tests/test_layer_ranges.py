"""Every range of layers by itself: it stores what its layers store one by one, and nothing else."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact

from codegen.generate import generate
from codegen.lowering.schedule import Program
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine
from host.simulated_board import _load_engine

POISON = 0xA5
# small buffers, so that layers are cut into tiles and chunks; and the default array
ENGINES = {
    "4x2x2": EngineOptions(lanes=4, filters=2, pixels=2, input_words=2400, weight_steps=64, tile_blocks=64),
    "16x8x5": EngineOptions(),
}


class Engine:
    """A program's compiled engine, with its weights."""

    def __init__(self, program: Program, folder: Path) -> None:
        _, library = compile_engine(folder / "generated", folder, optimise=("-O1",))
        self.run_engine = _load_engine(library)
        self.weights = np.frombuffer((folder / "deploy" / "weights.bin").read_bytes(), np.int8).copy()

    def run(self, arena: np.ndarray, begin: int, end: int) -> None:
        """Run layers ``begin`` to before ``end`` on an arena [words, lanes]."""
        low, high, progress = (ctypes.c_uint32(7) for _ in range(3))
        memory = arena.ctypes.data
        registers = map(ctypes.byref, (low, high, progress))
        self.run_engine(self.weights.ctypes.data, memory, memory, memory, begin, end, *registers)
        assert progress.value == 0 and (low.value, high.value) != (7, 7)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", [1, 2, 12, 88])
def test_every_range_of_layers_stores_what_a_run_of_all_does(seed, engine, tmp_path):
    options = ENGINES[engine]
    program, _ = generate([random_artifact(seed, options.lanes)], options, BOARD, tmp_path)
    built, count = Engine(program, tmp_path), len(program.layers)
    rng = np.random.default_rng(seed)
    # what a layer does not store must show
    arena = np.full((program.fmap_words, options.lanes), POISON, np.uint8)
    first = next(t.placement for t in program.tensors if t.layer < 0)
    arena[first.address : first.address + first.words] = rng.integers(0, 2, (first.words, options.lanes))
    states = [arena]  # before each layer, and after the last one
    for layer in range(count):
        states.append(states[-1].copy())
        built.run(states[-1], layer, layer + 1)
    for begin in range(count):
        for end in range(begin, count + 1):
            arena = states[begin].copy()
            built.run(arena, begin, end)
            assert np.array_equal(arena, states[end]), f"layers {begin} to {end}"


def test_a_range_that_ends_beyond_the_last_layer_ends_there_and_an_empty_one_does_nothing(tmp_path):
    options = ENGINES["4x2x2"]
    program, _ = generate([random_artifact(2, options.lanes)], options, BOARD, tmp_path)
    built, count, found = Engine(program, tmp_path), len(program.layers), []
    for begin, end in ((0, count), (0, count + 5), (count, count), (count + 3, count + 9), (2, 1), (0, 0)):
        found.append(np.zeros((program.fmap_words, options.lanes), np.uint8))
        built.run(found[-1], begin, end)
    assert found[0].any() and np.array_equal(found[0], found[1])
    assert not any(arena.any() for arena in found[2:])
