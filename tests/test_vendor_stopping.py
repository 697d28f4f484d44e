"""Steps of the vendor's tools that are stopped, or that meet another in the same folder: nothing stays half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.project import Project, ran, refusal
from support.vendor_reports import csynth_xml
from support.vendor_tools import PROGRAMS, Tools, bitstream, csynth, generated, needs_tclsh, package
from support.vendor_tools import processes_with

from bfp.errors import BfpError
from codegen.vendor import __main__ as vendor_main
from codegen.vendor import hls, implement, process
from codegen.vendor.lock import check_free, held
from codegen.vendor.results import read_results

pytestmark = [needs_tclsh, pytest.mark.heavy]  # minutes of doit
STOPPED = "error: vitis_hls was stopped by {}, with all that it started; the log is "


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The project after ``doit codegen net=toy.toml``."""
    project = Project(tmp_path_factory.mktemp("vendor_stopping"), "project")
    assert project.doit("codegen", "net=toy.toml").returncode == 0
    return project


@pytest.fixture
def tools(tmp_path, monkeypatch):
    tools = Tools(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", f"{tools.folder}{os.pathsep}{tools.path}")
    tools.csynth(csynth_xml(dsp=8))
    tools.install(*PROGRAMS)
    return tools


def started(tools: Tools, command: list[str], folder: Path, **options) -> subprocess.Popen:
    """A process in a group of its own, once the tool that it runs is at work."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    before = len(tools.calls)
    process = subprocess.Popen(command, cwd=folder, **{**output, **options})
    while len(tools.calls) == before:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    return process


def doit(project: Project, *words: str) -> list[str]:
    return [sys.executable, "-m", "doit", "-f", str(project.root / "dodo.py"), *words]


def step(project: Project, name: str) -> list[str]:
    engine = ["--engine", "lanes=4", "filters=2", "pixels=2"]
    return [sys.executable, "-m", "codegen.vendor", name, str(project.build), *engine]


def nothing_is_left(tools: Tools, folder: Path) -> None:
    """No process that the tools started, no file half written, no result."""
    until = time.monotonic() + 10  # a process that is ended takes a moment to go
    while processes_with(tools.log) and time.monotonic() < until:
        time.sleep(0.05)
    assert not processes_with(tools.log)
    assert not list(folder.rglob("*.part"))
    results = read_results(folder)
    assert results is None or results.csynth is None


def test_control_c_ends_doit_and_the_tools(project, tools):
    tools.tell(hang="vitis_hls")
    before = package(project.build)
    running = started(tools, doit(project, "build-bitstream", "net=toy.toml"), project.user)
    os.killpg(running.pid, signal.SIGINT)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 1 and "Traceback" not in said, said
    assert [line for line in said.splitlines() if line.startswith("error: ")] == [
        STOPPED.format("SIGINT") + str(project.build / "vendor" / "csynth.log")
    ]
    nothing_is_left(tools, project.build)
    assert package(project.build) == before


def test_tasks_in_threads_run_as_well(project, tools):
    """Signals are the main thread's, and doit may run a task in another."""
    result = project.doit("run", "-n", "2", "-P", "thread", "csynth", "net=toy.toml")
    assert ran(result) == ["csynth"]
    assert read_results(project.build).csynth is not None
    (project.build / "vendor.json").unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_a_step_ends_its_tool(project, tools, number):
    tools.tell(hang="vitis_hls")
    running = started(tools, step(project, "csynth"), project.root)
    running.send_signal(number)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 2 and STOPPED.format(number.name) in said and "Traceback" not in said, said
    nothing_is_left(tools, project.build)


def test_what_is_ignored_stays_ignored(project, tools):
    """As after ``nohup``."""
    tools.tell(hang="vitis_hls")
    words = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *step(project, "csynth")]
    running = started(tools, words, project.root)
    running.send_signal(signal.SIGHUP)
    time.sleep(1.5)
    assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert STOPPED.format("SIGTERM") in running.communicate(timeout=60)[0]
    nothing_is_left(tools, project.build)


def test_a_step_that_is_stopped_as_it_asks_for_a_version(project, tools):
    tools.tell(hang_version="vitis_hls")
    running = subprocess.Popen(
        step(project, "csynth"), cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not processes_with(tools.log, "-version"):
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 2, said
    assert said == "error: vitis_hls was stopped by SIGTERM, with all that it started\n"
    nothing_is_left(tools, project.build)


def test_a_step_that_is_stopped_where_no_tool_runs(monkeypatch, capsys):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(vendor_main, "run", stopped)
    assert vendor_main.main(["csynth", "folder"]) == 130
    assert capsys.readouterr().err == "error: csynth was stopped; run it again\n"


def test_a_second_doit_in_the_same_folder_is_refused(project, tools):
    tools.tell(hang="vitis_hls")
    running = started(tools, doit(project, "csynth", "net=toy.toml"), project.user)
    try:
        assert ran(project.doit("csim", "net=toy.toml")) == ["csim"]  # the same sources: nothing changes for the tools
        sources = {path: path.read_bytes() for path in (project.build / "generated").iterdir()}
        for words in (["csynth"], ["cosim"], ["build-bitstream"], ["csynth", "dry_run=1"], ["codegen", "clock=214.3"]):
            message = refusal(project.doit(*words, "net=toy.toml"))
            assert message.startswith(f"error: another step of the vendor's tools is at work in {project.build / 'vendor'}")
            assert message.endswith("; wait for it, or end it")
        assert {path: path.read_bytes() for path in (project.build / "generated").iterdir()} == sources
    finally:
        os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=60)
    tools.tell(hang="")
    assert ran(project.doit("csynth", "net=toy.toml"))[-1] == "csynth"


def test_the_lock_of_a_process_that_is_gone_is_free(tmp_path):
    with held(tmp_path):
        with pytest.raises(BfpError, match=rf"is at work in .* \(process {os.getpid()}\); wait for it, or end it"):
            check_free(tmp_path)
    check_free(tmp_path)
    with held(tmp_path):
        pass
    check_free(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_cannot_be_held_is_a_sentence(tmp_path):
    (tmp_path / "vendor").write_text("a file")
    with pytest.raises(BfpError, match="vendor/.lock cannot be written .*; make room, or write to another folder"):
        with held(tmp_path / "vendor"):
            pass


@pytest.mark.parametrize("program, module", [("vitis_hls", hls), ("vivado", implement)])
def test_sources_that_change_under_a_tool_are_noticed(tmp_path, monkeypatch, program, module):
    tools, network = Tools(tmp_path, monkeypatch), generated(tmp_path / "toy")
    tools.install("vitis_hls", "vivado")
    real = process.run

    def and_change(command):
        real(command)
        (network / "generated" / "config.hpp").write_text("int another;\n")

    monkeypatch.setattr(module, "run", and_change)
    before = package(network)
    with pytest.raises(BfpError, match="the sources of toy were changed while they were .*; run the step again"):
        bitstream(network)
    assert package(network) == before
    monkeypatch.setattr(module, "run", real)
    tools.log.unlink()
    generated(network, "int another;")
    bitstream(network)
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    tools, network = Tools(tmp_path, monkeypatch), generated(tmp_path / "toy")
    tools.install("vitis_hls")
    (network / "vendor" / "csynth.log").mkdir(parents=True)
    with pytest.raises(BfpError, match=r"csynth.log cannot be written \(Is a directory\); make room, or write to another"):
        csynth(network)


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_tool_leaves_behind_ends_with_it(tmp_path, monkeypatch, fails):
    tools, network = Tools(tmp_path, monkeypatch), generated(tmp_path / "toy")
    tools.install("vitis_hls")
    tools.tell(leaves="vitis_hls", fail="vitis_hls" if fails else "")
    if fails:
        with pytest.raises(BfpError, match="no licence"):
            csynth(network)
    else:
        csynth(network)
    until = time.monotonic() + 10
    while processes_with(tools.log) and time.monotonic() < until:
        time.sleep(0.05)
    assert not processes_with(tools.log)
