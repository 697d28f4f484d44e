"""The vendor's tasks as a user runs them: doit in a process of its own, without the tools and with fake ones."""

from __future__ import annotations

import json
import os

import pytest
import torch
from support.project import NAME, Project, ran, refusal, skipped
from support.vendor_reports import csynth_xml
from support.vendor_tools import PROGRAMS, Tools, needs_tclsh

from bfp.deployment import read_deployment

pytestmark = [needs_tclsh, pytest.mark.heavy]  # minutes of doit
TASKS = ("csynth", "cosim", "build-bitstream")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The project after ``doit codegen net=toy.toml``, where the vendor's tools would take its path."""
    project = Project(tmp_path_factory.mktemp("vendor_tasks"), "project")
    first = project.doit("codegen", "net=toy.toml")
    assert first.returncode == 0, first.stdout + first.stderr
    return project


@pytest.fixture
def tools(tmp_path, monkeypatch):
    tools = Tools(tmp_path, monkeypatch)
    # the rest of PATH stays: doit and the project run programs of their own
    monkeypatch.setenv("PATH", f"{tools.folder}{os.pathsep}{tools.path}")
    tools.csynth(csynth_xml(dsp=8))
    return tools


@pytest.mark.parametrize("task", TASKS)
def test_without_tools_every_task_ends_in_one_sentence(project, task):
    message = refusal(project.doit(task, "net=toy.toml"))
    assert message.startswith("error: Vitis HLS is not installed or not on PATH (looked for vitis_hls, vitis-run, v++)")


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["net=toy.toml", "tool=vivado"], "error: tool 'vivado' is not known; give one of vitis_hls, vitis-run, v++"),
        (["net=toy.toml", "clock=200"], "error: Ultra96-V2 has no clock within 1 % of 200 MHz"),
        (["net=toy.toml", "clock=fast"], "error: clock 'fast' is no frequency in MHz"),
        (["net=toy.toml", "dry_run=yes"], "error: dry_run=yes is neither dry_run=1 nor dry_run=0"),
        ([], "error: name a network: doit csynth:NAME or doit csynth net=PATH"),
    ],
)
def test_what_is_asked_wrongly_is_one_sentence(project, words, sentence):
    assert refusal(project.doit("csynth", *words)).startswith(sentence)


@pytest.mark.parametrize("task, tool", zip(TASKS, ("v++", "vitis-run", "vitis_hls")))
def test_a_dry_run_needs_no_tools_and_marks_nothing_as_done(project, task, tool):
    result = project.doit(task, "net=toy.toml", "dry_run=1", f"tool={tool}")
    assert task in ran(result), result.stdout + result.stderr
    assert "would run, in " in result.stdout and "dry run: nothing was run" in result.stdout and tool in result.stdout
    assert "Vitis HLS is not installed" in refusal(project.doit(task, "net=toy.toml"))


def test_from_a_network_to_a_package(project, tools):
    tools.install(*PROGRAMS)
    assert ran(project.doit("csynth", "net=toy.toml")) == ["csynth"]
    assert skipped(project.doit("csynth", "net=toy.toml")) == ["calibrate", "codegen", "csynth"]
    result = project.doit("build-bitstream", "net=toy.toml")
    assert ran(result) == ["build-bitstream"]
    assert "| DSP | 8 (7 to 16) | 8 | 322 | 360 |" in result.stdout
    assert skipped(project.doit("build-bitstream", "net=toy.toml")) == ["calibrate", "codegen", "build-bitstream"]
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]
    deploy = project.build / "deploy"
    assert {p.name for p in deploy.iterdir()} == {
        "manifest.json", "weights.bin", "artifact.npz", "samples.npz", f"{NAME}.bit", f"{NAME}.hwh"
    }  # fmt: skip
    deployment = read_deployment(deploy)
    assert deployment.implementation.tools == {"hls": "vitis_hls 2022.2", "vivado": "vivado 2022.2"}
    data = json.loads((project.build / "vendor.json").read_text())
    assert data["csynth"]["model"]["dsp"] == {"low": 7, "likely": 8, "high": 16}
    # a dry run between does not make anything run again, and the simulated board takes the package
    assert project.doit("build-bitstream", "net=toy.toml", "dry_run=1").returncode == 0
    assert skipped(project.doit("csynth", "net=toy.toml"))[-1] == "csynth"
    assert "simulate-board" in ran(project.doit("simulate-board", "net=toy.toml"))
    assert project.read("board")["mismatches"] == 0
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]
    assert read_deployment(deploy).engine_clock_mhz == 249.9975  # C simulation wrote the manifest again


def test_new_weights_of_the_same_exponents_rewrite_manifest_and_weights_alone(project, tools):
    """After the test above: calibrated again, with class names, and without any tool."""
    deploy, weights = project.build / "deploy", project.user / "toy.pth"
    older, before = read_deployment(deploy), {p.name: p.read_bytes() for p in deploy.iterdir() if p.is_file()}
    state = torch.load(weights)
    state["4.weight"][0, :8] *= 0.9  # not the largest of its filter, or of none
    torch.save(state, weights)
    network = project.user / "toy.toml"
    original = network.read_text()
    network.write_text(original.replace("arguments", 'classes = ["a", "b", "c", "d"]\narguments', 1))
    result = project.doit("build-bitstream", "net=toy.toml", "keep_bitstream=1")
    assert ran(result) == ["calibrate", "codegen", "build-bitstream"]
    assert result.stdout.count(f"{NAME}.bit is of this kernel, {older.identity}, and ") == 2
    assert "stays: it runs at 249.998 MHz" in result.stdout and "nothing was synthesised" in result.stdout
    newer, after = read_deployment(deploy), {p.name: p.read_bytes() for p in deploy.iterdir() if p.is_file()}
    assert newer.output.classes == ("a", "b", "c", "d") and newer.artifact_digest != older.artifact_digest
    assert (newer.identity, newer.implementation, set(after)) == (older.identity, older.implementation, set(before))
    assert {n for n in after if after[n] == before[n]} == {f"{NAME}.bit", f"{NAME}.hwh"} and not tools.calls
    assert skipped(project.doit("build-bitstream", "net=toy.toml", "keep_bitstream=1"))[-1] == "build-bitstream"
    # other exponents: refused where the bitstream is to be kept, and the older package stays
    network.write_text(original.replace('"max"', '"max"\nweights = 5'))
    message = refusal(project.doit("build-bitstream", "net=toy.toml", "keep_bitstream=1"))
    assert message.startswith("error: the bitstream in ") and f"{NAME}/deploy was not built for this: layer " in message
    assert {p.name: p.read_bytes() for p in deploy.iterdir() if p.is_file()} == after
    network.write_text(original)
    assert ran(project.doit("codegen", "net=toy.toml")) == ["calibrate", "codegen"]


def test_a_clock_reaches_sources_tools_and_package(project, tools):
    tools.install("vitis_hls", "vivado")
    tools.csynth(csynth_xml(dsp=8, target=7 / 1.5))
    result = project.doit("build-bitstream", "net=toy.toml", "clock=214.3")
    assert ran(result) == ["codegen", "build-bitstream"]
    periods = [float(c[2]) for c in tools.commands if c[0] == "create_clock"]
    assert periods == [pytest.approx(7 / 1.5, abs=1e-6)]
    deployment = read_deployment(project.build / "deploy")
    assert deployment.clock_mhz == 214.285714 and deployment.engine_clock_mhz == pytest.approx(1499.985 / 7, abs=1e-5)
    assert ran(project.doit("codegen", "net=toy.toml")) == ["codegen"]


def test_findings_end_the_task_and_force_goes_on(project, tools):
    tools.install("vitis_hls", "vivado")
    tools.csynth(csynth_xml(dsp=8, loops={"CONV_CYCLES": "8"}))
    template = project.root / "codegen" / "templates" / "config.hpp.j2"
    template.write_text(template.read_text() + "static_assert(LANES, \"changed\");\n")
    for task in ("csynth", "build-bitstream", "csynth"):
        message = refusal(project.doit(task, "net=toy.toml"))
        assert "has II=8, its pragma asks for II=1; see " in message and message.endswith("force=1 goes on all the same")
    assert ran(project.doit("build-bitstream", "net=toy.toml", "force=1")) == ["build-bitstream"]
    assert skipped(project.doit("build-bitstream", "net=toy.toml", "force=1"))[-1] == "build-bitstream"
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]


def test_cosim_alone_makes_a_small_network(project, tools):
    tools.install("vitis-run")
    result = project.doit("cosim")
    assert result.returncode == 0, result.stdout + result.stderr
    golden = project.root / "build" / "cosim_network" / "vendor" / "cosim" / "golden.bin"
    assert golden.read_bytes().startswith(b"SBFPGOLD")
    assert "1234 to 5678 cycles a transaction" in result.stdout
    assert project.doit("cosim").returncode == 0 and len(tools.calls) == 1
    tools.cosim("")
    assert ran(project.doit("cosim", "net=toy.toml", "dry_run=1"))[-1] == "cosim"
    assert "has no row of a simulation that ran" in refusal(project.doit("cosim", "net=toy.toml"))
