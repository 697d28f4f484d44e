"""A device has one owner: in a process, between processes, and in a child of a process."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pynq
import pytest
from support import toy_board as toy
from support.driven import board, deploy, library, random_mantissas

from bfp.errors import BfpError
from host import hwh
from host.conditions import load_stamp
from host.driver import Accelerator
from host.faults import Faults
from host.ownership import lock_file
from host.simulated_board import SimulatedBoard

HOLDER = """
import sys, time
from host.conditions import load_stamp
from host.driver import Accelerator
from host.faults import Faults
from host.simulated_board import SimulatedBoard
from pathlib import Path
library, deploy, lock = sys.argv[1:]
board = SimulatedBoard(library, deploy, folder=Path(deploy) / "other", lock_file=Path(lock))
with Accelerator(deploy, device=board):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_accelerator_on_a_device_is_refused(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        first = accelerator.run_mantissas(random_mantissas())
        with pytest.raises(BfpError, match="simulated is in use by the accelerator for toy of this process; close"):
            Accelerator(deploy, device=board)
        np.testing.assert_array_equal(accelerator.run_mantissas(random_mantissas()), first)
        assert board.loads == 1
    Accelerator(deploy, device=board).close()


def test_an_accelerator_that_is_forgotten_gives_its_device_back(board, deploy):
    accelerator = Accelerator(deploy, device=board)
    del accelerator
    gc.collect()
    assert not board._memories
    Accelerator(deploy, device=board).close()


def test_an_accelerator_that_cannot_be_opened_gives_its_device_back(board, deploy, tmp_path):
    other = toy.write(tmp_path / "other", identity="f" * 16)
    with pytest.raises(BfpError, match="was generated for"):
        Accelerator(other, device=board, bitfile=board.bitfile)
    Accelerator(deploy, device=board).close()


def test_two_processes_cannot_have_one_device(library, deploy, tmp_path):
    lock = tmp_path / "board.lock"
    words = [sys.executable, "-c", HOLDER, str(library), str(deploy), str(lock)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "open\n"
        board = SimulatedBoard(library, deploy, lock_file=lock)
        with pytest.raises(BfpError, match=f"in use by process {holder.pid}, network toy; end that first .*board.lock"):
            Accelerator(deploy, device=board)
        assert board.loads == 0  # nothing was touched
        holder.send_signal(signal.SIGKILL)  # a lock does not outlive its process, however that ends
    Accelerator(deploy, device=board).close()


def test_a_lock_file_that_is_a_link_is_not_followed(library, deploy, tmp_path):
    target = tmp_path / "precious"
    target.write_text("data")
    (tmp_path / "board.lock").symlink_to(target)
    with pytest.raises(BfpError, match="board.lock of device simulated cannot be opened"):
        Accelerator(deploy, device=SimulatedBoard(library, deploy, lock_file=tmp_path / "board.lock"))
    assert target.read_text() == "data"


def test_a_real_device_is_locked_between_processes():
    class Device:
        tag = "embedded_xrt0"

    assert lock_file(Device()).name == "static-bfp-embedded_xrt0.lock" and lock_file(Device()).parent.is_dir()


def test_a_child_process_may_not_use_its_parent_s_accelerator(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        accelerator._board._running = True  # at worst: the child must not stop what its parent runs
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this process has threads
            child = os.fork()
        if child == 0:
            try:
                accelerator.run_mantissas(random_mantissas())
                os.write(writer, b"ran")
            except BfpError as error:
                os.write(writer, str(error).encode())
            finally:
                accelerator.close()
                os.write(writer, f" loads {board.loads}, buffers {len(board._memories)}".encode())
                os._exit(0)
        os.waitpid(child, 0)
        said = os.read(reader, 1000)
        assert b"cannot be used by its child" in said and said.endswith(b" loads 1, buffers 3")
        os.close(reader)
        os.close(writer)


def test_another_bitstream_that_was_loaded_since_is_noticed(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        accelerator.run_mantissas(random_mantissas())
        pynq.Overlay(str(board.bitfile), device=board)
        with pytest.raises(BfpError, match="another bitstream was loaded since .* toy was opened; open it again"):
            accelerator.run_mantissas(random_mantissas())


def test_addresses_that_another_program_changed_are_noticed(board, deploy):
    offsets = {name: offset for name, offset, _, _ in hwh.registers()}
    with Accelerator(deploy, device=board) as accelerator:
        board.write_registers(hwh.BASE_ADDRESS + offsets["fmap_out_1"], (0).to_bytes(4, "little"))
        with pytest.raises(BfpError, match="addresses of the engine of toy were changed by another program"):
            accelerator.run_mantissas(random_mantissas())


def test_an_engine_that_is_another_one_now_is_noticed(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        board._registers["identity_low"] ^= 1
        with pytest.raises(BfpError, match="has identity 0123456789abcdee, but .* 0123456789abcdef"):
            accelerator.run_mantissas(random_mantissas())


def test_what_pynq_writes_of_a_load_is_looked_at(tmp_path, monkeypatch):
    """Other programs load bitstreams, too; PYNQ's record of it has another name in each version."""
    from pynq.pl_server import global_state

    class Device:
        tag = "embedded_xrt0"

    monkeypatch.setattr(global_state, "__file__", str(tmp_path / "global_state.py"))
    stamps = [load_stamp(Device())]
    for name in ("global_pl_state.json", "global_pl_state_.json", "global_pl_state_embedded_xrt0.json"):
        (tmp_path / name).write_text("{}")
        stamps.append(load_stamp(Device()))
        os.utime(tmp_path / name, ns=(0, 5))
        stamps.append(load_stamp(Device()))
    assert all(one != other for one, other in zip(stamps, stamps[1:])) and load_stamp(Device()) == stamps[-1]


def test_a_bitstream_that_another_program_loaded_is_not_replaced_by_closing(library, deploy):
    board = SimulatedBoard(library, deploy, timeout_s=0.1, faults=Faults(never_finishes=True))
    accelerator = Accelerator(deploy, device=board)
    with pytest.raises(BfpError, match="did not finish"):
        accelerator.run_mantissas(random_mantissas())
    pynq.Overlay(str(board.bitfile), device=board)
    with pytest.raises(BfpError, match="another bitstream was loaded since"):
        accelerator.run_mantissas(random_mantissas())
    accelerator.close()
    assert board.loads == 2 and not board._memories
