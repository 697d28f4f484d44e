"""What the vendor's compiler is given, compiled as it is told to: kernel and test bench with the flags of the scripts."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from support.boards import BOARD
from support.compilers import EVERY, NO_CLANG
from support.random_graphs import random_artifact
from support.vendor_reports import csynth_xml
from support.vendor_tools import Tools, csynth, generated, needs_tclsh

from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.simulation.csim import input_mantissas, write_golden
from codegen.vendor import build
from codegen.vendor.request import FlowOptions

pytestmark = needs_tclsh
ENGINE = EngineOptions(lanes=4, filters=2, pixels=2)
# in place of the vendor's own, which no header of the project may hide
STREAM = """
#pragma once
#include <queue>
#define SBFP_TESTS_VENDORS_STREAM 1
namespace hls {
template <typename T>
class stream {
  public:
    T read() {
        T item = items_.front();
        items_.pop();
        return item;
    }
    void write(const T &item) { items_.push(item); }

  private:
    std::queue<T> items_;
};
}
"""


def flags_of(tools: Tools, network: Path, kind: str) -> dict[str, tuple[str, list[str]]]:
    """Source and flags of kernel and test bench, as a program of the vendor's was told."""
    if kind == "v++":
        lines = (network / "vendor" / "cosim" / "hls.cfg").read_text().splitlines()
        said = dict(line.split("=", 1) for line in lines if "=" in line)
        return {part: (said[f"{part}.file"], shlex.split(said[f"{part}.cflags"])) for part in ("syn", "tb")}
    kernel, bench = (c for c in tools.commands if c[0] == "add_files")
    assert "-tb" in bench and "-tb" not in kernel
    found = {"syn": kernel, "tb": bench}
    return {part: (next(w for w in c if w.endswith(".cpp")), shlex.split(c[-1])) for part, c in found.items()}


@pytest.mark.parametrize("compiler", EVERY)
@pytest.mark.parametrize("kind", ["vitis_hls", "v++"])
def test_what_co_simulation_is_given_compiles_and_agrees(tmp_path, monkeypatch, kind, compiler):
    if not EVERY[compiler]:
        pytest.skip(NO_CLANG)
    tools = Tools(tmp_path, monkeypatch)
    tools.csynth(csynth_xml())
    tools.install(kind, "vitis-run")
    network, artifact = tmp_path / "network", random_artifact(2, ENGINE.lanes)
    program, identity = generate([artifact], ENGINE, BOARD, network)
    mantissas = [input_mantissas(artifact, 1, 0)]
    build.cosim(
        network, BOARD, FlowOptions(kind), lambda path: write_golden(path, program, identity, mantissas)
    )
    words = tools.calls[-1][2]
    monkeypatch.setenv("PATH", tools.path)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "hls_stream.h").write_text(STREAM)
    objects = []
    for part, (source, flags) in flags_of(tools, network, kind).items():
        # after the folders of the project, as the vendor's own stand
        command = [EVERY[compiler], "-O1", "-w", *flags, "-isystem", str(tmp_path / "vendor")]
        objects.append(f"{tmp_path}/{part}.o")
        subprocess.run([*command, "-c", source, "-o", objects[-1]], check=True)
        seen = subprocess.run([*command, "-E", "-dM", source], check=True, capture_output=True, text=True).stdout
        assert ("SBFP_TESTS_VENDORS_STREAM" in seen) == (part == "syn")
    subprocess.run([EVERY[compiler], *objects, "-o", str(tmp_path / "bench")], check=True)
    arguments = [words["SBFP_WEIGHTS"], words["SBFP_GOLDEN"], str(tmp_path / "result.json"), "layers"]
    assert subprocess.run([str(tmp_path / "bench"), *arguments]).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["mismatches"] == 0 and result["values_compared"] > 0


@pytest.mark.parametrize(
    "line",
    [
        "clock=fast", "syn.speed=3", "cosim.rtl=systemc", "package.output.format=zip", "cosim.O=yes", "part=xczu3eg", "[syn]",
        "syn.interface.m_axi_latency=-1", "clock=4ns",
    ],
)  # fmt: skip
def test_the_configurations_bed_refuses_what_is_not_documented(tmp_path, monkeypatch, line):
    """Unknown keys and sections, values of another kind, a key a second time."""
    tools, network = Tools(tmp_path, monkeypatch), generated(tmp_path / "toy")
    tools.install("v++")
    csynth(network)
    config = network / "vendor" / "csynth" / "hls.cfg"
    words = ["-c", "--mode", "hls", "--config", str(config), "--work_dir", str(tmp_path / "other")]
    assert subprocess.run([str(tools.folder / "v++"), *words]).returncode == 0
    config.write_text(f"{config.read_text()}{line}\n")
    result = subprocess.run([str(tools.folder / "v++"), *words], capture_output=True, text=True)
    assert result.returncode == 1 and f"unknown configuration {line}" in result.stdout
