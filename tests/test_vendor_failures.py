"""The vendor flow where a tool, a report or a request is not right: one sentence, the package as it was.

Everything else: test_vendor.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from support import toy_board as toy
from support.boards import BOARD
from support.vendor_reports import cosim_rpt
from support.vendor_tools import bitstream, cosim, csynth, generated, needs_tclsh, package, processes_with, Tools

from bfp.errors import BfpError
from codegen.performance.board import board_names, load_board
from codegen.vendor import build as vendor
from codegen.vendor import implement, process
from codegen.vendor import tools as probing
from codegen.vendor.__main__ import main
from codegen.vendor.request import check_paths, FlowOptions
from codegen.vendor.results import read_results

pytestmark = needs_tclsh
KINDS = ("vitis_hls", "vitis-run", "v++")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    return Tools(tmp_path, monkeypatch)


@pytest.fixture
def network(tmp_path):
    return generated(tmp_path / "toy")


@pytest.mark.parametrize("kind", (*KINDS, "vivado"))
@pytest.mark.parametrize(
    "fake, sentence",
    [
        ({"version": "2021.2"}, "{kind} 2021.2 is too old: the sources need 2022.1 or later; install that"),
        ({"version": "2019.1.3"}, "{kind} 2019.1.3 is too old"),
        ({"says_version": "hello"}, "ersion` names no version, it says 'hello'; try it by hand"),
        ({"says_version": "built 12022.10 on 3.2022.1"}, "names no version"),
        ({"says_version": ""}, "names no version, it says 'nothing'"),
        ({"hang_version": "vitis_hls vitis-run v++ vivado"}, "did not end within 0.5 s; try it by hand"),
    ],
)
def test_a_version_is_read_for_the_floor(tools, monkeypatch, kind, fake, sentence):
    if "hang_version" in fake:  # others have the time that a busy machine takes to start a program
        monkeypatch.setattr(probing, "VERSION_TIMEOUT_S", 0.5)
    tools.install(kind)
    tools.tell(**fake)
    with pytest.raises(BfpError) as error:
        probing.find_vivado() if kind == "vivado" else probing.find_hls()
    assert sentence.format(kind=kind) in str(error.value) and "\n" not in str(error.value)
    assert not tools.calls


def test_asking_for_a_version_leaves_nothing_where_it_runs(tools, tmp_path, monkeypatch):
    """Some programs write a log into the folder that they are started in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    program = tools.folder / "vivado"
    program.write_text("#!/bin/sh\necho log > vivado.log\necho Vivado v2022.1\n")
    program.chmod(0o755)
    assert probing.find_vivado().version == "2022.1" and not list(folder.iterdir())


def test_a_program_that_cannot_be_run_is_a_sentence(tools, network):
    program = tools.folder / "vitis_hls"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o755)
    with pytest.raises(BfpError, match="vitis_hls cannot be run .*install it again"):
        csynth(network)


@pytest.mark.parametrize(
    "installed, missing",
    [([], "Vitis HLS"), (["vitis_hls"], "Vivado"), (["vivado"], "Vitis HLS"), (["vitis-run"], "Vivado")],
)
def test_missing_tools_are_named_before_anything_runs(tools, network, installed, missing):
    tools.install(*installed)
    with pytest.raises(BfpError, match=f"{missing} is not installed or not on PATH"):
        bitstream(network)
    assert not tools.calls


def steps_of(program):
    """What a program's failure stops, and its log."""
    return (bitstream, "implementation.log") if program == "vivado" else (csynth, "csynth.log")


@pytest.mark.parametrize("program", (*KINDS, "vivado"))
def test_a_failing_tool_is_reported_with_its_first_error(tools, network, program, capsys):
    tools.install(*({program} | ({"vitis_hls"} if program == "vivado" else set())), "vivado")
    tools.tell(fail=program)
    before = package(network)
    step, name = steps_of(program)
    with pytest.raises(BfpError) as error:
        step(network)
    log = network / "vendor" / name
    assert str(error.value) == f"{program} failed with status 1: ERROR: [{program} 42] no licence; the log is {log}"
    lines = log.read_text().splitlines()
    assert lines[0] == "The first error stands in line 2 of what the program said:"
    assert lines[1:4] == ["       1  INFO: starting", f">      2  ERROR: [{program} 42] no licence", "       3  ERROR: later"]
    assert lines[5:] == ["INFO: starting", f"ERROR: [{program} 42] no licence", "ERROR: later"]
    assert f">      2  ERROR: [{program} 42] no licence" in capsys.readouterr().err
    assert package(network) == before
    tools.tell(fail="")
    step(network)  # and what failed is not taken for done


@pytest.mark.parametrize("number", [11, 9])
@pytest.mark.parametrize("program", (*KINDS, "vivado"))
def test_a_crash_without_a_word_is_reported(tools, network, program, number):
    tools.install(*({program} | ({"vitis_hls"} if program == "vivado" else set())), "vivado")
    tools.tell(crash=program, signal=number)
    step, name = steps_of(program)
    before = package(network)
    sentence = rf"{program.replace('+', '.')} failed with status -{number}: no message; the log is .*{name}"
    with pytest.raises(BfpError, match=sentence):
        step(network)
    assert package(network) == before and not vendor.is_current("bitstream", network, BOARD, FlowOptions())


@pytest.mark.parametrize("program", (*KINDS, "vivado"))
def test_a_hanging_tool_is_ended_with_all_that_it_started(tools, network, program):
    tools.install(*({program} | ({"vitis_hls"} if program == "vivado" else set())), "vivado")
    tools.tell(hang=program)
    before, (step, name) = package(network), steps_of(program)
    started = time.monotonic()
    with pytest.raises(BfpError) as error:
        step(network, hours=1.2 / 3600)
    assert time.monotonic() - started < 30
    said = f"{program} did not end within 0.0003333 hours and was stopped"
    said += f" (it said ERROR: [{program} 7] waiting for a licence)"
    assert str(error.value) == f"{said}; the log is {network / 'vendor' / name}; timeout=HOURS gives it longer"
    assert package(network) == before
    until = time.monotonic() + 10  # a process that is ended takes a moment to go
    while processes_with(tools.log) and time.monotonic() < until:
        time.sleep(0.05)
    assert not processes_with(tools.log)


@pytest.mark.parametrize("program", (*KINDS, "vivado"))
def test_a_tool_that_ends_well_without_results_is_a_sentence(tools, network, program):
    tools.install(*({program} | ({"vitis_hls"} if program == "vivado" else set())), "vivado")
    tools.tell(nothing=program)
    before, (step, _) = package(network), steps_of(program)
    with pytest.raises(BfpError, match="HLS ended without a report csynth.xml below|Vivado ended without .*toy.bit; see"):
        step(network)
    assert package(network) == before and not vendor.is_current("bitstream", network, BOARD, FlowOptions())


def test_results_of_an_earlier_run_are_not_taken(tools, network):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    generated(network, "constexpr int another = 1;")
    before = package(network)
    tools.tell(no_ip=1)
    with pytest.raises(BfpError, match="HLS ended without an exported IP below .*; see .*csynth.log"):
        bitstream(network)
    tools.monkeypatch.delenv("FAKE_NO_IP")
    tools.tell(csynth="")
    with pytest.raises(BfpError, match="HLS ended without a report csynth.xml below"):
        bitstream(network)
    assert read_results(network).csynth is None and read_results(network).implementation is None
    assert package(network) == before


@pytest.mark.parametrize(
    "fake, sentence",
    [
        ({"ip": "other_0"}, "has no IP 'sbfp_engine_0', so the driver could not find the engine"),
        ({"no_bit": "1"}, "vivado failed with status 1: ERROR: error copying"),
        ({"utilisation": "| CLB LUTs | 3 |"}, "utilization.rpt has no row 'DSPs'; it is truncated, or of a version"),
        ({"utilisation": "nonsense"}, "utilization.rpt has no row"),
        ({"sources": "elsewhere"}, "ERROR: no .hwh below"),
        ({"stops": "impl_1"}, "ERROR: run impl_1 stopped: place_design ERROR"),
        ({"says_mhz": "100"}, "ERROR: the processing system gives a clock of '100' MHz where 250 MHz was asked for"),
        ({"board_parts": ""}, "are not installed \\(the board store has none of them\\); add them with Vivado's"),
        ({"slacks_impl_1": "0.2 -0.011"}, "toy misses its hold time by 0.012 ns, which no lower clock mends"),
        ({"slacks_impl_1": "nan 0"}, "STATS.WNS is 'nan'|which is no number"),
    ],
)
def test_whatever_vivado_leaves_that_is_not_right_is_refused(tools, network, fake, sentence):
    tools.install("vitis_hls", "vivado")
    tools.tell(slacks_impl_2="0.2 -0.012", **fake)
    before = package(network)
    with pytest.raises(BfpError, match=sentence) as error:
        bitstream(network)
    assert "\n" not in str(error.value) and package(network) == before
    assert not vendor.is_current("bitstream", network, BOARD, FlowOptions())


def truncated(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    "change", [lambda _: "", truncated, lambda _: "<EDKSYSTEM/>", lambda text: text.replace("ACT_FREQMHZ", "F")]
)
def test_a_damaged_handoff_is_refused(tools, network, monkeypatch, change):
    tools.install("vitis_hls", "vivado")
    real = process.run

    def damage(command):
        real(command)
        if command.name == "vivado":
            handoff = network / "vendor" / "out" / "toy.hwh"
            handoff.write_text(change(handoff.read_text()))

    monkeypatch.setattr(implement, "run", damage)
    before = package(network)
    sentence = "ended without|is no hardware handoff|has no IP|has no parameter PSU__CRL_APB"
    with pytest.raises(BfpError, match=sentence) as error:
        bitstream(network)
    assert "\n" not in str(error.value) and package(network) == before


def test_a_handoff_with_another_clock_is_refused(tools, network, monkeypatch):
    tools.install("vitis_hls", "vivado")
    monkeypatch.setattr(implement, "run", lambda command: (process.run(command), other_clock(network)))
    with pytest.raises(BfpError, match="toy.hwh has a clock of '100.0' MHz, Vivado reported 249.998; build it again"):
        bitstream(network)


def other_clock(network):
    path = network / "vendor" / "out" / "toy.hwh"
    if path.is_file():
        path.write_text(path.read_text().replace('ACT_FREQMHZ" VALUE="249.997500"', 'ACT_FREQMHZ" VALUE="100.0"'))


@pytest.mark.parametrize(
    "report, sentence",
    [
        (cosim_rpt("Fail"), "co-simulation of the Verilog did not pass, its report .* says Fail"),
        (cosim_rpt("NA"), "has no row of a simulation that ran; it is truncated"),
        (cosim_rpt()[:150], "has no row of a simulation that ran; it is truncated"),
        (cosim_rpt(most="many"), "has a latency 'many', which is no count"),
        ("", "has no row of a simulation that ran"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cosimulation_that_did_not_pass_is_refused(tools, network, kind, report, sentence):
    tools.install(kind, "vitis-run")
    tools.cosim(report)
    with pytest.raises(BfpError, match=sentence) as error:
        cosim(network, tool=kind)
    assert "\n" not in str(error.value) and read_results(network).cosim is None
    assert not vendor.is_current("cosim", network, BOARD, FlowOptions(tool=kind))


def test_a_deadlock_is_the_first_error(tools, network, capsys):
    tools.install("vitis_hls")
    tools.tell(cosim_stops="// ERROR!!! DEADLOCK DETECTED at 1234000 ns! SIMULATION WILL BE STOPPED! //")
    with pytest.raises(BfpError, match="vitis_hls failed with status 1: // ERROR!!! DEADLOCK DETECTED at 1234000 ns!"):
        cosim(network)
    assert "DEADLOCK" in (network / "vendor" / "cosim.log").read_text().splitlines()[1]


def test_cosim_of_a_component_needs_its_simulator(tools, network):
    tools.install("v++")
    with pytest.raises(BfpError, match="The co-simulation of Vitis HLS is not installed .*looked for vitis-run"):
        cosim(network)
    assert not tools.calls


def test_bad_requests_are_refused(tools, network, tmp_path):
    tools.install("v++", "vivado")
    with pytest.raises(BfpError, match="clock of 0 MHz"):
        bitstream(network, replace(BOARD, clock_mhz=0))
    with pytest.raises(BfpError, match="holds no generated network; run `doit codegen board=zcu104` first"):
        bitstream(tmp_path / "nothing", load_board("zcu104"))
    with pytest.raises(BfpError, match="generated for Ultra96-V2 at 250 MHz, not for KV260 at 250 MHz; run `doit"):
        bitstream(network, load_board("kv260"))
    with pytest.raises(BfpError, match="generated for Ultra96-V2 at 250 MHz, not for Ultra96-V2 at 214.286 MHz"):
        csynth(network, load_board("ultra96v2", 214.3))
    old = generated(tmp_path / "old")
    toy.edit(old / "deploy", lambda data: data.update(schema=3))
    with pytest.raises(BfpError, match="has schema 3, this version reads 9; run `doit codegen board=ultra96v2`"):
        bitstream(old)
    (old / "deploy" / "manifest.json").write_text("{")
    with pytest.raises(BfpError, match="manifest.json is damaged or no JSON .*; run `doit codegen"):
        bitstream(old)
    with pytest.raises(BfpError, match="block design is for Zynq UltraScale"):
        bitstream(tmp_path, load_board("pynq_z2"))
    assert not tools.calls


@pytest.mark.parametrize("stray", [" ", "\t", "\n", "$", "'", '"', "\\", "#", ";", "(", "[", "{", "%", "ü", "|", "&", "*"])
def test_paths_that_the_tools_take_apart_are_refused(stray, tmp_path):
    with pytest.raises(BfpError, match="the vendor's tools cannot take .* in the path") as error:
        check_paths(tmp_path / f"my{stray}net")
    assert "\n" not in str(error.value)
    check_paths(tmp_path / "my-net_2.0+x@y=z,~")


@pytest.mark.parametrize("command", ["csynth", "cosim", "bitstream"])
def test_command_line_fails_in_one_sentence_without_the_tools(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setenv("PATH", str(tmp_path))
    network = generated(tmp_path / "toy")
    assert main([command, str(network)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("error: Vitis HLS is not installed")
    assert main([command, str(network), "--board", "zcu99"]) == 2
    assert capsys.readouterr().err == "error: board 'zcu99' is not known; give one of kv260, pynq_z2, ultra96v2, zcu104\n"


@pytest.mark.parametrize("option, word", [(o, w) for o in ("timeout", "jobs") for w in ("0", "-1", "nan", "inf", "soon", "")])
def test_command_line_refuses_numbers_that_are_none(tmp_path, capsys, option, word):
    assert main(["csynth", str(tmp_path), f"--{option}={word}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {option} {word!r} is no ")


def test_vendor_json_that_is_damaged_is_made_again(tools, network):
    tools.install("vitis_hls")
    csynth(network)
    path = network / "vendor.json"
    data = json.loads(path.read_text())
    for damage in ("", "{", "[]", json.dumps({**data, "schema": 0}), json.dumps({**data, "csynth": {"inputs": 3}})):
        path.write_text(damage)
        assert read_results(network) is None and not vendor.is_current("csynth", network, BOARD, FlowOptions())
    csynth(network)
    assert json.loads(path.read_text()) == data and len(tools.calls) == 2
