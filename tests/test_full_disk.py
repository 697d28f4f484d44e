"""Nothing can be written: every command says so in one sentence, before its work where it can, and leaves no half file."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.full_disk import full_disk
from support.refusals import MOST

from bfp.errors import BfpError
from bfp.files import check_folder, check_result
from calib.__main__ import main as calib
from calib.evaluation.benchmark import __main__ as benchmark
from calib.evaluation.benchmark.survey import __main__ as survey
from calib.evaluation import cluster
from codegen.__main__ import main as codegen
from codegen.deploy.__main__ import main as deploy
from codegen.performance.explore import main as explore
from codegen.simulation.stage_benches import main as stage_benches
from host.__main__ import main as host

NETWORK = '''
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
'''
TOML = """
model = "full_disk_net:make"
[input]
size = 8
mean = 127
std = 64
[calibration]
images = "random"
limit = 8
[engine]
lanes = 4
[sweep]
widths = [8]
groups = [[16, 16]]
methods = ["max"]
"""
ENGINE = ["--engine", "lanes=4", "pixels=2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network's file, and its build folder with everything in it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "full_disk_net.py").write_text(NETWORK)
    (folder / "net.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        assert calib(["calibrate", str(folder / "net.toml"), "--out", str(folder / "build")]) == 0
        patch.setenv("CXX", "g++ -O0")  # people set it to a compiler with options
        assert codegen(["csim", str(folder / "build"), "--limit", "1", *ENGINE]) == 0
        yield folder


@pytest.fixture
def project(made, tmp_path):
    """A copy that may be damaged."""
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


def commands(project: Path) -> dict:
    """What each command that writes is called with."""
    toml, build = str(project / "net.toml"), str(project / "build")
    new = str(project / "new" / "result.json")
    board = [str(project / "build" / "deploy"), "--artifact", f"{build}/artifact.npz", "--samples", f"{build}/samples.npz"]
    out = ["--out", build]
    return {
        "calibrate": lambda: calib(["calibrate", toml, *out]),
        "evaluate": lambda: calib(["evaluate", toml, *out]),
        "baselines": lambda: calib(["baselines", toml, *out]),
        "report": lambda: calib(["report", toml, *out]),
        "tensorboard": lambda: calib(["tensorboard", toml, *out, "--limit", "2"]),
        "generate": lambda: codegen(["generate", build, "--engine", "lanes=8"]),
        "csim": lambda: codegen(["csim", build, "--limit", "1", *ENGINE]),
        "threaded csim": lambda: codegen(["csim", build, "--limit", "1", "--threaded", *ENGINE]),
        "estimate": lambda: codegen(["estimate", build, *ENGINE]),
        "explore": lambda: explore([build, "--widths", "8/8", *ENGINE]),
        "stage benches": lambda: stage_benches([build, "--out", f"{build}/benches", "--sizes", "2x2x1"]),
        "deploy": lambda: deploy([build, "--host", "local"]),
        "check": lambda: host(["check", *board, "--simulate", f"{build}/csim/libengine.so", "--out", new]),
    }  # fmt: skip


SLOW = ("explore", "baselines")  # seconds each
COMMANDS = [pytest.param(c, marks=[pytest.mark.heavy] if c in SLOW else []) for c in commands(Path())]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".pyc"}


def one_sentence(capsys, *, words: str = "") -> None:
    said = capsys.readouterr().err
    lines = [line.split("\r")[-1] for line in said.splitlines() if "error" in line]
    assert len(lines) == 1 and "Traceback" not in said and words in lines[0], said[-2000:]
    assert len(lines[0].replace(os.getcwd(), "")) <= MOST + 200


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_leaves_every_older_file_and_no_half_one(project, capsys, command):
    if command == "check":
        pytest.importorskip("pynq")
    before, run = files(project), commands(project)[command]
    with full_disk():
        status = run()
    assert status in (1, 2)
    one_sentence(capsys)
    after = files(project)
    assert not [name for name in after if ".part" in name]
    assert all(after[name] == content for name, content in before.items())


@pytest.mark.heavy
def test_a_sweep_on_a_full_disk_is_one_sentence(project, capsys):
    words = [sys.executable, "-m", "calib", "sweep", str(project / "net.toml"), "--out", str(project / "build"), "--workers", "1"]
    limit = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)))  # noqa: E731
    done = subprocess.run(
        words, capture_output=True, text=True, preexec_fn=limit, env={**os.environ, "PYTHONPATH": f"{os.getcwd()}:{project}"}
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert not [p for p in project.rglob("*.part*")]


def test_processes_that_do_not_start_are_one_sentence():
    def make(**_):
        raise RuntimeError("Nanny failed to start.\nmore")

    with pytest.raises(BfpError, match=r"did not start \(RuntimeError: Nanny failed to start.\); make room"):
        cluster.local_cluster(make, 1)


# -- before the work ----------------------------------------------------------------


def test_folders_that_take_no_files(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for folder in (tmp_path / "file", tmp_path / "file" / "a" / "b", tmp_path / "link" / "a"):
        with pytest.raises(BfpError, match="is no folder"):
            check_folder(folder)
    check_folder(tmp_path / "a" / "b")
    check_result(None)
    check_result(tmp_path / "a.json")
    with pytest.raises(BfpError, match="is a folder, and no file can replace it"):
        check_result(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]  # nothing was made by asking
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(BfpError, match="may not be written"):
        check_result(tmp_path / "a.json")
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(BfpError, match="is full"):
        check_folder(tmp_path)


@pytest.mark.parametrize("command", ["check", "verify", "run", "bench"])
def test_boards_are_not_touched_for_results_that_cannot_be_kept(tmp_path, capsys, command, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("host.__main__._open", lambda _: pytest.fail("the board was opened"))
    out = str(tmp_path / "file" / "result.json")
    words = {"check": ["--artifact", "a", "--samples", "s", "--out", out], "verify": ["--out", out], "run": ["a.png", "--csv", out]}
    assert host([command, str(tmp_path), *words.get(command, ["--json", out])]) == 2
    one_sentence(capsys, words="results cannot be written to")


@pytest.mark.parametrize("main, words", [(survey.main, []), (benchmark.main, ["golden"])], ids=["survey", "benchmark"])
def test_measurements_that_cannot_be_kept_are_not_made(tmp_path, capsys, main, words):
    (tmp_path / "file").write_text("")
    assert main([*words, "--out", str(tmp_path / "file" / "result.json")]) == 2
    one_sentence(capsys, words="results cannot be written to")


@pytest.mark.parametrize("command", ["generate", "csim", "estimate"])
def test_code_is_not_generated_where_it_cannot_be_kept(tmp_path, capsys, command):
    (tmp_path / "file").write_text("")
    assert codegen([command, str(tmp_path / "file")]) == 2
    one_sentence(capsys, words="results cannot be written to")


# -- compilers ----------------------------------------------------------------------


def compiler(folder: Path, text: str) -> str:
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "script, said",
    [
        ("exit 1", "no message"),
        ("printf '\\377\\376 error: \\303(\\n' >&2; exit 3", "error:"),
        ("printf 'a\\n\\033[31merror: b\\033[0m\\n' >&2; exit 1", "error: b"),
        ("kill -9 $$", "no message"),
        ("exit 0", "no message"),
    ],
    ids=["silent", "no UTF-8", "coloured", "killed", "writes nothing"],
)
def test_compilers_that_fail(project, capsys, monkeypatch, script, said):
    monkeypatch.setenv("CXX", compiler(project, script))
    before = files(project)
    assert codegen(["csim", str(project / "build"), "--limit", "1", *ENGINE]) == 2
    one_sentence(capsys, words=said)
    assert files(project) == before


def test_a_compiler_with_options(made):
    assert json.loads((made / "build" / "csim.json").read_text())["mismatches"] == 0
