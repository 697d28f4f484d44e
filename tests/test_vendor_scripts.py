"""The Tcl scripts under a recording tclsh: what they ask of the vendor's tools, and with which sentence they stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.vendor_tools import hls_values, needs_tclsh, run_tcl, vivado_prelude, vivado_values


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
    assert "CONFIG.PSU__SAXIGP5__DATA_WIDTH 128" in text and "PL0_REF_CTRL__FREQMHZ 250 " in text
    assert ["set_property", "board_part", "avnet.com:ultra96v2:part0:1.2"] in [c[:3] for c in commands]


@needs_tclsh
@pytest.mark.parametrize(
    "state, message",
    [
        ({"slack": "-0.2"}, "timing is not met at 250 MHz: worst slack -0.2 ns; lower clock_mhz in the board's file"),
        ({"progress": "40%"}, "implementation stopped: stopped"),
        ({"board_parts": ""}, "board files avnet.com:ultra96v2:part0 are not installed"),
        ({"sources": "elsewhere"}, "no .hwh below"),
    ],
)
def test_vivado_script_stops_with_a_sentence(tmp_path, state, message):
    status, _, error = run_tcl(tmp_path, "vivado.tcl", vivado_values(tmp_path), vivado_prelude(tmp_path, **state))
    assert status == 1 and error.startswith(f"ERROR: {message}") and error.count("\n") == 1
    assert not (tmp_path / "out" / "toy.bit").exists()


@needs_tclsh
def test_a_processing_system_with_too_few_ports_is_a_sentence(tmp_path):
    values = {**vivado_values(tmp_path), "MEMORY_PORTS": 2}
    status, _, error = run_tcl(tmp_path, "vivado.tcl", values, vivado_prelude(tmp_path))
    assert status == 1
    assert error == "ERROR: the engine has 4 memory interfaces, this board's processing system 2 ports\n"
