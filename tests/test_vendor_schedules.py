"""Schedule reports: what is read from them, what they add to csynth.xml, and what of them stops a build."""

from __future__ import annotations

import re

import pytest
from support.boards import BOARD
from support.vendor_reports import TARGETS, csynth_xml, schedule_rpt, written
from support.vendor_tools import MODEL, Tools, bitstream, csynth, generated, needs_tclsh, package

from bfp.errors import BfpError
from codegen.generate import generate
from codegen.lint import parse
from codegen.lint.artifacts import widest_artifact
from codegen.lint.run import HLS, TOP
from codegen.options import EngineOptions
from codegen.vendor import checks
from codegen.vendor.reports import read_csynth
from codegen.vendor.results import Loop, read_results
from codegen.vendor.schedules import Schedule, find_schedules, read_schedule, slow_modules, with_schedules

# In the form of 2023.2: loops inside others, a long name, counts that are not known.
NESTED = """

================================================================
== Vitis HLS Report for 'store_rows'
================================================================
* Version:        2023.2 (Build 4023990 on Oct 11 2023)

================================================================
== Performance Estimates
================================================================
+ Timing: 
    * Summary: 
    +--------+----------+----------+------------+
    |  Clock |  Target  | Estimated| Uncertainty|
    +--------+----------+----------+------------+
    |ap_clk  |  10.00 ns|  6.047 ns|     2.70 ns|
    +--------+----------+----------+------------+

+ Latency: 
    + Detail: 
        * Instance: 
        +----------------------------------+---------------------------+---------+---------+
        |grp_store_rows_Pipeline_A_fu_154  |store_rows_Pipeline_A      |       27|       27|
        +----------------------------------+---------------------------+---------+---------+

        * Loop: 
        +-------------------------+---------+------------+----------+-----------+-----------+---------+----------+
        |                         |   Latency (cycles)   | Iteration|  Initiation Interval  |   Trip  |          |
        |        Loop Name        |   min   |    max     |  Latency |  achieved |   target  |  Count  | Pipelined|
        +-------------------------+---------+------------+----------+-----------+-----------+---------+----------+
        |- ROWS                   |      496|  4651106065|  495 ~ 15|          -|          -|  1 ~ 304|        no|
        | + PARTS                 |        ?|           ?|         ?|          -|          -|        ?|        no|
        |  ++ WORDS_AND_MORE      |    38835|       38835|        12|          3|          1|       15|       yes|
        |- REST                   |      128|         128|         2|          1|          2|      128|       yes|
        +-------------------------+---------+------------+----------+-----------+-----------+---------+----------+

================================================================
== Utilization Estimates
================================================================
* Summary: 
+-----------------+---------+------+--------+--------+-----+
|       Name      | BRAM_18K|  DSP |   FF   |   LUT  | URAM|
+-----------------+---------+------+--------+--------+-----+
"""


def test_a_recorded_schedule_is_read(tmp_path):
    schedule = read_schedule(written(tmp_path, NESTED, "store_rows_csynth.rpt"))
    assert (schedule.module, schedule.target_ns, schedule.estimated_ns) == ("store_rows", 10.0, 6.047)
    assert schedule.loops == (
        Loop("ROWS", "store_rows", (1, 304), (496, 4651106065)),
        Loop("PARTS", "store_rows"),
        Loop("WORDS_AND_MORE", "store_rows", (15, 15), (38835, 38835), 3, aimed_ii=1),
        Loop("REST", "store_rows", (128, 128), (128, 128), 1, aimed_ii=2),
    )


def test_a_module_without_loops_has_none(tmp_path):
    assert read_schedule(written(tmp_path, schedule_rpt("step"), "s.rpt")).loops == ()


GOOD = schedule_rpt("conv", [("- CONV_CYCLES", "1", "1")])


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda text: "", "names no module in its title"),
        (lambda text: text.replace("Vitis HLS Report", "Report"), "names no module in its title"),
        (lambda text: text.replace("'conv'", "'a | b'"), "names no module in its title"),
        (lambda text: text.replace("4.00 ns", "4.00"), "has no row of a clock"),
        (lambda text: text.replace("2.920 ns", "? ns"), "has no row of a clock"),
        (lambda text: text[: text.index("* Loop:")], "has no table of loops"),
        (lambda text: text[: text.index("|- CONV")], "has a table of loops that does not end"),
        (lambda text: text[: text.index("|- CONV") + 30], "has a table of loops with a line '|- CONV_CYCLES"),
        (lambda text: text.replace("achieved", "reached "), "has a table of loops with a line"),
        (lambda text: text.replace("- CONV_CYCLES", "- a $ b      "), "names a loop 'a $ b'"),
        (lambda text: text.replace("          1|          1|", "        one|          1|"), "has the II of CONV_CYCLES 'one'"),
        (lambda text: text.replace("          1|          1|", "          1|         -1|"), "has the II of CONV_CYCLES '-1'"),
    ],
)
def test_schedules_that_cannot_be_read_are_a_sentence(tmp_path, change, sentence):
    with pytest.raises(BfpError, match=re.escape(sentence)) as error:
        read_schedule(written(tmp_path, change(GOOD), "conv.verbose.sched.rpt"))
    assert str(error.value).endswith("it is truncated, or of a version of the tools that is not known")
    assert "\n" not in str(error.value)


def test_schedules_are_found_where_a_version_puts_them(tmp_path):
    with pytest.raises(BfpError, match="HLS ended without a schedule report .* below .*; see x.log"):
        find_schedules(tmp_path, "x.log")
    documented = tmp_path / "engine" / "hls" / "syn" / "report"
    documented.mkdir(parents=True)
    for name in ("conv_csynth.rpt", "csynth.rpt"):  # the second is a summary of all modules
        (documented / name).write_text(GOOD)
    assert find_schedules(tmp_path, "x.log") == [documented / "conv_csynth.rpt"]
    own = tmp_path / "engine" / "hls" / ".autopilot" / "db"
    own.mkdir(parents=True)
    (own / "conv.verbose.sched.rpt").write_text(GOOD)
    assert find_schedules(tmp_path, "x.log") == [own / "conv.verbose.sched.rpt"]


def scheduled(*loops: Loop, estimated=2.9, module="m") -> Schedule:
    return Schedule(module, 4.0, estimated, loops)


def test_schedules_add_to_the_loops_of_csynth():
    """What was aimed at; of two IIs the greater; loops that csynth.xml does not name."""
    loops = [Loop("A", "m", (1, 2), (3, 4), 1, None, 5), Loop("B", "m", ii=None), Loop("A", "n", ii=1)]
    joined = with_schedules(
        loops,
        [scheduled(Loop("A", "m", ii=2, aimed_ii=1), Loop("B", "m", ii=1, aimed_ii=1), Loop("C", "m", ii=7, aimed_ii=1))],
    )
    assert joined == (
        Loop("A", "m", (1, 2), (3, 4), 2, None, 5, 1),
        Loop("B", "m", ii=1, aimed_ii=1),
        Loop("A", "n", ii=1),
        Loop("C", "m", ii=7, aimed_ii=1),
    )
    twice = with_schedules([Loop("A", "m", ii=1)], [scheduled(Loop("A", "m", ii=3, aimed_ii=1), Loop("A", "m", ii=1))])
    assert twice == (Loop("A", "m", ii=3, aimed_ii=1),)


def test_the_slowest_module_comes_first():
    modules = [scheduled(module=name, estimated=e) for name, e in (("a", 4.0), ("b", 4.2), ("c", 5.0), ("d", 4.2))]
    assert slow_modules(modules) == ("c", "b", "d")


def test_every_loop_that_is_not_unrolled_bears_a_label(tmp_path):
    """So that a report's loop without one of the labels is not the engine's."""
    generate([widest_artifact()], EngineOptions(16, 8, 5), BOARD, tmp_path)
    kernel = parse(HLS / "engine.cpp", [HLS, HLS / "synth", tmp_path / "generated"], TOP)
    loops = [loop for loop in kernel.loops if loop.pragma("UNROLL") is None]
    assert len(loops) >= len(TARGETS) > 20
    for loop in loops:
        place = loop.cursor.location
        before = kernel.sources[place.file.name].split("\n")[place.line - 2]
        assert checks.LABEL.match(before), f"{place.file}:{place.line}"


@pytest.mark.parametrize(
    "loops, slow, findings",
    [
        ([("CONV_CYCLES", "1", "1")], (), []),
        ([("CONV_CYCLES", "2", "1")], (), ["loop CONV_CYCLES in m has II=2, its pragma asks for II=1"]),
        ([("CONV_CYCLES", "1", "3")], (), ["loop CONV_CYCLES in m was scheduled for II=3, its pragma asks for II=1"]),
        ([("CONV_CYCLES1", "2", "1")], (), ["loop CONV_CYCLES1 in m has II=2, its pragma asks for II=1"]),
        ([("STORE_TURNS1_STORE_PARTS_2_STORE_BURST", "2", "1")], (), ["loop STORE_TURNS1_STORE_PARTS_2_STORE_BURST in m has II=2"]),
        ([("VITIS_LOOP_33_1", "1", "1")], (), []),
        ([("VITIS_LOOP_33_1", "4", "1")], (), ["loop VITIS_LOOP_33_1 in m has II=4, and bears no label of the sources"]),
        ([("TILES", "-", "-")], (), []),
        ([], ("conv_pass", "store"), ["the estimated clock of conv_pass and 1 more modules is above the target"]),
        ([], ("conv_pass",), ["the estimated clock of conv_pass is above the target"]),
    ],
)
def test_what_a_schedule_must_show(tmp_path, loops, slow, findings):
    report = read_csynth(written(tmp_path, csynth_xml()))
    path = written(tmp_path, schedule_rpt("m", [(f"- {name}", *iis) for name, *iis in loops]), "m.rpt")
    joined = checks.with_targets(with_schedules(report.loops, [read_schedule(path)]), TARGETS)
    said = checks.findings(report, joined, TARGETS, slow, MODEL)
    assert len(said) == len(findings) and all(s.startswith(p) for p, s in zip(findings, said)), said


@needs_tclsh
@pytest.mark.parametrize("kind", ["vitis_hls", "vitis-run", "v++"])
def test_a_schedule_stops_the_build_where_csynth_says_nothing(tmp_path, monkeypatch, kind):
    tools, network = Tools(tmp_path, monkeypatch), generated(tmp_path / "toy")
    tools.install(kind, "vivado")
    module = "conv_cycles_Pipeline_CONV_CYCLES"
    tools.csynth(csynth_xml(), {module: schedule_rpt(module, [("- CONV_CYCLES", "1", "2")], estimated="4.100")})
    before = package(network)
    with pytest.raises(BfpError, match=f"loop CONV_CYCLES in {module} was scheduled for II=2, .* \\(and 1 more\\)"):
        bitstream(network, tool=kind)
    assert package(network) == before and [name for name, _, _ in tools.calls] == [kind]
    assert f"- the estimated clock of {module} is above the target" in (network / "vendor.md").read_text()
    assert read_results(network).csynth.loops[-2].aimed_ii == 2
    assert f"| CONV_CYCLES | {module} | 1 to 256 | 12 to 267 | 1 | 1 | 2 | 12 |" in (network / "vendor.md").read_text()
    bitstream(network, tool=kind, force=True)


@needs_tclsh
def test_a_synthesis_without_schedules_or_with_damaged_ones_is_refused(tmp_path, monkeypatch):
    tools, network = Tools(tmp_path, monkeypatch), generated(tmp_path / "toy")
    tools.install("vitis_hls")
    tools.csynth(csynth_xml(), {})
    with pytest.raises(BfpError, match="HLS ended without a schedule report"):
        csynth(network)
    tools.csynth(csynth_xml(), {"conv": GOOD[: GOOD.index("|- CONV") + 30]})
    with pytest.raises(BfpError, match="conv.verbose.sched.rpt has a table of loops with a line .*; it is truncated"):
        csynth(network)
    assert read_results(network).csynth is None
