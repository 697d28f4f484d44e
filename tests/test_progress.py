"""The engine's progress register: the layer that it computes while it runs, and 0 while it computes none."""

from __future__ import annotations

import ctypes
import threading
import time

import numpy as np
import pynq
import pytest
from support import toy_board as toy
from support.boards import BOARD
from support.random_graphs import random_artifact

from bfp.deployment import read_weights, read_deployment
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine
from host import hwh
from host.simulated_board import SimulatedBoard

TRIES = 2000  # short layers may begin and end between two looks


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1e-3)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A random network: its deployment, its engine, weights and an arena."""
    folder = tmp_path_factory.mktemp("progress")
    generate([random_artifact(2, 4)], EngineOptions(lanes=4, filters=2, pixels=2), BOARD, folder)
    _, library = compile_engine(folder / "generated", folder / "csim", optimise=("-O1",))
    deployment = read_deployment(folder / "deploy")
    weights = np.array(read_weights(deployment, folder / "deploy"))
    engine = ctypes.CDLL(str(library)).sbfp_engine
    engine.restype = None
    engine.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_uint32] * 2 + [ctypes.POINTER(ctypes.c_uint32)] * 3
    return deployment, engine, weights, np.zeros((deployment.fmap_words, deployment.lanes), np.uint8)


def seen_while_running(generated, begin, end):
    """What the register holds at each look while layers [begin, end) run, and when they have ended."""
    deployment, engine, weights, arena = generated
    low, high, progress = (ctypes.c_uint32(0) for _ in range(3))
    outputs = [ctypes.byref(value) for value in (low, high, progress)]
    pointers = [weights.ctypes.data] + 3 * [arena.ctypes.data]
    job = threading.Thread(target=engine, args=(*pointers, begin, end, *outputs))
    job.start()
    seen = []
    while job.is_alive():
        if not seen or seen[-1] != progress.value:
            seen.append(progress.value)
    return seen, progress.value


def test_each_layer_says_that_it_is_being_computed(generated):
    deployment = generated[0]
    assert deployment.layers > 3
    for layer in range(deployment.layers):
        for _ in range(TRIES):
            seen, last = seen_while_running(generated, layer, layer + 1)
            assert set(seen) <= {0, layer + 1} and last == 0
            if layer + 1 in seen:
                break
        else:
            pytest.fail(f"layer {layer} was never seen")


def test_layers_are_named_in_order_and_none_at_the_end(generated):
    layers = generated[0].layers
    for _ in range(20):
        seen, last = seen_while_running(generated, 0, layers)
        named = [value for value in seen if value]
        assert named == sorted(named) and all(value <= layers for value in named) and last == 0


@pytest.mark.parametrize("layer", [0, 1])
def test_the_register_of_the_simulated_board_shows_where_the_engine_stands(tmp_path, layer):
    deploy = toy.write(tmp_path / "deploy")
    library = toy.compile_engine(tmp_path, f"hanging{layer}", hang=True)
    board = SimulatedBoard(library, deploy)
    pynq.Overlay(str(board.bitfile), device=board)
    offsets = {name: offset for name, offset, _, _ in hwh.registers()}

    def read(name):
        return int.from_bytes(board.read_registers(hwh.BASE_ADDRESS + offsets[name], 4), "little")

    def write(name, value):
        board.write_registers(hwh.BASE_ADDRESS + offsets[name], int(value).to_bytes(4, "little"))

    assert read("progress") == 0
    buffer = board.allocate((3 * toy.PIXELS, toy.LANES), np.uint8)
    for name in hwh.POINTERS:
        write(f"{name}_1", buffer.device_address & 0xFFFF_FFFF)
        write(f"{name}_2", buffer.device_address >> 32)
    write("layer_begin", layer)
    write("layer_end", 2)
    write("CTRL", 1)
    wait_for(lambda: read("progress") == layer + 1)
    toy.counter(library, "stop").value = 1
    wait_for(lambda: read("CTRL") & 2)
    assert read("progress") == 0
