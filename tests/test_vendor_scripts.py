"""The Tcl scripts in a test bed of documented commands: what they ask of the vendor's tools, and how they stop."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.vendor_tools import ROOT, TCL, hls_values, needs_tclsh, run_tcl, vivado_values

pytestmark = needs_tclsh


def run_hls(tmp_path, values, **fake):
    return run_tcl(tmp_path, "hls.tcl", values, "hls.tcl", **fake)


def run_vivado(tmp_path, values=None, **fake):
    return run_tcl(tmp_path, "vivado.tcl", values or vivado_values(tmp_path), "vivado.tcl", **fake)


def test_hls_script_runs_the_steps_it_was_asked_for(tmp_path):
    status, commands, error = run_hls(tmp_path, hls_values(tmp_path, "csim csynth cosim export"))
    assert status == 0, error
    names = [c[0] for c in commands]
    assert names[:3] == ["open_project", "set_top", "add_files"]
    assert names[-4:] == ["csim_design", "csynth_design", "cosim_design", "export_design"]
    assert ["set_top", "sbfp_engine"] in commands and ["set_part", "xczu3eg-sbva484-1-i"] in commands
    assert ["create_clock", "-period", "4.0", "-name", "default"] in commands
    assert ["csim_design", "-argv", "weights.bin golden.bin result.json"] in commands
    assert commands[-2][-2:] == ["-argv", "weights.bin golden.bin result.json layers"] and "-random_stall" in commands[-2]
    sources = [c[-3] for c in commands if c[0] == "add_files"]
    assert len(sources) == 2 and all(Path(s).is_file() for s in sources)
    kernel, bench = (c[-1] for c in commands if c[0] == "add_files")
    assert "csim" not in kernel and "synth" in kernel  # the vendor's own hls_stream.h, nothing counted
    assert "csim" in bench
    assert commands[-1][commands[-1].index("-vendor") + 1] == "sbfp"
    status, commands, _ = run_hls(tmp_path, hls_values(tmp_path, "csynth"))
    assert status == 0 and commands[-1] == ["csynth_design"] and "csim_design" not in [c[0] for c in commands]


def test_hls_is_told_the_period_of_the_clock_that_will_be(tmp_path):
    values = {**hls_values(tmp_path, "csynth"), "CLOCK_MHZ": "214.285714"}
    _, commands, _ = run_hls(tmp_path, values)
    period = next(c[2] for c in commands if c[0] == "create_clock")
    assert float(period) == pytest.approx(7 / 1.5, abs=1e-6)


def test_hls_script_stops_with_a_sentence_and_a_status(tmp_path):
    values = hls_values(tmp_path, "csynth")
    del values["PART"]
    status, commands, error = run_hls(tmp_path, values)
    assert status == 1
    assert error == "ERROR: environment variable SBFP_PART is not set; run this script through doit\n"
    status, commands, error = run_hls(tmp_path, hls_values(tmp_path, "synth"))
    assert status == 1 and error == "ERROR: step synth is not known; SBFP_STEPS takes csim csynth cosim export\n"
    status, _, error = run_hls(tmp_path, hls_values(tmp_path, "export"))
    assert status == 1 and "nothing is synthesised" in error


def test_the_test_bed_refuses_what_is_not_documented(tmp_path):
    """So that a script that passes it asks for nothing else."""
    for line, reason in (
        ("csynth_design -fast", "unknown option -fast"),
        ("config_interface -m_axi_speed 3", "unknown option -m_axi_speed"),
        ("synth_design", 'invalid command name "synth_design"'),
        ("open_solution -flow_target board x", "'board' is none of vivado vitis"),
        ("set_part", "wrong number of arguments"),
    ):
        status, error = bed(tmp_path, "hls.tcl", f"open_project x\n{line}")
        assert status and reason in error, error
    for line, reason in (
        ("set_property CONFIG.PSU__PL_CLOCK 3 ps", "object 'ps' has no property"),
        ("set_property CONFIG.PSU__OVERRIDE__BASIC_CLOCK 0 other", "has no property"),
        ("get_property STATS.SLACK impl_1", "object impl_1 has no property STATS.SLACK"),
        ("launch_runs impl_3 -step x", "unknown option -step"),
        ("get_runs impl_3", "'impl_3' is none of"),
        ("create_bd_cell -type ip -vlnv xilinx.com:ip:axi_magic x", "no IP"),
        ("get_bd_pins ps/pl_clk7", "no pin ps/pl_clk7"),
        ("xhub::download all", "invalid command name"),
    ):
        status, error = bed(tmp_path, "vivado.tcl", f"create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps\n{line}")
        assert status and reason in error, error


def bed(tmp_path, name, text):
    script = tmp_path / "lines.tcl"
    script.write_text(f"source {{{TCL / 'strict.tcl'}}}\nsource {{{TCL / name}}}\n{text}\n")
    environment = {"PATH": os.environ["PATH"], "FAKE_COMMANDS": str(tmp_path / "lines"), "SBFP_IP": "ip"}
    result = subprocess.run(["tclsh", str(script)], env=environment, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    return result.returncode, result.stderr


@pytest.mark.parametrize("sources", ["gen", "srcs"])
def test_vivado_script_connects_everything_and_exports_both_files(tmp_path, sources):
    status, commands, error = run_vivado(tmp_path, SOURCES=sources)
    assert status == 0, error
    assert (tmp_path / "out" / "toy.bit").read_text() == "bits of impl_1"
    assert "sbfp_engine_0" in (tmp_path / "out" / "toy.hwh").read_text()
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
    assert [c[1] for c in commands if c[0] == "launch_runs"] == ["synth_1", "impl_1"]
    assert "CONFIG.PSU__SAXIGP5__DATA_WIDTH 128" in text and "PL0_REF_CTRL__FREQMHZ 250 " in text
    assert ["set_property", "board_part", "avnet.com:ultra96v2:part0:1.2"] in [c[:3] for c in commands]
    assert reported(tmp_path) == {
        "clock_mhz": "249.997500", "setup_ns": "0.1", "hold_ns": "0.02", "strategy": "Vivado Implementation Defaults",
        "board_part": "avnet.com:ultra96v2:part0:1.2",
    }  # fmt: skip
    for name in ("utilization.rpt", "hierarchy.rpt", "timing.rpt"):
        assert (tmp_path / "out" / name).is_file()


def connections(commands, kind):
    """The pairs of end points that a connecting command joined, by the look-ups before it."""
    names = {"connect_bd_net": "get_bd_pins", "connect_bd_intf_net": "get_bd_intf_pins"}
    found = []
    for at, command in enumerate(commands):
        if command[0] == kind:
            assert [c[0] for c in commands[at - 2 : at]] == 2 * [names[kind]]
            found.append((commands[at - 2][1], commands[at - 1][1]))
    return found


def test_the_engine_s_interrupt_is_the_first_line_of_the_processing_system(tmp_path):
    status, commands, error = run_vivado(tmp_path)
    assert status == 0, error
    assert ("sbfp_engine_0/interrupt", "ps/pl_ps_irq0") in connections(commands, "connect_bd_net")
    enabled = commands.index(["set_property", "-dict", "CONFIG.PSU__USE__IRQ0 1", "ps"])
    assert enabled < commands.index(["get_bd_pins", "ps/pl_ps_irq0"])  # the pin is there only then


def test_the_interrupt_of_zynq_7000_is_its_own_line(tmp_path):
    script = (ROOT / "hls" / "tcl" / "vivado.tcl").read_text()
    procedures = script[script.index("array set interrupt_inputs") : script.index("# One SmartConnect")]
    cells = "create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps\n"
    cells += "create_bd_cell -type ip -vlnv sbfp:hls:sbfp_engine:1.0 engine\n"
    argument = "proc argument {name} {return $::env($name)}\n"
    for system, ending in (("processing_system7", 0), ("versal_cips", 1)):
        text = f"{procedures}\n{argument}set ::env(SBFP_PROCESSING_SYSTEM) {system}\n{cells}connect_interrupt engine"
        status, error = bed(tmp_path, "vivado.tcl", text)
        assert status == ending, error
        assert ending == 0 or "the interrupt input of processing system versal_cips is not known" in error
    enabling = "CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1"
    status, error = bed(tmp_path, "vivado.tcl", text.replace("versal_cips", "processing_system7").replace(enabling, ""))
    assert status and "no pin ps/IRQ_F2P without PCW_IRQ_F2P_INTR" in error


def test_memory_ports_as_wide_as_the_engine_s_words_need_no_converter(tmp_path):
    status, commands, error = run_vivado(tmp_path)
    assert status == 0, error
    bundles = ("weights", "in", "shortcut", "out")
    drawn = connections(commands, "connect_bd_intf_net")
    for port, bundle in enumerate(bundles):
        assert (f"sbfp_engine_0/m_axi_gmem_{bundle}", f"ps/S_AXI_HP{port}_FPD") in drawn
    converters = [c[-1] for c in commands if c[0] == "create_bd_cell" and "smartconnect" in c[-2]]
    assert converters == ["registers"]


@pytest.mark.parametrize("engine, port", [(64, 128), (256, 128), (128, 64)])
def test_other_widths_take_one_converter_each(tmp_path, engine, port):
    values = {**vivado_values(tmp_path), "ENGINE_BITS": engine, "MEMORY_PORT_BITS": port}
    status, commands, error = run_vivado(tmp_path, values)
    assert status == 0, error
    drawn = connections(commands, "connect_bd_intf_net")
    for at, bundle in enumerate(("weights", "in", "shortcut", "out")):
        assert (f"sbfp_engine_0/m_axi_gmem_{bundle}", f"memory_{bundle}/S00_AXI") in drawn
        assert (f"memory_{bundle}/M00_AXI", f"ps/S_AXI_HP{at}_FPD") in drawn
    converters = [c[-1] for c in commands if c[0] == "create_bd_cell" and "smartconnect" in c[-2]]
    assert converters == ["registers", "memory_weights", "memory_in", "memory_shortcut", "memory_out"]


def reported(tmp_path) -> dict[str, str]:
    lines = (tmp_path / "out" / "implementation.txt").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_preset_that_fixes_the_clock_is_overridden(tmp_path):
    status, commands, error = run_vivado(tmp_path, FIXED_CLOCK=1)
    assert status == 0, error
    assert reported(tmp_path)["clock_mhz"] == "249.997500"
    settings = [c[1] for c in commands if c[0] == "set_property"]
    assert settings.index("CONFIG.PSU__OVERRIDE__BASIC_CLOCK") < settings.index("-dict")  # before the clock is asked for


@pytest.mark.parametrize("clock", ["100.0", "240", "", "fast"])
def test_a_clock_that_is_not_given_is_a_sentence(tmp_path, clock):
    status, commands, error = run_vivado(tmp_path, SAYS_MHZ=clock)
    assert status == 1
    assert error == f"ERROR: the processing system gives a clock of '{clock}' MHz where 250 MHz was asked for\n"
    assert "launch_runs" not in [c[0] for c in commands]


@pytest.mark.parametrize(
    "installed, taken",
    [
        ("avnet.com:ultra96v2:part0:1.2", "avnet.com:ultra96v2:part0:1.2"),
        ("avnet.com:ultra96v2:part0:1.9 avnet.com:ultra96v2:part0:1.10", "avnet.com:ultra96v2:part0:1.10"),
        ("avnet.com:ultra96v2:part0:1.0 em.avnet.com:ultra96v2:part0:1.2", "em.avnet.com:ultra96v2:part0:1.2"),
        ("Avnet-tria:Ultra96v2:part0:1.3 avnet.com:ultra96v2:part0:1.2", "Avnet-tria:Ultra96v2:part0:1.3"),
        ("avnet.com:ultra96v1:part0:1.9 em.avnet.com:ultra96v2:part0:1.1", "em.avnet.com:ultra96v2:part0:1.1"),
    ],
)
def test_the_newest_board_files_are_taken_whoever_the_vendor_is(tmp_path, installed, taken):
    status, commands, error = run_vivado(tmp_path, BOARD_PARTS=installed)
    assert status == 0, error
    assert ["set_property", "board_part", taken, "project"] in commands and reported(tmp_path)["board_part"] == taken
    assert not [c for c in commands if c[0].startswith("xhub::")]  # the store is asked where there are none


def test_board_files_that_are_missing_come_from_the_store(tmp_path):
    store = "digilentinc.com:xilinx_board_store:zybo:1.0 avnet-tria:xilinx_board_store:Ultra96v2:1.3"
    fake = dict(BOARD_PARTS="", STORE=store, STORE_BOARDS="avnet-tria:ultra96v2:part0:1.3")
    status, commands, error = run_vivado(tmp_path, **fake)
    assert status == 0, error
    assert ["xhub::install", "avnet-tria:xilinx_board_store:Ultra96v2:1.3"] in commands
    assert ["set_param", "board.repoPaths", "/store"] in commands
    assert reported(tmp_path)["board_part"] == "avnet-tria:ultra96v2:part0:1.3"


def test_a_modules_carrier_comes_from_the_store_with_it(tmp_path):
    values = {
        **vivado_values(tmp_path),
        "BOARD_PART": "xilinx.com:kv260_som:part0",
        "BOARD_CONNECTIONS": "som240_1_connector xilinx.com:kv260_carrier:som240_1_connector:1.3",
    }
    items = ["xilinx.com:xilinx_board_store:kv260_som:1.4", "xilinx.com:xilinx_board_store:kv260_carrier:1.3"]
    fake = dict(BOARD_PARTS="", STORE=" ".join([*items, "x:y:other:1"]), STORE_BOARDS="xilinx.com:kv260_som:part0:1.4")
    status, commands, error = run_vivado(tmp_path, values, **fake)
    assert status == 0, error
    assert ["xhub::install", " ".join(items)] in commands


@pytest.mark.parametrize(
    "fake, reason",
    [
        ({}, "the board store has none of them"),
        ({"STORE_FAILS": "no route\nto github.com"}, "no route to github.com"),
        ({"STORE_NAME": ""}, "there is no board store"),
        ({"STORE": "avnet.com:xilinx_board_store:ultra96v2:1.2"}, "what the board store has was installed, and is not found"),
    ],
)
def test_board_files_that_are_nowhere_are_a_sentence(tmp_path, fake, reason):
    status, commands, error = run_vivado(tmp_path, BOARD_PARTS="avnet.com:ultra96v1:part0:1.2", **fake)
    names = "avnet.com:ultra96v2:part0 or em.avnet.com:ultra96v2:part0 or avnet-tria:ultra96v2:part0"
    assert status == 1 and error == (
        f"ERROR: board files {names} are not installed ({reason}); add them with Vivado's Tools > Vivado Store > Boards, "
        "or put their vendor's into board.repoPaths\n"
    )


@pytest.mark.parametrize(
    "first, second, taken",
    [
        ("-0.2 0.01", "0.05 0.01", 2),
        ("-0.2 0.01", "-0.1 0.01", 2),
        ("-0.1 0.01", "-0.2 0.01", 1),
        ("0.1 -0.01", "-0.2 0.01", 2),  # a lower clock mends setup, nothing mends hold
        ("-0.5 0.01", "0.1 -0.01", 1),
        ("-0.5 -0.02", "-0.4 -0.01", 2),
    ],
)
def test_a_miss_gets_one_strategy_more_and_the_better_run_is_taken(tmp_path, first, second, taken):
    status, commands, error = run_vivado(tmp_path, SLACKS_IMPL_1=first, SLACKS_IMPL_2=second)
    assert status == 0, error
    assert [c[1] for c in commands if c[0] == "launch_runs"] == ["synth_1", "impl_1", "impl_2"]
    assert ["set_property", "strategy", "Performance_ExplorePostRoutePhysOpt", "impl_2"] in commands
    found, (setup, hold) = reported(tmp_path), (first, second)[taken - 1].split()
    assert (found["setup_ns"], found["hold_ns"]) == (setup, hold)
    assert found["strategy"].startswith("Performance" if taken == 2 else "Vivado")
    assert (tmp_path / "out" / "toy.bit").read_text() == f"bits of impl_{taken}"
    assert ["open_run", f"impl_{taken}"] in commands


@pytest.mark.parametrize(
    "fake, message",
    [
        ({"STOPS": "impl_1"}, "run impl_1 stopped: place_design ERROR"),
        ({"STOPS": "synth_1"}, "run synth_1 stopped: place_design ERROR"),
        ({"STOPS": "impl_2", "SLACKS_IMPL_1": "-1 0"}, "run impl_2 stopped: place_design ERROR"),
        ({"SLACKS_IMPL_1": ""}, "run impl_1 reports no slack: STATS.WNS is ''"),
        ({"SOURCES": "elsewhere"}, "no .hwh below"),
        ({"NO_BIT": "1"}, "error copying"),
    ],
)
def test_vivado_script_stops_with_a_sentence(tmp_path, fake, message):
    status, _, error = run_vivado(tmp_path, **fake)
    assert status == 1 and error.startswith(f"ERROR: {message}") and error.count("\n") == 1
    assert not (tmp_path / "out" / "toy.bit").exists()


def test_a_processing_system_with_too_few_ports_is_a_sentence(tmp_path):
    status, _, error = run_vivado(tmp_path, {**vivado_values(tmp_path), "MEMORY_PORTS": 2})
    assert status == 1
    assert error == "ERROR: the engine has 4 memory interfaces, this board's processing system 2 ports\n"
