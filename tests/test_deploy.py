"""``doit deploy``: a package on a board by ssh, or in a folder, and its self-test; failures in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from support import toy_board as toy
from support.board_by_ssh import TAR, fake_board, program
from support.board_python import board_python
from support.deployed import build

from bfp.deployment import add_files
from codegen.deploy.__main__ import main
from codegen.deploy.package import launcher_text


PARTS = ["__main__.py", "bfp", "board", "deploy", "estimate.json", "host", "notebook.ipynb"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A build folder, with files that stand for bitstream and handoff."""
    folder = tmp_path_factory.mktemp("net")
    name = build(folder, 0).graph.name
    for kind in ("bit", "hwh"):
        (folder / "deploy" / f"{name}.{kind}").write_text("x")
    add_files(folder / "deploy", [f"{name}.bit", f"{name}.hwh"], toy.MADE)
    (folder / "estimate.json").write_text(json.dumps({"network": name, "cycles": 1000, "batch": 1, "batch_cycles": 1000}))
    return folder


@pytest.fixture
def board(made, tmp_path, monkeypatch):
    return fake_board(tmp_path / "board", monkeypatch, sys.executable, made / "csim" / "libengine.so")


def deploy(made, board, capfd, *words, host="xilinx@board"):
    status = main([str(made), "--host", host, "--environment", str(board.environment), *words])
    said = capfd.readouterr()
    return status, said.out, said.err


def asked(board):
    """Options, host and line of each call of ssh."""
    return [json.loads(line) for line in board.log.read_text().splitlines()]


def test_a_package_is_copied_tested_and_says_how_it_is_used(made, board, capfd):
    status, out, err = deploy(made, board, capfd, host="xilinx@board:2222")
    assert status == 0, out + err
    assert "2 images" in out and "bit-equal" in out and "self-test: passed" in out
    assert "there: static-bfp/seed0/board run IMAGE..." in out
    folder = board.home / "static-bfp" / "seed0"
    assert sorted(p.name for p in folder.iterdir()) == PARTS
    assert sorted(p.name for p in (folder / "deploy").iterdir()) == [
        "artifact.npz", "manifest.json", "samples.npz", "seed0.bit", "seed0.hwh", "simulated", "weights.bin"
    ]  # fmt: skip
    assert not list(folder.rglob("__pycache__")), "root's files, which the user could not replace"
    assert [p.name for p in (board.home / "static-bfp").iterdir()] == ["seed0"]
    calls = asked(board)
    assert all(host == "xilinx@board" and options[options.index("-p") + 1] == "2222" for options, host, _ in calls)
    assert len({options[options.index("ControlMaster=auto") + 2] for options, _, _ in calls}) == 1  # one connection
    assert "-O" in calls[-1][0] and "exit" in calls[-1][0]
    # used from there, from another folder in which another package is called host
    (board.home / "host").mkdir()
    (board.home / "host" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = subprocess.run(["ssh", "board", "cd ~ && static-bfp/seed0/board verify --limit 1"], capture_output=True, text=True)
    assert done.returncode == 0 and "1 images" in done.stdout, done.stderr


def test_a_second_copy_replaces_the_first_as_a_whole(made, board, capfd):
    folder = board.home / "there" / "net it's"
    for _ in range(2):
        assert deploy(made, board, capfd, "--folder", str(folder))[0] == 0
        assert (folder / "board").is_file() and not (folder / "left").exists()
        (folder / "left").write_text("x")
    (board.bin / "tar").symlink_to(program(board.home / "tar", TAR))
    status, _, err = deploy(made, board, capfd, "--folder", str(folder))
    assert status == 2 and "No space left on device" in err and (folder / "left").exists()


def one_sentence(err, *words):
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    return len(lines) == 1 and "Traceback" not in err and all(word in lines[0] for word in words)


def test_a_board_that_is_not_reached(made, board, capfd, monkeypatch):
    monkeypatch.setenv("FAKE_SSH", "unreachable")
    status, _, err = deploy(made, board, capfd)
    assert status == 2 and one_sentence(err, "xilinx@board is not reached by ssh", "No route to host", "`ssh xilinx@board` works")
    monkeypatch.setenv("FAKE_SSH", "lost")
    status, _, err = deploy(made, board, capfd)
    assert status == 2 and one_sentence(err, "lost during the self-test")


@pytest.mark.parametrize("host", ["", "a b", "-oProxyCommand=x", "user@", "board:port", "board;ls", "a@b@c"])
def test_what_is_no_host_is_refused_before_ssh_runs(made, board, capfd, host):
    status, _, err = deploy(made, board, capfd, f"--host={host}")
    assert status == 2 and one_sentence(err, "is no host; give HOST, USER@HOST or USER@HOST:PORT") and not board.log.exists()


def test_no_ssh(made, board, capfd, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    status, _, err = deploy(made, board, capfd)
    assert status == 2 and one_sentence(err, "ssh is not on PATH", "host=local")


def test_sudo_that_asks_for_a_password_is_explained_or_passed_through(made, board, capfd, monkeypatch):
    monkeypatch.setenv("FAKE_SUDO", "password")
    status, _, err = deploy(made, board, capfd)
    assert status == 2
    assert one_sentence(err, "sudo on xilinx@board asks for a password", "`ssh -t xilinx@board ./static-bfp/seed0/board verify`")
    assert (board.home / "static-bfp" / "seed0" / "board").is_file()
    # with a terminal, ssh gets one on the board
    monkeypatch.setattr("codegen.deploy.remote.sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    status, out, _ = deploy(made, board, capfd)
    assert status == 1 and "the accelerator is driven by root" in out
    options, _, line = asked(board)[-2]
    assert "-t" in options and line == "./static-bfp/seed0/board verify"


def test_a_board_without_sudo_wants_root(made, board, capfd):
    program(board.bin / "sudo", "#!/bin/sh\necho 'sh: sudo: not found' >&2\nexit 127\n")
    status, _, err = deploy(made, board, capfd, host="xilinx@board")
    assert status == 2 and one_sentence(err, "xilinx@board has no sudo", "deploy to root@HOST")


def test_what_the_environment_says_and_does_is_no_part_of_the_command(made, board, capfd):
    board.environment.write_text(board.environment.read_text() + 'echo noise "$@"; set -- other words\n')
    status, out, _ = deploy(made, board, capfd)
    assert status == 0 and "noise" not in out and "bit-equal" in out


def test_a_board_without_the_environment_says_so(made, board, capfd):
    board.environment.unlink()
    status, out, err = deploy(made, board, capfd)
    assert status == 2 and "PYNQ is not installed" in err and "self-test: FAILED: the board's program refused" in out


def test_a_board_that_differs(made, board, capfd, tmp_path):
    """The engine of another network's artifact: refused; and what the program's status 1 means is said."""
    program(tmp_path / "board" / "venv" / "python3", "#!/bin/sh\necho DIFFERENT\nexit 1\n")
    status, out, _ = deploy(made, board, capfd)
    assert status == 1 and "self-test: FAILED: the board differs from the golden model" in out and "there:" not in out


def test_packages_that_are_not_complete_are_refused_before_ssh_runs(made, board, capfd, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(made, other)
    (other / "deploy" / "seed0.bit").write_text("changed")
    status, _, err = deploy(other, board, capfd)
    assert status == 2 and one_sentence(err, "seed0.bit is not the one of its manifest", "doit build-bitstream")
    (other / "deploy" / "seed0.bit").unlink()
    status, _, err = deploy(other, board, capfd)
    assert status == 2 and one_sentence(err, "seed0.bit does not exist")
    status, _, err = deploy(tmp_path / "none", board, capfd)
    assert status == 2 and one_sentence(err, "manifest.json does not exist")


def test_a_minimal_package_is_tested_as_far_as_it_can_be(made, board, capfd, tmp_path):
    other = tmp_path / "minimal"
    shutil.copytree(made, other)
    path = other / "deploy" / "manifest.json"
    add_files(other / "deploy", [], minimal=True)
    status, out, err = deploy(other, board, capfd)
    assert status == 0 and "no tensor was compared, since the package is minimal" in out, out + err
    assert path.is_file() and not (board.home / "static-bfp" / "seed0" / "deploy" / "artifact.npz").exists()


# Into a folder


def test_a_folder_of_this_machine_is_simulated_and_verified(made, tmp_path, capfd):
    folder = tmp_path / "a folder"
    assert main([str(made), "--host", "local", "--folder", str(folder)]) == 0
    out = capfd.readouterr().out
    assert "it is simulated" in out and "bit-equal" in out and "self-test: passed" in out
    (made / "csim" / "libengine.so").rename(made / "csim" / "away.so")
    try:
        assert main([str(made), "--host", "local", "--folder", str(folder)]) == 2
    finally:
        (made / "csim" / "away.so").rename(made / "csim" / "libengine.so")
    assert one_sentence(capfd.readouterr().err, "libengine.so does not exist", "doit csim")
    assert (folder / "board").is_file()  # the older one, whole


def test_a_folder_is_used_from_there_by_a_python_that_has_only_the_boards_packages(made, tmp_path, capfd):
    folder = tmp_path / "local"
    assert main([str(made), "--host", "local", "--folder", str(folder)]) == 0
    capfd.readouterr()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(board_python())}
    for words, said in ((("verify",), "bit-equal"), (("info",), "pynq 3.0.1"), (("bench", "--seconds", "0.1"), "simulated board")):
        done = subprocess.run([folder / "board", *words], cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr
    done = subprocess.run([folder / "board"], capture_output=True, text=True)
    assert done.returncode == 2 and "usage:" in done.stderr


@pytest.mark.parametrize("simulated", [False, True])
def test_the_launcher_is_a_program_for_bash(tmp_path, simulated):
    launcher = tmp_path / "board"
    launcher.write_text(launcher_text(simulated))
    assert subprocess.run(["bash", "-n", launcher]).returncode == 0
    assert ("sudo" in launcher.read_text()) != simulated
