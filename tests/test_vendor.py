"""The vendor flow without the vendor: fake tools on PATH, and the Tcl scripts under a recording tclsh."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import toy_board as toy

from bfp.errors import BfpError
from codegen.vendor import build as vendor
from codegen.__main__ import main as codegen_main

ROOT = Path(__file__).resolve().parent.parent

# A fake tool notes how it was called and leaves the files that the real one would.
FAKE = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
name = Path(sys.argv[0]).name
values = {{k: v for k, v in os.environ.items() if k.startswith("SBFP_")}}
Path(os.environ["FAKE_LOG"]).open("a").write(json.dumps([name, sys.argv[1:], values]) + "\\n")
if name in os.environ.get("FAKE_FAIL", "").split():
    print("INFO: starting")
    print("ERROR: [" + name + " 42] no licence")
    print("ERROR: later")
    sys.exit(1)
if name == "vivado":
    out = Path(values["SBFP_OUT"])
    out.mkdir()
    out.joinpath(values["SBFP_NAME"] + ".bit").write_bytes(b"bits")
    ip = os.environ.get("FAKE_IP", values["SBFP_IP"])
    out.joinpath(values["SBFP_NAME"] + ".hwh").write_text('<E><MODULE INSTANCE="' + ip + '"/></E>')
elif "FAKE_NO_IP" not in os.environ:
    ip = Path(values["SBFP_WORK"]) / "engine" / "solution" / "impl" / "ip"
    ip.mkdir(parents=True, exist_ok=True)
    ip.joinpath("component.xml").write_text("<component/>")
"""


class Tools:
    """An otherwise empty PATH that tools can be put on, and what was called."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.log = folder / "bin", folder / "calls"
        self.folder.mkdir()
        monkeypatch.setenv("PATH", str(self.folder))
        monkeypatch.setenv("FAKE_LOG", str(self.log))

    def install(self, *names):
        for name in names:
            path = self.folder / name
            path.write_text(FAKE)
            path.chmod(0o755)

    @property
    def calls(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def tools(tmp_path, monkeypatch):
    return Tools(tmp_path, monkeypatch)


@pytest.fixture
def network(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    toy.write(folder / "deploy")
    (folder / "generated").mkdir()
    (folder / "generated" / "config.hpp").write_text("// generated\n")
    return folder


@pytest.mark.parametrize(
    "installed, kind",
    [
        (["vitis_hls", "vitis-run", "v++"], "vitis_hls"),
        (["vitis-run", "v++"], "vitis-run"),
        (["v++"], "v++"),
    ],
)
def test_the_hls_compiler_is_what_is_on_path(tools, network, installed, kind):
    tools.install(*installed)
    assert vendor.find_hls().kind == kind
    work = vendor.run_hls(network, clock_mhz=200.0)
    (name, arguments, values), = tools.calls
    assert name == kind
    script = str(ROOT / "hls" / "tcl" / "hls.tcl")
    expected = {
        "vitis_hls": ["-f", script],
        "vitis-run": ["--mode", "hls", "--tcl", script],
        "v++": ["-c", "--mode", "hls", "--config", f"{work}/hls.cfg", "--work_dir", f"{work}/engine"],
    }
    assert arguments == expected[kind]
    assert values["SBFP_PART"] == "xczu3eg-sbva484-1-i" and values["SBFP_CLOCK_MHZ"] == "200.0"
    assert values["SBFP_GENERATED"] == str(network / "generated") and values["SBFP_STEPS"] == "csynth export"
    if kind == "v++":
        lines = (work / "hls.cfg").read_text().splitlines()
        assert {"clock=5ns", "syn.top=sbfp_engine", "package.ip.vendor=sbfp", "package.output.syn=1"} <= set(lines)
        source = next(line for line in lines if line.startswith("syn.file=")).split("=")[1]
        assert Path(source).is_file()


def test_build_bitstream_leaves_both_files_side_by_side(tools, network, capsys):
    tools.install("vitis_hls", "vivado")
    bit, handoff = vendor.build_bitstream(network, clock_mhz=300.0, jobs=3)
    assert (bit, handoff) == (network / "deploy" / "toy.bit", network / "deploy" / "toy.hwh")
    assert bit.read_bytes() == b"bits" and "sbfp_engine_0" in handoff.read_text()
    assert not list(network.rglob("*.part"))
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]
    _, arguments, values = tools.calls[1]
    assert arguments[:2] == ["-mode", "batch"] and arguments[-1] == str(ROOT / "hls" / "tcl" / "vivado.tcl")
    assert values["SBFP_BOARD_PART"] == "avnet.com:ultra96v2:part0:1.2" and values["SBFP_JOBS"] == "3"
    assert values["SBFP_IP_REPO"].endswith("engine/solution/impl/ip") and values["SBFP_IP"] == "sbfp_engine_0"
    assert "vivado: 0 s, log" in capsys.readouterr().err


@pytest.mark.parametrize(
    "installed, missing", [([], "Vitis HLS"), (["vivado"], "Vitis HLS"), (["vitis-run"], "Vivado")]
)
def test_missing_tools_are_named_before_anything_runs(tools, network, installed, missing):
    tools.install(*installed)
    with pytest.raises(BfpError, match=f"{missing} is not installed or not on PATH"):
        vendor.build_bitstream(network)
    assert not tools.calls


@pytest.mark.parametrize("failing", ["vitis_hls", "vivado"])
def test_a_failing_tool_is_reported_with_its_first_error(tools, network, monkeypatch, failing):
    tools.install("vitis_hls", "vivado")
    monkeypatch.setenv("FAKE_FAIL", failing)
    message = rf"{failing} failed with status 1: ERROR: \[{failing} 42\] no licence; the log is"
    with pytest.raises(BfpError, match=message):
        vendor.build_bitstream(network)
    assert not (network / "deploy" / "toy.bit").exists()


def test_an_ip_of_an_earlier_run_is_not_taken(tools, network, monkeypatch):
    tools.install("vitis_hls", "vivado")
    vendor.build_bitstream(network)
    monkeypatch.setenv("FAKE_NO_IP", "1")
    with pytest.raises(BfpError, match="without an exported IP"):
        vendor.build_bitstream(network)


def test_a_handoff_without_the_engine_is_refused(tools, network, monkeypatch):
    tools.install("vitis_hls", "vivado")
    monkeypatch.setenv("FAKE_IP", "other_0")
    with pytest.raises(BfpError, match="has no IP 'sbfp_engine_0'"):
        vendor.build_bitstream(network)
    assert not (network / "deploy" / "toy.hwh").exists()


def test_bad_requests_are_refused(tools, network, tmp_path):
    tools.install("v++", "vivado")
    with pytest.raises(BfpError, match="board 'zcu999' is not known; give one of"):
        vendor.build_bitstream(network, board="zcu999")
    with pytest.raises(BfpError, match="clock of 0 MHz"):
        vendor.build_bitstream(network, clock_mhz=0)
    with pytest.raises(BfpError, match="holds no generated network"):
        vendor.build_bitstream(tmp_path / "nothing")
    with pytest.raises(BfpError, match="HLS step 'cosim' is unknown"):
        vendor.run_hls(network, steps=("cosim",))
    with pytest.raises(BfpError, match="v\\+\\+ alone has no C simulation"):
        vendor.run_hls(network, steps=("csim",))
    tools.install("vitis_hls")
    with pytest.raises(BfpError, match="golden.bin does not exist; run `doit csim` first"):
        vendor.run_hls(network, steps=("csim",))
    assert not tools.calls


# The Tcl scripts: every vendor command is recorded, one a line.

STUBS = """
proc unknown {name args} {
    global log
    puts $log [list $name {*}$args]
    flush $log
    switch $name {
        get_property { return [dict get $::properties [lindex $args 0]] }
        get_board_parts { return $::board_parts }
        make_wrapper { return sbfp_wrapper.v }
        create_bd_cell { return [lindex $args end] }
        default { return [lindex $args end] }
    }
}
"""

needs_tclsh = pytest.mark.skipif(not shutil.which("tclsh"), reason="tclsh is not installed")


def run_tcl(tmp_path, script, values, prelude=""):
    """Exit status, recorded commands as lists of words, stderr."""
    wrapper, log = tmp_path / "wrapper.tcl", tmp_path / "commands"
    wrapper.write_text(f"set log [open {{{log}}} w]\n{prelude}\n{STUBS}\nsource {{{ROOT}/hls/tcl/{script}}}\n")
    environment = {"PATH": os.environ["PATH"], **{f"SBFP_{k}": str(v) for k, v in values.items()}}
    result = subprocess.run(["tclsh", str(wrapper)], env=environment, capture_output=True, text=True, timeout=60)
    read = f"set f [open {{{log}}}]\nwhile {{[gets $f line] >= 0}} {{puts [join $line \\x1f]}}"
    lines = subprocess.run(["tclsh"], input=read, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return result.returncode, [line.split("\x1f") for line in lines], result.stderr


def hls_values(tmp_path, steps):
    return dict(
        HLS=ROOT / "hls", GENERATED="/generated", WORK=tmp_path / "work", PART="xczu3eg-sbva484-1-i", CLOCK_MHZ="250.0",
        LANES=16, STEPS=steps, WEIGHTS="weights.bin", GOLDEN="golden.bin", RESULT="result.json",
    )  # fmt: skip


@needs_tclsh
def test_hls_script_runs_the_steps_it_was_asked_for(tmp_path):
    status, commands, error = run_tcl(tmp_path, "hls.tcl", hls_values(tmp_path, "csim csynth export"))
    assert status == 0, error
    names = [c[0] for c in commands]
    assert names[:3] == ["open_project", "set_top", "add_files"]
    assert names[-3:] == ["csim_design", "csynth_design", "export_design"]
    assert ["set_top", "sbfp_engine"] in commands and ["set_part", "xczu3eg-sbva484-1-i"] in commands
    assert ["create_clock", "-period", "4.0", "-name", "default"] in commands
    assert ["csim_design", "-argv", "weights.bin golden.bin result.json"] in commands
    sources = [c[-3] for c in commands if c[0] == "add_files"]
    assert len(sources) == 2 and all(Path(s).is_file() for s in sources)
    kernel, bench = (c[-1] for c in commands if c[0] == "add_files")
    assert "csim" not in kernel and "synth" in kernel  # the vendor's own hls_stream.h, nothing counted
    assert "csim" in bench
    assert commands[-1][commands[-1].index("-vendor") + 1] == "sbfp"
    status, commands, _ = run_tcl(tmp_path, "hls.tcl", hls_values(tmp_path, "csynth"))
    assert status == 0 and commands[-1] == ["csynth_design"] and "csim_design" not in [c[0] for c in commands]


@needs_tclsh
def test_hls_script_stops_with_a_sentence_and_a_status(tmp_path):
    values = hls_values(tmp_path, "csynth")
    del values["PART"]
    status, commands, error = run_tcl(tmp_path, "hls.tcl", values)
    assert status == 1 and error == (
        "ERROR: environment variable SBFP_PART is not set; run this script through `doit build-bitstream`\n"
    )
    failing = "proc csynth_design {} {error boom}"
    status, _, error = run_tcl(tmp_path, "hls.tcl", hls_values(tmp_path, "csynth"), failing)
    assert status == 1 and error == "ERROR: boom\n"


def vivado_values(tmp_path):
    return dict(
        WORK=tmp_path / "work", OUT=tmp_path / "out", NAME="toy", IP_REPO="/ip", IP="sbfp_engine_0",
        PART="xczu3eg-sbva484-1-i", BOARD_PART="avnet.com:ultra96v2:part0:1.2", CLOCK_MHZ="250.0", JOBS=2,
    )  # fmt: skip


def vivado_prelude(tmp_path, sources="gen", slack="0.1", progress="100%", board_parts="found"):
    """The state that the stubs report, and the files that Vivado would have written."""
    project = tmp_path / "project"
    handoff = project / f"sbfp.{sources}" / "sources_1" / "bd" / "sbfp" / "hw_handoff" / "sbfp.hwh"
    handoff.parent.mkdir(parents=True)
    handoff.write_text("handoff")
    (project / "sbfp_wrapper.bit").write_text("bits")
    properties = f"DIRECTORY {{{project}}} PROGRESS {progress} STATUS stopped STATS.WNS {slack}"
    return f"set properties [dict create {properties}]\nset board_parts {{{board_parts}}}"


@needs_tclsh
@pytest.mark.parametrize("sources", ["gen", "srcs"])
def test_vivado_script_connects_everything_and_exports_both_files(tmp_path, sources):
    prelude = vivado_prelude(tmp_path, sources)
    status, commands, error = run_tcl(tmp_path, "vivado.tcl", vivado_values(tmp_path), prelude)
    assert status == 0, error
    assert (tmp_path / "out" / "toy.bit").read_text() == "bits"
    assert (tmp_path / "out" / "toy.hwh").read_text() == "handoff"
    text = "\n".join(" ".join(c) for c in commands)
    for cell in ("xilinx.com:ip:zynq_ultra_ps_e ps", "sbfp:hls:sbfp_engine:1.0 sbfp_engine_0"):
        assert f"create_bd_cell -type ip -vlnv {cell}" in text
    used = [c[1] for c in commands if c[0] == "get_bd_intf_pins"]
    assert len(used) == len(set(used))  # an interface takes one connection
    engine = {"s_axi_control", "m_axi_gmem_weights", "m_axi_gmem_in", "m_axi_gmem_shortcut", "m_axi_gmem_out"}
    assert {u.split("/")[1] for u in used if u.startswith("sbfp_engine_0/")} == engine
    assert {f"ps/S_AXI_HP{i}_FPD" for i in range(4)} | {"ps/M_AXI_HPM0_FPD"} <= set(used)
    pins = {c[1] for c in commands if c[0] == "get_bd_pins"}
    clocks = {"sbfp_engine_0/ap_clk", "ps/maxihpm0_fpd_aclk", *(f"ps/saxihp{i}_fpd_aclk" for i in range(4))}
    assert clocks | {"sbfp_engine_0/ap_rst_n", "ps/pl_clk0", "reset/ext_reset_in"} <= pins
    names = [c[0] for c in commands]
    assert names.index("validate_bd_design") < names.index("make_wrapper") < names.index("launch_runs")
    assert "CONFIG.PSU__SAXIGP5__DATA_WIDTH 128" in text and "PL0_REF_CTRL__FREQMHZ 250.0" in text


@needs_tclsh
@pytest.mark.parametrize(
    "state, message",
    [
        ({"slack": "-0.2"}, "timing is not met at 250.0 MHz: worst slack -0.2 ns; lower the clock"),
        ({"progress": "40%"}, "implementation stopped: stopped"),
        ({"board_parts": ""}, "board files avnet.com:ultra96v2:part0:1.2 are not installed"),
        ({"sources": "elsewhere"}, "no .hwh below"),
    ],
)
def test_vivado_script_stops_with_a_sentence(tmp_path, state, message):
    status, _, error = run_tcl(tmp_path, "vivado.tcl", vivado_values(tmp_path), vivado_prelude(tmp_path, **state))
    assert status == 1 and error.startswith(f"ERROR: {message}") and error.count("\n") == 1
    assert not (tmp_path / "out" / "toy.bit").exists()


def test_command_line_fails_in_one_sentence_without_the_tools(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "deploy").mkdir()
    assert codegen_main(["bitstream", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_boards_without_ultrascale_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(BfpError, match="block design is for Zynq UltraScale"):
        vendor.build_bitstream(tmp_path, board="pynq_z2")
