"""The project as people install it: a package with all that its tasks read, and a command that runs them in any folder."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from doit.action import CmdAction
from doit.exceptions import TaskFailed
from doit.task import Task
from support.board_python import on_the_board
from support.project import MODULE, NAME, NETWORK, ROOT, ran, refusal, skipped

from static_bfp.tasks.reporter import Reporter

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
BOMB = "raise RuntimeError('a file of the user is taken for one of the project')\n"


def make_user(folder: Path) -> Path:
    """A user's folder: a network of their own, random weights, and files that are called as modules of the project."""
    folder.mkdir(parents=True)
    (folder / "toy_net.py").write_text(MODULE)
    (folder / "toy.toml").write_text(NETWORK.replace('"toy.pth"', '"random"'))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    np.savez(folder / "photos.npz", images=images)
    for name in ("calib.py", "codegen.py", "host.py"):
        (folder / name).write_text(BOMB)
    return folder


def called(packages: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The console command of the packages in a folder, called in another."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
    code = "import sys; sys.argv[0] = 'static-bfp'; from static_bfp.command import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", code, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_command_runs_tasks_in_a_users_folder(tmp_path):
    user = make_user(tmp_path / "my nets")
    before = {p: p.stat().st_mtime_ns for p in user.iterdir()}
    assert ran(called(ROOT, user, "codegen", "net=toy.toml")) == ["calibrate", "codegen"]
    # Python itself leaves its cache beside the user's module, unless its environment says otherwise
    assert {p.name for p in user.iterdir()} - {"__pycache__"} == {*(p.name for p in before), "build"}
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    again = called(ROOT, user, "codegen", "net=toy.toml")
    assert ran(again) == [] and skipped(again) == ["calibrate", "codegen"]


@pytest.mark.heavy
def test_the_command_simulates_and_leaves_results_where_it_is_called(tmp_path):
    user = make_user(tmp_path / "my nets")
    assert ran(called(ROOT, user, "csim", "net=toy.toml")) == ["calibrate", "codegen", "csim"]
    build = user / "build" / NAME
    assert json.loads((build / "csim.json").read_text())["mismatches"] == 0
    (user / "toy_net.py").write_text(MODULE.replace("nn.ReLU()", "nn.ReLU6()"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert ran(called(ROOT, elsewhere, "calibrate", "net=../my nets/toy.toml")) == ["calibrate"]
    assert (elsewhere / "build" / NAME / "artifact.npz").read_bytes() != (build / "artifact.npz").read_bytes()


def test_the_command_refuses_in_one_sentence_that_names_it(tmp_path):
    assert refusal(called(ROOT, tmp_path, "evaluate")).startswith("error: name a network: static-bfp evaluate:NAME or static-bfp ")
    assert "there is no network nowhere.toml" in refusal(called(ROOT, tmp_path, "csim", "net=nowhere.toml"))
    assert "the tests are not installed" in refusal(called(ROOT, tmp_path, "test"))
    done = called(ROOT, tmp_path, "full-size")
    assert refusal(done) and done.returncode == 1 and "returned" not in done.stdout + done.stderr
    unknown = called(ROOT, tmp_path, "nonsense")
    assert unknown.returncode == 3 and '"static-bfp list"' in unknown.stderr


def test_the_command_has_every_task_of_the_checkout(tmp_path):
    words = ["list", "--all", "--db-file", str(tmp_path / "db")]  # not the one that the tests may be run with
    doit = subprocess.run([sys.executable, "-m", "doit", *words], cwd=ROOT, capture_output=True, text=True)
    assert doit.returncode == 0 and doit.stdout.count("\n") > 100
    assert called(ROOT, tmp_path, "list", "--all").stdout == doit.stdout


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "build").write_text("")
    assert "results cannot be written to" in refusal(called(ROOT, tmp_path, "list"))


def test_a_checkout_takes_its_sources_before_those_that_are_installed(tmp_path):
    for name in FOLDERS:
        (tmp_path / "old" / name).mkdir(parents=True)
        (tmp_path / "old" / name / "__init__.py").write_text(BOMB)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "old")}
    for folder, *words in ((tmp_path, "doit", "run", "-f", ROOT / "dodo.py", "--db-file", tmp_path / "db", "evaluate"), (ROOT, "calib", "--help")):
        command = [sys.executable, "-m", *map(str, words)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert "name a network: doit evaluate:NAME" in done.stderr or done.stdout.startswith("usage: python -m calib"), done.stderr


def test_the_names_of_the_interface_are_there_without_the_tasks_waiting_for_torch():
    code = (
        "import sys, static_bfp.tasks; assert 'torch' not in sys.modules\n"
        "from static_bfp import Artifact, calibrate, csim, estimate, generate, load; assert 'torch' in sys.modules\n"
        "assert sorted(dir(static_bfp)) == sorted(static_bfp.__all__)\n"
        "try: static_bfp.quantise\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "module 'static_bfp' has no attribute 'quantise'\n", done.stderr


def test_the_command_can_say_on_the_board_what_is_missing(tmp_path):
    for path in (ROOT / "dodo.py", *(ROOT / "static_bfp" / f"{n}.py" for n in ("__init__", "__main__", "command"))):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    (tmp_path / "find.py").write_text(
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else found(name, *rest)\n"
        "from static_bfp.command import main; main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, tmp_path / "find.py"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "does not have (torch); install" in done.stderr


@pytest.mark.parametrize("status, told", [(1, True), (2, True), (130, True), (-11, False), (139, False)])
def test_nothing_is_said_below_what_a_task_has_said_itself(status, told):
    out = io.StringIO()
    action = CmdAction([sys.executable, "-c", "import sys"], shell=False)
    failure = TaskFailed(f"Command failed: '{action.action}' returned {status}")
    Reporter(out, {}).add_failure(Task("csim:toy", [action]), failure)
    assert (out.getvalue() == "") is told


# Installed


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """What ``pip install .`` puts among a Python's packages. Skips the test, with the reason, where pip cannot build."""
    folder = tmp_path_factory.mktemp("installed")
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(folder), str(ROOT)]
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"pip cannot build the package here: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return folder


@pytest.mark.heavy
def test_a_wheel_holds_every_file_of_the_packages_and_no_other(installed):
    here = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True)
    if here.returncode:
        pytest.skip("the project is no clone, whose files git could name")
    there = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    extra = {name for name in there if name.split("/")[0] not in FOLDERS}
    assert there - extra == set(here.stdout.split("\n")) - {""}
    assert {name.split("/")[0] for name in extra} == {"bin", f"static_bfp-{PROJECT['project']['version']}.dist-info"}


@pytest.mark.heavy
def test_the_installed_package_gives_what_the_checkout_gives(installed, tmp_path):
    users = {packages: make_user(tmp_path / name) for packages, name in ((installed, "there"), (ROOT, "here"))}
    found = []
    for packages, user in users.items():
        assert "simulate-board" in ran(called(packages, user, "simulate-board", "net=toy.toml"))
        for task in ("evaluate", "estimate", "explore"):
            assert task in ran(called(packages, user, task, "net=toy.toml")), task
        assert "report" in ran(called(packages, user, "report", "net=toy.toml"))
        assert "self-test: passed" in called(packages, user, "deploy", "net=toy.toml", "host=local", "folder=board").stdout
        build = user / "build" / NAME
        results = {name: json.loads((build / f"{name}.json").read_text()) for name in ("csim", "board", "estimate", "evaluation")}
        figures = [results["csim"][k] for k in ("kernel", "mismatches", "values_compared", "macs")]
        figures += [results["board"]["mismatches"], results["estimate"], results["evaluation"]["sqnr_db"]]
        found.append([(build / "artifact.npz").read_bytes(), (build / "deploy" / "manifest.json").read_bytes(), figures])
    assert found[0] == found[1]


@pytest.mark.heavy
def test_the_boards_python_needs_numpy_alone(installed):
    code = "import bfp.golden, host.driver, host.hwh, static_bfp; print(bfp.__file__)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = on_the_board("-c", code, cwd=installed, env=environment)
    assert done.stdout.startswith(str(installed)), done.stderr
