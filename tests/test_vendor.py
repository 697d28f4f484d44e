"""The vendor flow without the vendor: fake tools on PATH, the project's own scripts in a strict test bed.

What goes wrong: test_vendor_failures; the package: test_vendor_package; the scripts alone: test_vendor_scripts; reports: test_vendor_reports; tasks:
test_vendor_tasks.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.boards import BOARD
from support.vendor_reports import csynth_xml
from support.vendor_tools import ROOT, bitstream, cosim, csynth, generated, generated_for, needs_tclsh, package, Tools

from bfp.deployment import check_files, read_deployment
from bfp.errors import BfpError
from codegen.performance.board import board_names, load_board
from codegen.performance.timing import Timing
from codegen.vendor import build as vendor
from codegen.vendor.request import FlowOptions
from codegen.vendor.results import read_results

pytestmark = needs_tclsh
ZYNQ_ULTRASCALE = [name for name in board_names() if load_board(name).processing_system == "zynq_ultra_ps_e"]
KINDS = ("vitis_hls", "vitis-run", "v++")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    return Tools(tmp_path, monkeypatch)


@pytest.fixture
def network(tmp_path):
    return generated(tmp_path / "toy")


@pytest.mark.parametrize(
    "installed, kind",
    [(["vitis_hls", "vitis-run", "v++"], "vitis_hls"), (["vitis-run", "v++"], "vitis-run"), (["v++"], "v++")],
)
def test_the_hls_compiler_is_what_is_on_path(tools, tmp_path, installed, kind):
    tools.install(*installed)
    board = load_board("ultra96v2", 187.5)
    network = generated_for(board, tmp_path / "toy")
    tools.csynth(csynth_xml(board))
    result = csynth(network, board)
    assert result.tool == f"{kind} 2022.2" and result.clock_mhz == 187.5
    (name, arguments, values), = tools.calls
    assert name == kind
    script, work = str(ROOT / "hls" / "tcl" / "hls.tcl"), network / "vendor" / "csynth"
    expected = {
        "vitis_hls": ["-f", script],
        "vitis-run": ["--mode", "hls", "--tcl", script],
        "v++": ["-c", "--mode", "hls", "--config", f"{work}/hls.cfg", "--work_dir", f"{work}/engine"],
    }
    assert arguments == expected[kind]
    assert values["SBFP_PART"] == "xczu3eg-sbva484-1-i" and values["SBFP_CLOCK_MHZ"] == "187.5"
    assert values["SBFP_GENERATED"] == str(network / "generated") and values["SBFP_STEPS"] == "csynth export"
    if kind == "v++":
        lines = (work / "hls.cfg").read_text().splitlines()
        assert {"clock=5.33333ns", "syn.top=sbfp_engine", "package.ip.vendor=sbfp", "package.output.syn=1"} <= set(lines)
        assert {"syn.interface.m_axi_latency=64", "part=xczu3eg-sbva484-1-i"} <= set(lines)
        source = next(line for line in lines if line.startswith("syn.file=")).split("=")[1]
        assert Path(source).is_file()
    else:
        assert ["create_clock", "-period", str(1000 / 187.5), "-name", "default"] in tools.commands


@pytest.mark.parametrize("kind", KINDS)
def test_the_tool_that_is_named_is_the_one_that_runs(tools, network, kind):
    tools.install(*KINDS)
    assert csynth(network, tool=kind).tool == f"{kind} 2022.2"
    assert [name for name, _, _ in tools.calls] == [kind]


@pytest.mark.parametrize(
    "version", ["2022.1", "2022.2", "2023.1", "2023.2", "2024.1", "2024.2", "2025.1", "2025.2.1", "2026.1"]
)
def test_versions_from_the_floor_on_are_taken(tools, network, version):
    tools.install("vitis-run")
    tools.tell(version=version)
    tools.csynth(csynth_xml(version=version))
    result = csynth(network)
    assert result.tool == f"vitis-run {version}" and result.report_version == version


@pytest.mark.parametrize("kind", KINDS)
def test_build_bitstream_leaves_a_complete_package(tools, network, kind, capsys):
    tools.install(kind, "vivado")
    made = bitstream(network, jobs=3)
    assert made.clock_mhz == 249.9975 and made.note == ""
    assert read_results(network).implementation.board_part == "avnet.com:ultra96v2:part0:1.2"
    assert [name for name, _, _ in tools.calls] == [kind, "vivado"]
    _, arguments, values = tools.calls[1]
    assert arguments[:2] == ["-mode", "batch"] and arguments[-1] == str(ROOT / "hls" / "tcl" / "vivado.tcl")
    assert values["SBFP_JOBS"] == "3" and values["SBFP_IP"] == "sbfp_engine_0"
    assert Path(values["SBFP_IP_REPO"], "component.xml").is_file()
    files = package(network)
    names = {"manifest.json", "weights.bin", "toy.bit", "toy.hwh", "artifact.npz", "samples.npz"}
    assert set(files) == names and files["toy.bit"] == b"bits of impl_1"
    assert files["toy.hwh"] == (network / "vendor" / "out" / "toy.hwh").read_bytes()
    deployment = read_deployment(network / "deploy")
    assert set(deployment.files) == names - {"manifest.json"}
    assert deployment.clock_mhz == 250 and deployment.engine_clock_mhz == 249.9975
    assert deployment.implementation == made and not deployment.minimal
    check_files(deployment, network / "deploy")
    assert deployment.implementation.tools == {"hls": f"{kind} 2022.2", "vivado": "vivado 2022.2"}
    assert not list(network.rglob("*.part"))
    assert "vivado: 0 s, log" in capsys.readouterr().err
    table = (network / "vendor.md").read_text()
    assert "| DSP | 20 (18 to 22) | 20 | 322 | 360 |" in table and "| BRAM18 | 100 (100 to 120) | 100 | 301 | 432 |" in table
    assert "| LUT | 30000 (20000 to 45000) | 30000 |" in table
    assert "| CONV_CYCLES | conv_cycles_Pipeline_CONV_CYCLES | 1 to 256 | 12 to 267 | 1 | 1 | 1 | 12 |" in table


def test_nothing_runs_twice_for_the_same_inputs(tools, network):
    tools.install("vitis_hls", "vivado")
    csynth(network)
    made = bitstream(network)
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]
    before = package(network)
    for step in ("csynth", "bitstream"):
        assert vendor.is_current(step, network, BOARD, FlowOptions())
    assert bitstream(network) == made and package(network) == before
    assert len(tools.calls) == 2
    generated(network)  # code generation writes the same manifest again
    assert package(network) == before and vendor.is_current("bitstream", network, BOARD, FlowOptions())
    generated(network, "constexpr int another = 1;")
    for step in ("csynth", "bitstream"):
        assert not vendor.is_current(step, network, BOARD, FlowOptions())
    bitstream(network)
    assert [name for name, _, _ in tools.calls] == 2 * ["vitis_hls", "vivado"]


def clock_of(handoff: bytes) -> dict[str, str]:
    parameters = ElementTree.fromstring(handoff).iter("PARAMETER")
    return {p.get("NAME").rsplit("__", 1)[1]: p.get("VALUE") for p in parameters}


@pytest.mark.parametrize("slack, divisor", [("-0.2", 7), ("-0.66", 7), ("-0.67", 8), ("-3.9", 12)])
def test_missed_timing_gives_the_fastest_clock_that_meets_it(tools, network, slack, divisor):
    tools.install("vitis_hls", "vivado")
    tools.tell(slacks_impl_1="-9 0.01", slacks_impl_2=f"{slack} 0.01")
    made = bitstream(network)
    clock = round(1499.985 / divisor, 6)
    assert made.clock_mhz == pytest.approx(clock, abs=2e-6)
    assert read_results(network).implementation.setup_ns == float(slack)
    assert made.note == (
        f"toy misses the timing of 249.998 MHz by {-float(slack):.3f} ns "
        f"(Performance_ExplorePostRoutePhysOpt); it runs at {clock:.6g} MHz, the fastest clock that meets its timing"
    )
    deployment = read_deployment(network / "deploy")
    assert deployment.engine_clock_mhz == made.clock_mhz and deployment.implementation.note == made.note
    assert deployment.implementation.setup_slack_ns >= 0
    said = clock_of(package(network)["toy.hwh"])
    assert int(said["DIVISOR0"]) * int(said["DIVISOR1"]) == divisor and float(said["ACT_FREQMHZ"]) == made.clock_mhz
    assert made.note in (network / "vendor.md").read_text()


def test_strict_refuses_a_lower_clock_and_implements_once(tools, network):
    tools.install("vitis_hls", "vivado")
    tools.tell(slacks_impl_1="-0.2 0.01", slacks_impl_2="-0.1 0.01")
    before = package(network)
    with pytest.raises(BfpError, match=r"toy misses the timing of 249.998 MHz by 0.100 ns with two strategies .*strict=1"):
        bitstream(network, strict=True)
    assert package(network) == before
    assert bitstream(network).clock_mhz < 215
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]


def test_a_clock_too_slow_for_every_divisor_is_refused(tools, network):
    tools.install("vitis_hls", "vivado")
    tools.tell(slacks_impl_1="-90000 0.01", slacks_impl_2="-90000 0.01")
    with pytest.raises(BfpError, match="and no clock is as low as it needs; give clock= or another engine"):
        bitstream(network)


@pytest.mark.parametrize("step", [csynth, bitstream])
def test_findings_stop_the_build_before_implementation(tools, network, step):
    tools.install("vitis_hls", "vivado")
    tools.csynth(csynth_xml(loops={"CONV_CYCLES": "8", "STORE_BURST": "1"}, dsp=31))
    with pytest.raises(BfpError) as error:
        step(network)
    assert str(error.value) == (
        "synthesis of toy is not what it must be: loop CONV_CYCLES in conv_cycles_Pipeline_CONV_CYCLES has II=8, its pragma "
        f"asks for II=1 (and 1 more); see {network / 'vendor.md'}; force=1 goes on all the same"
    )
    assert [name for name, _, _ in tools.calls] == ["vitis_hls"]
    assert "31 DSPs are off the model's 20 (18 to 22 agree)" in (network / "vendor.md").read_text()
    assert not vendor.is_current("csynth", network, BOARD, FlowOptions())
    assert vendor.is_current("csynth", network, BOARD, FlowOptions(force=True))
    with pytest.raises(BfpError, match="is not what it must be"):
        step(network)
    bitstream(network, force=True)
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]  # synthesis ran once


@pytest.mark.parametrize("kind", KINDS)
def test_cosim_runs_the_rtl_and_is_done_once(tools, network, kind):
    tools.install(kind, *(["vitis-run"] if kind == "v++" else []))
    done = cosim(network, tool=kind)
    assert done.latency == (1234, 5678) and done.tool == f"{kind} 2022.2"
    assert vendor.is_current("cosim", network, BOARD, FlowOptions(tool=kind))
    assert not vendor.is_current("cosim", network, BOARD, FlowOptions())
    cosim(network, tool=kind)
    called = [name for name, _, _ in tools.calls]
    assert called == (["v++", "vitis-run"] if kind == "v++" else [kind])
    assert (network / "vendor" / "cosim" / "golden.bin").read_bytes() == b"golden"
    if kind != "v++":
        assert "cosim_design" in [c[0] for c in tools.commands]
    generated(network, seed=1)
    assert not vendor.is_current("cosim", network, BOARD, FlowOptions(tool=kind))


@pytest.mark.parametrize("kind", (None, *KINDS))
def test_a_dry_run_needs_no_tools_and_changes_no_result(tools, network, kind, capsys):
    before = package(network)
    for step, shown in ((csynth, 1), (cosim, 2 if kind == "v++" else 1), (bitstream, 2)):
        assert step(network, tool=kind, dry_run=True) is None
        said = capsys.readouterr().out
        assert said.count("would run, in ") == shown and (kind or "vitis_hls") in said
    assert package(network) == before and read_results(network) is None and not tools.calls
    for step in ("csynth", "cosim", "implementation"):
        script = network / "vendor" / f"{step}.sh"
        subprocess.run(["/bin/sh", "-n", str(script)], check=True)
        assert "export SBFP_PART=xczu3eg-sbva484-1-i" in script.read_text()
    assert (network / "vendor" / "cosim" / "hls.cfg").is_file() == (kind == "v++")
    with pytest.raises(BfpError, match="tool 'vitis' is not known; give one of vitis_hls, vitis-run, v\\+\\+"):
        csynth(network, tool="vitis", dry_run=True)


def test_a_dry_runs_script_does_what_the_flow_does(tools, network):
    csynth(network, dry_run=True)
    tools.install("vitis_hls")
    subprocess.run(["/bin/sh", str(network / "vendor" / "csynth.sh")], check=True, env=os.environ)
    by_hand = tools.calls[0]
    csynth(network)
    by_flow = tools.calls[1]
    assert by_hand == by_flow


@pytest.mark.parametrize("name", ZYNQ_ULTRASCALE)
def test_every_board_goes_all_the_way(tools, tmp_path, name):
    """What the flow hands to the tools, taken up by the scripts: project, block design and clock are the board's."""
    board = load_board(name)
    tools.install("vitis_hls", "vivado")
    tools.csynth(csynth_xml(board))
    installed = f"{board.board_part.split()[-1]}:1.9"
    tools.tell(board_parts=installed)
    network = generated_for(board, tmp_path / "toy")
    bitstream(network, board)
    assert read_results(network).implementation.board_part == installed
    commands = tools.commands
    assert ["set_part", board.part] in commands
    assert ["create_clock", "-period", str(1000 / board.clock_mhz), "-name", "default"] in commands
    interface = next(c for c in commands if c[0] == "config_interface")
    assert interface[interface.index("-m_axi_latency") + 1] == str(Timing().memory_latency)
    create = next(c for c in commands if c[0] == "create_project")
    assert create[create.index("-part") + 1] == board.part
    set_to = {c[1]: c[2] for c in commands if c[0] == "set_property"}
    assert set_to["board_part"] == installed
    assert set_to.get("board_connections", "") == board.board_connections
    design = next(c[2] for c in commands if c[:2] == ["set_property", "-dict"] and "PL0_REF_CTRL" in c[2])
    assert f"PL0_REF_CTRL__FREQMHZ {board.clock_mhz} " in design and "GP6" not in design
    for gp in (2, 3, 4, 5):
        assert f"CONFIG.PSU__USE__S_AXI_GP{gp} 1" in design
        assert f"CONFIG.PSU__SAXIGP{gp}__DATA_WIDTH {board.memory_port_bits}" in design
    preset = next(c for c in commands if c[0] == "apply_bd_automation")
    assert preset[preset.index("-rule") + 1] == f"xilinx.com:bd_rule:{board.processing_system}"


def test_the_modules_carrier_is_named():
    assert ZYNQ_ULTRASCALE == ["kv260", "ultra96v2", "zcu104"]
    assert load_board("kv260").board_connections.split() == [
        "som240_1_connector", "xilinx.com:kv260_carrier:som240_1_connector:1.3"
    ]  # fmt: skip
