"""The vendor flow without the vendor: fake tools on PATH. The scripts alone: test_vendor_scripts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from support import toy_board as toy
from support.boards import BOARD
from support.vendor_tools import ROOT, Tools, generated, generated_for, needs_tclsh, run_tcl, vivado_prelude

from bfp.deployment import read_deployment
from bfp.errors import BfpError
from codegen.__main__ import main as codegen_main
from codegen.performance.board import board_names, load_board
from codegen.performance.timing import Timing
from codegen.vendor import build as vendor


@pytest.fixture
def tools(tmp_path, monkeypatch):
    return Tools(tmp_path, monkeypatch)


@pytest.fixture
def network(tmp_path):
    return generated(tmp_path / "toy")


ZYNQ_ULTRASCALE = [name for name in board_names() if load_board(name).processing_system == "zynq_ultra_ps_e"]


@pytest.mark.parametrize(
    "installed, kind",
    [
        (["vitis_hls", "vitis-run", "v++"], "vitis_hls"),
        (["vitis-run", "v++"], "vitis-run"),
        (["v++"], "v++"),
    ],
)
def test_the_hls_compiler_is_what_is_on_path(tools, tmp_path, installed, kind):
    tools.install(*installed)
    assert vendor.find_hls().kind == kind
    board = replace(BOARD, clock_mhz=200)
    network = generated_for(board, tmp_path / "toy")
    work = vendor.run_hls(network, board)
    (name, arguments, values), = tools.calls
    assert name == kind
    script = str(ROOT / "hls" / "tcl" / "hls.tcl")
    expected = {
        "vitis_hls": ["-f", script],
        "vitis-run": ["--mode", "hls", "--tcl", script],
        "v++": ["-c", "--mode", "hls", "--config", f"{work}/hls.cfg", "--work_dir", f"{work}/engine"],
    }
    assert arguments == expected[kind]
    assert values["SBFP_PART"] == "xczu3eg-sbva484-1-i" and values["SBFP_CLOCK_MHZ"] == "200"
    assert values["SBFP_GENERATED"] == str(network / "generated") and values["SBFP_STEPS"] == "csynth export"
    if kind == "v++":
        lines = (work / "hls.cfg").read_text().splitlines()
        assert {"clock=5ns", "syn.top=sbfp_engine", "package.ip.vendor=sbfp", "package.output.syn=1"} <= set(lines)
        assert {"syn.interface.m_axi_latency=64", "part=xczu3eg-sbva484-1-i"} <= set(lines)
        source = next(line for line in lines if line.startswith("syn.file=")).split("=")[1]
        assert Path(source).is_file()


def test_build_bitstream_leaves_both_files_side_by_side(tools, network, capsys):
    tools.install("vitis_hls", "vivado")
    bit, handoff = vendor.build_bitstream(network, BOARD, jobs=3)
    assert (bit, handoff) == (network / "deploy" / "toy.bit", network / "deploy" / "toy.hwh")
    assert bit.read_bytes() == b"bits" and "sbfp_engine_0" in handoff.read_text()
    assert not list(network.rglob("*.part"))
    files = read_deployment(network / "deploy").files
    assert files == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (network / "deploy").glob("[!m]*")}
    assert set(files) == {"weights.bin", "toy.bit", "toy.hwh"}
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]
    _, arguments, values = tools.calls[1]
    assert arguments[:2] == ["-mode", "batch"] and arguments[-1] == str(ROOT / "hls" / "tcl" / "vivado.tcl")
    assert values["SBFP_BOARD_PART"] == "avnet.com:ultra96v2:part0" and values["SBFP_JOBS"] == "3"
    assert values["SBFP_IP_REPO"].endswith("engine/solution/impl/ip") and values["SBFP_IP"] == "sbfp_engine_0"
    assert "vivado: 0 s, log" in capsys.readouterr().err


@pytest.mark.parametrize(
    "installed, missing", [([], "Vitis HLS"), (["vivado"], "Vitis HLS"), (["vitis-run"], "Vivado")]
)
def test_missing_tools_are_named_before_anything_runs(tools, network, installed, missing):
    tools.install(*installed)
    with pytest.raises(BfpError, match=f"{missing} is not installed or not on PATH"):
        vendor.build_bitstream(network, BOARD)
    assert not tools.calls


@pytest.mark.parametrize("failing", ["vitis_hls", "vivado"])
def test_a_failing_tool_is_reported_with_its_first_error(tools, network, monkeypatch, failing):
    tools.install("vitis_hls", "vivado")
    monkeypatch.setenv("FAKE_FAIL", failing)
    message = rf"{failing} failed with status 1: ERROR: \[{failing} 42\] no licence; the log is"
    with pytest.raises(BfpError, match=message):
        vendor.build_bitstream(network, BOARD)
    assert not (network / "deploy" / "toy.bit").exists()


def test_an_ip_of_an_earlier_run_is_not_taken(tools, network, monkeypatch):
    tools.install("vitis_hls", "vivado")
    vendor.build_bitstream(network, BOARD)
    monkeypatch.setenv("FAKE_NO_IP", "1")
    with pytest.raises(BfpError, match="without an exported IP"):
        vendor.build_bitstream(network, BOARD)


def test_a_handoff_without_the_engine_is_refused(tools, network, monkeypatch):
    tools.install("vitis_hls", "vivado")
    monkeypatch.setenv("FAKE_IP", "other_0")
    with pytest.raises(BfpError, match="has no IP 'sbfp_engine_0'"):
        vendor.build_bitstream(network, BOARD)
    assert not (network / "deploy" / "toy.hwh").exists()


def test_bad_requests_are_refused(tools, network, tmp_path):
    tools.install("v++", "vivado")
    with pytest.raises(BfpError, match="clock of 0 MHz"):
        vendor.build_bitstream(network, replace(BOARD, clock_mhz=0))
    with pytest.raises(BfpError, match="holds no generated network; run `doit codegen board=zcu104` first"):
        vendor.build_bitstream(tmp_path / "nothing", load_board("zcu104"))
    with pytest.raises(BfpError, match="generated for Ultra96-V2 at 250 MHz, not for KV260 at 250 MHz; run `doit"):
        vendor.build_bitstream(network, load_board("kv260"))
    with pytest.raises(BfpError, match="generated for Ultra96-V2 at 250 MHz, not for Ultra96-V2 at 200 MHz"):
        vendor.run_hls(network, replace(BOARD, clock_mhz=200))
    old = generated(tmp_path / "old")
    toy.edit(old / "deploy", lambda data: data.update(schema=3))
    with pytest.raises(BfpError, match="has schema 3, this version reads 5; run `doit codegen board=ultra96v2`"):
        vendor.build_bitstream(old, BOARD)
    (tmp_path / "old" / "deploy" / "manifest.json").write_text("{")
    with pytest.raises(BfpError, match="manifest.json is damaged or no JSON .*; run `doit codegen board=ultra96v2`"):
        vendor.build_bitstream(tmp_path / "old", BOARD)
    with pytest.raises(BfpError, match="vendor's tools cannot take ' ' in the path .*my net; move it"):
        vendor.build_bitstream(generated(tmp_path / "my net"), BOARD)
    with pytest.raises(BfpError, match="HLS step 'cosim' is unknown"):
        vendor.run_hls(network, BOARD, steps=("cosim",))
    with pytest.raises(BfpError, match="v\\+\\+ alone has no C simulation"):
        vendor.run_hls(network, BOARD, steps=("csim",))
    tools.install("vitis_hls")
    with pytest.raises(BfpError, match="golden.bin does not exist; run `doit csim` first"):
        vendor.run_hls(network, BOARD, steps=("csim",))
    assert not tools.calls


def test_command_line_fails_in_one_sentence_without_the_tools(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "deploy").mkdir()
    assert codegen_main(["bitstream", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_boards_without_ultrascale_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(BfpError, match="block design is for Zynq UltraScale"):
        vendor.build_bitstream(tmp_path, load_board("pynq_z2"))


@needs_tclsh
@pytest.mark.parametrize("name", ZYNQ_ULTRASCALE)
def test_every_board_goes_all_the_way(tools, tmp_path, monkeypatch, name):
    """What the flow hands to the tools, taken up by the scripts: project, block design and clock are the board's."""
    board = load_board(name)
    tools.install("vitis_hls", "vivado")
    bit, handoff = vendor.build_bitstream(generated_for(board, tmp_path / "toy"), board)
    assert bit.is_file() and handoff.is_file()
    (_, _, for_hls), (_, _, for_vivado) = tools.calls
    monkeypatch.setenv("PATH", tools.path)

    values = {k.removeprefix("SBFP_"): v for k, v in for_hls.items()}
    status, commands, error = run_tcl(tmp_path, "hls.tcl", values)
    assert status == 0, error
    assert ["set_part", board.part] in commands
    assert ["create_clock", "-period", str(1000 / board.clock_mhz), "-name", "default"] in commands
    interface = next(c for c in commands if c[0] == "config_interface")
    assert interface[interface.index("-m_axi_latency") + 1] == str(Timing().memory_latency)

    values = {k.removeprefix("SBFP_"): v for k, v in for_vivado.items()}
    installed = f"{board.board_part}:1.9"
    status, commands, error = run_tcl(tmp_path, "vivado.tcl", values, vivado_prelude(tmp_path, board_parts=installed))
    assert status == 0, error
    assert (Path(values["OUT"]) / "toy.bit").read_text() == "bits"
    create = next(c for c in commands if c[0] == "create_project")
    assert create[create.index("-part") + 1] == board.part
    asked = next(c for c in commands if c[0] == "get_board_parts")
    assert asked[-1] == f"{board.board_part}:*" and "-latest_file_version" in asked
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
