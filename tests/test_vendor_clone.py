"""A fresh clone without the vendor's tools, dry runs of every task for every tool, and a disk that is full."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import NAME, Project, ran, refusal
from support.vendor_reports import csynth_xml
from support.vendor_tools import PROGRAMS, Tools, csynth, needs_tclsh, package
from support.vendor_tools import generated as toy_network

from bfp.deployment import read_deployment
from bfp.errors import BfpError
from codegen.vendor import process

pytestmark = [needs_tclsh, pytest.mark.heavy]  # minutes of doit
HLS_TOOLS = ("vitis_hls", "vitis-run", "v++")
TASKS = ("csynth", "cosim", "build-bitstream")
ENGINE = ["--engine", "lanes=4", "filters=2", "pixels=2"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Project:
    """A copy of the project in which nothing has been run."""
    return Project(tmp_path_factory.mktemp("vendor_clone"), "project")


@pytest.fixture(scope="module")
def generated(clone) -> Project:
    """The same after code generation."""
    assert clone.doit("codegen", "net=toy.toml").returncode == 0
    return clone


@pytest.mark.parametrize(
    "words, sentence",
    [
        *(([task, "net=toy.toml"], "error: Vitis HLS is not installed or not on PATH (looked for ") for task in TASKS),
        (["csynth", "net=toy.toml", "tool=v++"], "error: Vitis HLS is not installed or not on PATH (looked for v++); "),
        (["cosim"], "error: Vitis HLS is not installed or not on PATH"),
        (["csynth"], "error: name a network: doit csynth:NAME or doit csynth net=PATH; shipped are "),
        (["build-bitstream"], "error: name a network: doit build-bitstream:NAME or doit build-bitstream net=PATH"),
        (["csynth", "net=toy.toml", "dry_run=1", "tool=hls"], "error: tool 'hls' is not known; give one of vitis_hls"),
    ],
)
def test_without_tools_every_task_of_a_fresh_clone_ends_in_one_sentence(clone, words, sentence):
    assert refusal(clone.doit(*words)).startswith(sentence)
    assert not list(clone.root.rglob("*.bit")) and not list(clone.root.rglob("vendor.json"))


PRINTED = {
    "vitis_hls": [r"vitis_hls -f \S+/hls/tcl/hls\.tcl"],
    "vitis-run": [r"vitis-run --mode hls --tcl \S+/hls/tcl/hls\.tcl"],
    "v++": [r"v\+\+ -c --mode hls --config \S+/hls\.cfg --work_dir \S+/engine"],
}
SIMULATED = r"vitis-run --mode hls --cosim --config \S+/hls\.cfg --work_dir \S+/engine"
IMPLEMENTED = r"vivado -mode batch -nojournal -nolog -notrace -source \S+/hls/tcl/vivado\.tcl"


@pytest.mark.parametrize("tool", HLS_TOOLS)
@pytest.mark.parametrize("task", TASKS)
def test_a_dry_run_prints_and_writes_all_that_would_be_run(generated, task, tool):
    vendor = generated.build / "vendor"
    shutil.rmtree(vendor, ignore_errors=True)
    before = package(generated.build)
    result = generated.doit(task, "net=toy.toml", "dry_run=1", f"tool={tool}")
    assert result.returncode == 0 and task in ran(result), result.stdout + result.stderr
    wanted = list(PRINTED[tool])
    if task == "cosim" and tool == "v++":
        wanted.append(SIMULATED)
    if task == "build-bitstream":
        wanted.append(IMPLEMENTED)
    printed = re.findall(r"(?m)^would run, in (\S+), as (\S+):\n    (.+)$", result.stdout)
    assert len(printed) == len(wanted)
    for (folder, script, line), pattern in zip(printed, wanted):
        assert re.fullmatch(pattern, line), line
        assert Path(folder).is_dir() and line in Path(script).read_text() and f"cd {folder}\n" in Path(script).read_text()
        subprocess.run(["/bin/sh", "-n", script], check=True)
    step = "cosim" if task == "cosim" else "csynth"
    assert (vendor / step / "hls.cfg").is_file() == (tool == "v++")
    assert (vendor / "cosim" / "golden.bin").is_file() == (task == "cosim")
    assert package(generated.build) == before and not (generated.build / "vendor.json").exists()


def bitstream(project: Project, most: int | None) -> subprocess.CompletedProcess:
    """The step bitstream, in a process that can write no file larger than ``most`` bytes, nor can its tools."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [sys.executable, "-m", "codegen.vendor", "bitstream", str(project.build), *ENGINE]
    return subprocess.run(command, cwd=project.root, preexec_fn=limit, capture_output=True, text=True, timeout=120)


def test_a_full_disk_leaves_the_package_whole(generated, tmp_path, monkeypatch):
    """Wherever the room ends, the package is the older one or a complete one, and the step says which."""
    tools = Tools(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", f"{tools.folder}{os.pathsep}{tools.path}")
    tools.csynth(csynth_xml(dsp=8))
    tools.install(*PROGRAMS)
    before = package(generated.build)
    done = []
    for most in (0, 1, 300, 1500, 2500, 3500, 5000, 8000, 16000, None):
        tools.log.unlink(missing_ok=True)
        result = bitstream(generated, most)
        said = result.stdout + result.stderr
        assert "Traceback" not in said, said
        assert not list(generated.build.rglob("*.part"))
        done.append(result.returncode == 0)
        if done[-1]:
            names = {"manifest.json", "weights.bin", "artifact.npz", "samples.npz", f"{NAME}.bit", f"{NAME}.hwh"}
            assert set(package(generated.build)) == names
            assert read_deployment(generated.build / "deploy").implementation is not None
        else:
            errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1, said
            assert package(generated.build) == before, most
    assert not done[0] and done[-1]


def test_a_log_that_no_room_is_left_for_keeps_the_error(tmp_path, monkeypatch):
    """The first error cannot be put on top; the sentence is the tool's all the same."""
    tools, network = Tools(tmp_path, monkeypatch), toy_network(tmp_path / "toy")
    tools.install("vitis_hls")
    tools.tell(fail="vitis_hls")
    real = process.write_text

    def full(path, text):
        if path.suffix == ".log":
            raise BfpError("no room")
        real(path, text)

    monkeypatch.setattr(process, "write_text", full)
    with pytest.raises(BfpError, match=r"vitis_hls failed with status 1: ERROR: \[vitis_hls 42\] no licence; the log is"):
        csynth(network)
    assert (network / "vendor" / "csynth.log").read_text().startswith("INFO: starting")
