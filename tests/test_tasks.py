"""The tasks as a user runs them: doit in a process of its own, from another folder, on a copy of the project."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
from pathlib import Path

import dodo
import numpy as np
import pytest
import torch
from doit.action import CmdAction
from doit.loader import load_tasks
from support.project import MODULE, NAME, NETWORK, ROOT, Project, ran, refusal, skipped

from calib.__main__ import main as calib
from calib.evaluation.report.summary import summary


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The project after ``doit csim net=toy.toml``: tests edit it, and must leave it up to date."""
    project = Project(tmp_path_factory.mktemp("tasks"))
    first = project.doit("csim", "net=toy.toml")
    assert first.returncode == 0, first.stdout + first.stderr
    return project


def test_csim_leaves_machine_readable_results(project):
    result = project.read("csim")
    assert {"images", "layers_compared", "values_compared", "mismatches", "macs", "seconds"} <= result.keys()
    # conv 3x3 to 6x6x5, and the linear layer; the pool has no products
    assert result["macs"] == result["images"] * (6 * 6 * 5 * 27 + 45 * 4)
    values = 8 * 8 * 3 + 6 * 6 * 5 + 3 * 3 * 5 + 4
    assert result["values_compared"] == result["images"] * values
    assert result["mismatches"] == 0 and result["layers_compared"] == 3 and result["seconds"] > 0
    assert not list(project.root.rglob("*.part"))


def test_second_run_does_nothing(project):
    before = {p: p.stat().st_mtime_ns for p in project.build.rglob("*") if p.is_file()}
    again = project.doit("csim", "net=toy.toml")
    assert ran(again) == [] and skipped(again) == ["calibrate", "codegen", "csim"]
    assert {p: p.stat().st_mtime_ns for p in project.build.rglob("*") if p.is_file()} == before


def test_edited_template_regenerates_and_does_not_recalibrate(project):
    template = project.root / "codegen" / "templates" / "config.hpp.j2"
    kernel = project.read("csim")["kernel"]
    original = template.read_text()
    edits = {"| cpp_comment }}, edited": f"// {NAME}, edited", '| cpp_comment }}\n#define EDITED ""': "#define EDITED"}
    for edit, line in edits.items():
        template.write_text(original.replace("| cpp_comment }}", edit, 1))
        result = project.doit("csim", "net=toy.toml")
        assert ran(result) == ["codegen", "csim"] and skipped(result) == ["calibrate"]
        assert line in (project.build / "generated" / "config.hpp").read_text()
        assert (project.read("csim")["kernel"] == kernel) is line.startswith("//")  # a comment is not in the hardware
    assert project.read("csim")["mismatches"] == 0


def test_touched_but_unchanged_files_do_nothing(project):
    for path in (project.root / "codegen" / "templates" / "config.hpp.j2", project.user / "toy.toml"):
        path.touch()
    assert ran(project.doit("csim", "net=toy.toml")) == []


def test_what_decides_the_artifact_recalibrates(project):
    """The network's file, its weights, its Python module, its images: each alone, then all, then all as before."""
    changes = {
        "toy.toml": lambda path: path.write_text(NETWORK.replace('"max"', '"max"\nweights = 5')),
        "toy.pth": lambda path: project.save_weights(1),
        "toy_net.py": lambda path: path.write_text(MODULE.replace("nn.ReLU()", "nn.ReLU6()")),
        "photos.npz": lambda path: np.savez(path, images=np.full((3, 8, 8, 3), 9, np.uint8)),
    }
    originals = {name: (project.user / name).read_bytes() for name in changes}

    def outdated() -> bool:
        status = re.search(r"status +: (\S+)", project.doit("info", f"calibrate:{NAME}", "net=toy.toml").stdout)[1]
        assert status in ("run", "up-to-date")
        return status == "run"

    def calibrated() -> list[bytes]:
        assert ran(project.doit("calibrate", "net=toy.toml")) == ["calibrate"]
        return [(project.build / name).read_bytes() for name in ("artifact.npz", "samples.npz")]

    before = [(project.build / name).read_bytes() for name in ("artifact.npz", "samples.npz")]
    try:
        for name, change in changes.items():
            assert not outdated()
            change(project.user / name)
            assert outdated(), name
            (project.user / name).write_bytes(originals[name])
        for name, change in changes.items():
            change(project.user / name)
        after = calibrated()
        assert after[0] != before[0] and after[1] != before[1]
    finally:
        for name, content in originals.items():
            (project.user / name).write_bytes(content)
    assert calibrated() == before


def manifest(project: Project) -> dict:
    return json.loads((project.build / "deploy" / "manifest.json").read_text())


@pytest.mark.heavy
def test_the_board_is_the_command_lines_then_the_files_then_the_default(project):
    """What depends on it is made again when it changes, and only that."""
    dependent = ("codegen", "csim", "estimate", "explore")

    def outdated(*words: str) -> set[str]:
        tasks = [f"{task}:{NAME}" for task in dependent]
        shown = project.doit("list", "--status", *tasks, "net=toy.toml", *words).stdout
        states = {task: state for state, task in re.findall(rf"(?m)^([RU]) (\S+):{NAME} *$", shown)}
        assert set(states) == set(dependent), shown
        return {task for task, state in states.items() if state == "R"}

    for task in ("estimate", "explore"):
        assert ran(project.doit(task, "net=toy.toml")) == [task]
    assert outdated() == set() and outdated("board=ultra96v2") == set()
    assert outdated("board=zcu104") == set(dependent)
    assert manifest(project)["board"] == project.read("estimate")["board"] == "Ultra96-V2"
    assert ran(project.doit("csim", "net=toy.toml", "board=zcu104")) == ["codegen", "csim"]
    assert manifest(project)["board"] == project.read("csim")["board"] == "ZCU104"
    assert project.read("csim")["mismatches"] == 0
    assert outdated("board=zcu104") == {"estimate", "explore"}
    assert ran(project.doit("csim", "net=toy.toml")) == ["codegen", "csim"]
    assert manifest(project)["board"] == "Ultra96-V2"
    name = project.network("with_board", lanes='4\nboard = "kv260"')
    for words, board in (([], "KV260"), (["board=zcu104"], "ZCU104")):
        result = project.doit("estimate", f"net={name}", *words)
        assert result.returncode == 0, result.stdout + result.stderr
        estimate = project.root / "build" / f"{NAME}_with_board" / "estimate.json"
        assert json.loads(estimate.read_text())["board"] == board
    message = refusal(project.doit("csim", "net=toy.toml", "board=zcu99"))
    assert message == "error: board 'zcu99' is not known; give one of kv260, pynq_z2, ultra96v2, zcu104"


def test_an_engine_too_large_for_the_board_is_refused_with_one_that_fits(project):
    name = project.network("large", lanes="32", filters="16", pixels="16")
    message = refusal(project.doit("codegen", f"net={name}"))
    assert "dsp (modelled), Ultra96-V2 has 360" in message and "; an engine with " in message
    assert not (project.root / "build" / f"{NAME}_large" / "generated").exists()


PROBE = """
import json, os, pytest

@pytest.mark.heavy
def test_probe():
    with open(os.environ["SBFP_FULL_SIZE"], "x") as file:  # an old one is gone
        json.dump([os.getcwd(), os.environ["SBFP_FULL_SIZE"]], file)
"""


def test_full_size_keeps_its_figures_below_any_path(project):
    (project.root / "tests").mkdir()
    (project.root / "tests" / "test_full_size.py").write_text(PROBE)
    results = project.root / "build" / "full_size.json"
    results.write_text("old")
    result = project.doit("full-size")
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout + result.stderr
    assert json.loads(results.read_text()) == [str(project.root), str(results)]


def test_no_action_goes_through_a_shell():
    tasks = load_tasks(vars(dodo))
    actions = [action for task in tasks for action in task.actions if isinstance(action, CmdAction)]
    assert len(actions) > 100 and all(isinstance(a.action, list) and not a.shell for a in actions)


def test_evaluation_and_board(project):
    result = project.doit("evaluate", "net=toy.toml")
    assert ran(result) == ["evaluate"] and skipped(result) == ["calibrate"]
    found = project.read("evaluation")
    assert {"images", "top1_float", "top1_bfp", "agreement", "sqnr_db"} <= found.keys()
    assert found["images"] == 3 and found["top1_float"] is None and found["sqnr_db"] > 20
    assert "simulate-board" in ran(project.doit("simulate-board", "net=toy.toml"))
    board = project.read("board")
    assert board["mismatches"] == 0 and board["values_compared"] == project.read("csim")["values_compared"]
    assert ran(project.doit("simulate-board", "net=toy.toml")) == []
    said = "\n".join(summary(project.build))
    assert f"{NAME}: 8-bit weights" in said and said.count(f"{board['values_compared']} values, 0 mismatches") == 2
    assert ran(project.doit("report", "net=toy.toml")) == ["baselines", "report"]
    page = (project.build / "report.html").read_text(encoding="utf-8")
    assert "Published rule" in page and "Plain maximum" in page and "missing" not in page
    assert ran(project.doit("report", "net=toy.toml")) == []


def test_deploy_says_where_to_and_takes_a_host_in_either_word(project):
    refused = refusal(project.doit("deploy", "net=toy.toml"))
    assert f"doit deploy:{NAME} host=USER@HOST, or host=local" in refused
    done = project.doit("deploy", "net=toy.toml", "board=local", "folder=there")
    assert done.returncode == 0 and "self-test: passed" in done.stdout, done.stdout + done.stderr
    assert (project.user / "there" / "board").is_file()
    assert (project.user / "there" / "estimate.json").is_file()
    # no bitstream, before ssh is asked for
    assert f"has no {NAME}.bit; build it with `doit build-bitstream`" in refusal(project.doit("deploy", "net=toy.toml", "board=10.0.0.1"))


def classify(project: Project, image: Path) -> subprocess.CompletedProcess:
    library = str(project.build / "csim" / "libengine.so")
    words = ["-m", "host", "classify", str(project.build / "deploy"), str(image), "--simulate", library]
    return project.process([sys.executable, *words], project.root)


def test_driver_refuses_images_that_cannot_be_read_or_do_not_fit(project):
    path = project.user / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert "broken.png cannot be read" in refusal(classify(project, path))
    assert "does not exist" in refusal(classify(project, project.user / "none.png"))
    code = (
        "import sys, numpy; from host.simulated_board import SimulatedBoard; from host.driver import Accelerator\n"
        "from bfp import BfpError\n"
        "with Accelerator(sys.argv[1], device=SimulatedBoard(sys.argv[2], sys.argv[1])) as accelerator:\n"
        "    for shape in ((3, 8, 9), (1, 8, 8), (8, 8, 3), (3, 8)):\n"
        "        try: accelerator.run(numpy.zeros(shape)); print('taken')\n"
        "        except BfpError as error: print('refused', error)\n"
    )
    words = [str(project.build / "deploy"), str(project.build / "csim" / "libengine.so")]
    lines = project.process([sys.executable, "-c", code, *words], project.root).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * 4, lines
    assert all("takes an image of 3x8x8" in line for line in lines), lines


def test_words_that_no_task_reads_are_refused(project):
    result = project.doit("codegen", "net=toy.toml", "bord=kv260")
    assert "no task reads bord=; did you mean board=?" in refusal(result) and "calibrate" not in result.stdout


def test_a_second_run_says_that_there_is_one(project):
    project.doit("list")
    with open(project.root / "build" / ".running") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another run of tasks is at work in" in project.doit("list").stderr
    assert "another run" not in project.doit("list").stderr


def test_a_program_that_ends_without_its_result_is_no_success(project):
    (project.user / "gone.py").write_text("import os\ndef make(width): os._exit(0)\n")
    text = NETWORK.replace(NAME, f"{NAME}_gone").replace("toy_net:make", "gone:make")
    (project.user / "gone.toml").write_text(text)
    assert "artifact.npz was not made" in refusal(project.doit("calibrate", "net=gone.toml"))


def test_unknown_network_and_missing_name(project):
    message = refusal(project.doit("csim", "net=nowhere.toml"))
    assert "there is no network nowhere.toml" in message and "resnet20" in message
    assert "there is no network resnet2" in refusal(project.doit("calibrate", "net=resnet2"))
    assert "name a network: doit evaluate:NAME or doit evaluate net=PATH" in refusal(project.doit("evaluate"))
    assert "name the labelled images: doit reproduce-table images=PATH" in refusal(project.doit("reproduce-table"))


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("size = 8", "sise = 8", ["[input] sise is not a known key; did you mean 'size'?"]),
        ("[engine]", "[motor]", ["motor is not a known key"]),
        ("lanes = 4", "lane = 4", ["engine option 'lane' is unknown; did you mean lanes"]),
        ("lanes = 4", "lanes = 12", ["engine option lanes is 12; give a power of two"]),
        ("lanes = 4", 'lanes = 4\nboard = "zcu99"', ["board 'zcu99' is not known; give one of kv260, pynq_z2"]),
        ("lanes = 4", "lanes = 4\nboard = 104", ["[engine] board is 104; it must be a text"]),
        ("limit = 3", "limit = 3\nbits = 4", ["[calibration] bits is not a known key"]),
        ("width = 5 }", "width = 5", ["is not valid TOML"]),
        ('"toy_net:make"', '"toy_net"', ["it must be 'module:callable'"]),
    ],
)
def test_mistakes_in_the_file_are_refused_before_any_work(project, old, new, words):
    assert old in NETWORK
    text = NETWORK.replace(NAME, f"{NAME}_wrong").replace(old, new)
    (project.user / "wrong.toml").write_text(text)
    result = project.doit("csim", "net=wrong.toml")
    message = refusal(result)
    assert "wrong.toml" in message and all(word in message for word in words), message
    assert "calibrate" not in result.stdout
    assert not (project.root / "build" / f"{NAME}_wrong").exists()


def test_unsupported_layer_is_refused_with_its_node_and_type(project):
    name = project.network("odd", model='"toy_net:unsupported"', arguments="{}", weights='"random"')
    message = refusal(project.doit("csim", f"net={name}"))
    assert "layer 1 (LayerNorm, node layer_norm" in message and "aten.layer_norm is not supported" in message


def test_weights_of_another_network_are_refused(project):
    torch.save({"0.weight": torch.zeros(2, 2)}, project.user / "other.pth")
    name = project.network("foreign", weights='"other.pth"')
    result = project.doit("calibrate", f"net={name}")
    message = refusal(result)
    assert "other.pth does not belong to model Sequential" in message and "lacks 0.bias" in message
    said = result.stdout + result.stderr  # the sentence is the last: no command, arguments or status below it
    assert "TaskFailed" not in said and "Command failed" not in said and "returned" not in said, said


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": '"toy_net:broken"', "arguments": "{}"}, ["toy_net:broken", "no such luck"]),
        ({"model": '"toy_nett:make"'}, ["toy_nett"]),
        ({"model": '"toy_net:mak"'}, ["toy_net:mak"]),
        ({"arguments": "{ depth = 3 }"}, ["depth"]),
        ({"weights": '"noise.pth"'}, ["noise.pth is damaged or holds more than tensors"]),
        ({"weights": '"gone.pth"'}, ["gone.pth does not exist"]),
        ({"images": '"broken.jpg"'}, ["broken.jpg cannot be read"]),
        ({"images": '"floats.npz"'}, ["images must be uint8"]),
        ({"images": '"none"'}, ["none do not exist"]),
    ],
    ids=str,
)
def test_wrong_inputs_of_calibration_are_refused(project, changes, words, capsys, tmp_path):
    (project.user / "noise.pth").write_bytes(b"\x80\x02noise")
    (project.user / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    np.savez(project.user / "floats.npz", images=np.zeros((2, 8, 8, 3), np.float32))
    network = project.user / project.network("wrong_input", **changes)
    assert calib(["calibrate", str(network), "--out", str(tmp_path)]) == 2
    sentences = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1 and all(word in sentences[0] for word in words), sentences
    assert list(tmp_path.iterdir()) == []


def test_csim_alone_is_the_regression_over_the_quick_networks(project):
    listed = project.doit("list", "--all", "--quiet").stdout.split()
    networks = {p.stem for p in (ROOT / "calib" / "networks").glob("*.toml")}
    for task in ("calibrate", "evaluate", "codegen", "csim", "simulate-board", "report", "sweep", "tensorboard"):
        assert {f"{task}:{n}" for n in networks} <= set(listed) and task in listed
    assert {"test", "reproduce-table"} <= set(listed)
    info = project.doit("info", "csim").stdout
    quick = re.findall(r"- csim:(\S+)", info)
    assert quick and set(quick) <= networks and len(quick) == len(set(quick))
    shown = project.doit("info", "csim", "net=toy.toml").stdout
    assert re.findall(r"- csim:(\S+)", shown) == [NAME]
