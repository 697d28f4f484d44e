"""The simulated board through the PYNQ of the board's image, and through this one: the same tensors, the same output."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from support import board_faults
from support import toy_board as toy
from support.board_python import on_the_board
from support.boards import BOARD
from support.random_graphs import random_artifact

from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_both_pynqs_drive_the_simulated_board_alike(tmp_path):
    generate([random_artifact(4, lanes=16)], EngineOptions(), replace(BOARD, clock_mhz=187.5), tmp_path)
    _, library = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    words = ["tests/support/board_drive.py", str(library), str(tmp_path / "deploy")]
    there = on_the_board(*words, str(tmp_path / "there.npz"), env=ENVIRONMENT)
    assert there.returncode == 0, there.stderr[-2000:]
    here = subprocess.run(
        [sys.executable, *words, str(tmp_path / "here.npz")], cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert here.returncode == 0, here.stderr[-2000:]
    ours, theirs = np.load(tmp_path / "here.npz"), np.load(tmp_path / "there.npz")
    assert sorted(ours.files) == sorted(theirs.files) and len(ours.files) > 5
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_the_board_s_pynq_refuses_another_clock(tmp_path):
    """Its clocks are the simulated board's, though it knows none of an x86."""
    deploy, library = toy.write(tmp_path / "deploy"), toy.compile_engine(tmp_path)
    code = (
        "import sys; from host.driver import Accelerator; from host.faults import Faults\n"
        "from host.simulated_board import SimulatedBoard\n"
        "board = SimulatedBoard(sys.argv[1], sys.argv[2], faults=Faults(clock_mhz=100))\n"
        "try:\n    Accelerator(sys.argv[2], device=board)\nexcept Exception as error:\n    print(error)\n"
    )
    done = on_the_board("-c", code, str(library), str(deploy), env=ENVIRONMENT)
    assert "has a clock of 99.999 MHz and was built for 250" in done.stdout, done.stdout + done.stderr[-2000:]


FAULTS = """
import sys, tempfile, types
from pathlib import Path
sys.path.insert(0, "tests")
import support
boards = types.ModuleType("support.boards")  # the real one reads TOML, which Python 3.10 has no module for
boards.BOARD = types.SimpleNamespace(name=sys.argv[1], clock_mhz=float(sys.argv[2]))
sys.modules["support.boards"] = boards
from support import board_faults, toy_board
with tempfile.TemporaryDirectory() as folder:
    print(board_faults.table(toy_board.compile_engine(Path(folder)), Path(folder)), end="")
"""


def test_the_board_s_pynq_shows_the_same_of_every_fault():
    done = on_the_board("-c", FAULTS, BOARD.name, str(BOARD.clock_mhz), env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == board_faults.written()
