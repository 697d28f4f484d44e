"""Reports in the vendor's recorded form: what is read from them, what a synthesis must show, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.boards import BOARD
from support.vendor_reports import TARGETS, cosim_rpt, csynth_xml, written
from support.vendor_tools import MODEL

from bfp.errors import BfpError
from codegen.identity import HLS, engine_sources
from codegen.performance.ranges import Area, Part, Range, Resource
from codegen.vendor import checks
from codegen.vendor.process import first_error
from codegen.vendor.reports import read_cosim, read_csynth, read_implementation, read_utilisation
from codegen.vendor.results import Loop, Resources

# In the form of Vitis HLS 2023.2 for a design whose top has loops that call pipelined ones (ranges, ~, violations).
RECORDED = """<profile>
    <ReportVersion><Version>2023.2</Version></ReportVersion>
    <UserAssignments>
        <unit>ns</unit><ProductFamily>zynq</ProductFamily><Part>xc7z020-clg400-1</Part><TopModelName>main</TopModelName>
        <TargetClockPeriod>5.00</TargetClockPeriod><ClockUncertainty>1.35</ClockUncertainty><FlowTarget>vivado</FlowTarget>
    </UserAssignments>
    <PerformanceEstimates>
        <PipelineType>no</PipelineType>
        <SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>5.001</EstimatedClockPeriod></SummaryOfTimingAnalysis>
        <SummaryOfOverallLatency>
            <unit>clock cycles</unit>
            <Best-caseLatency>24773</Best-caseLatency><Average-caseLatency>28613</Average-caseLatency>
            <Worst-caseLatency>32709</Worst-caseLatency><Interval-min>24774</Interval-min><Interval-max>32710</Interval-max>
        </SummaryOfOverallLatency>
        <SummaryOfLoopLatency>
            <VITIS_LOOP_45_3>
                <Slack>3.65</Slack><TripCount>32</TripCount>
                <Latency><range><min>11360</min><max>15328</max></range></Latency>
                <IterationLatency><range><min>355</min><max>479</max></range></IterationLatency><InstanceList/>
            </VITIS_LOOP_45_3>
        </SummaryOfLoopLatency>
        <SummaryOfViolations>
            <IssueType>-</IssueType>
            <SummaryOfLoopViolations><VITIS_LOOP_45_3><Name>VITIS_LOOP_45_3</Name></VITIS_LOOP_45_3></SummaryOfLoopViolations>
        </SummaryOfViolations>
    </PerformanceEstimates>
    <AreaEstimates>
        <Resources><BRAM_18K>124</BRAM_18K><DSP>131</DSP><FF>45894</FF><LUT>35642</LUT><URAM>0</URAM></Resources>
        <AvailableResources><BRAM_18K>280</BRAM_18K><DSP>220</DSP><FF>106400</FF><LUT>53200</LUT><URAM>0</URAM></AvailableResources>
    </AreaEstimates>
    <ModuleInformation>
        <Module>
            <Name>main_Pipeline_VITIS_LOOP_47_4</Name>
            <Loops><VITIS_LOOP_47_4/></Loops>
            <PerformanceEstimates>
                <SummaryOfTimingAnalysis><TargetClockPeriod>5.00</TargetClockPeriod></SummaryOfTimingAnalysis>
                <SummaryOfLoopLatency>
                    <VITIS_LOOP_47_4>
                        <Name>VITIS_LOOP_47_4</Name><Slack>3.65</Slack>
                        <TripCount><range><min>1</min><max>32</max></range></TripCount>
                        <Latency>349 ~ 473</Latency><AbsoluteTimeLatency>1.745 us ~ 2.365 us</AbsoluteTimeLatency>
                        <PipelineII>4</PipelineII><PipelineDepth>350</PipelineDepth><PipelineType>yes</PipelineType>
                        <InstanceList/>
                    </VITIS_LOOP_47_4>
                </SummaryOfLoopLatency>
            </PerformanceEstimates>
        </Module>
    </ModuleInformation>
</profile>
"""


def test_a_recorded_report_is_read(tmp_path):
    report = read_csynth(written(tmp_path, RECORDED))
    assert (report.version, report.top, report.part) == ("2023.2", "main", "xc7z020-clg400-1")
    assert (report.target_ns, report.uncertainty_ns, report.estimated_ns) == (5.0, 1.35, 5.001)
    assert report.latency == (24773, 32709)
    assert report.used == Resources(131, 124, 0, 35642, 45894)
    assert report.available == Resources(220, 280, 0, 53200, 106400)
    assert report.loops == (
        Loop("VITIS_LOOP_45_3", "main", (32, 32), (11360, 15328)),
        Loop("VITIS_LOOP_47_4", "main_Pipeline_VITIS_LOOP_47_4", (1, 32), (349, 473), 4, None, 350),
    )


def test_loops_inside_loops_and_unknown_counts_are_read(tmp_path):
    report = read_csynth(written(tmp_path, csynth_xml()))
    assert [loop.name for loop in report.loops[:2]] == ["RUN_STEPS", "TILES"]
    assert report.loops[0].latency is None and report.loops[0].trips == (1, 256)
    assert report.loops[1].latency == (700, 700) and report.loops[1].ii is None
    for old, new in (("98765", "?"), ("98765", "undef")):
        assert read_csynth(written(tmp_path, csynth_xml().replace(old, new))).latency is None


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda text: "", "is no XML"),
        (lambda text: text[: len(text) // 2], "is no XML"),
        (lambda text: "<report/>", "is no profile with UserAssignments"),
        (lambda text: text.replace("UserAssignments", "Assignments"), "is no profile with UserAssignments"),
        (lambda text: text.replace("TopModelName", "Top"), "has no TopModelName"),
        (lambda text: text.replace("<Version>2022.2</Version>", "<Version/>"), "has no ReportVersion/Version"),
        (lambda text: re.sub("<EstimatedClockPeriod>2.9<", "<EstimatedClockPeriod>fast<", text), "Period 'fast'"),
        (lambda text: re.sub("<EstimatedClockPeriod>2.9<", "<EstimatedClockPeriod>nan<", text), "Period 'nan'"),
        (lambda text: re.sub("<EstimatedClockPeriod>2.9<", "<EstimatedClockPeriod>-1<", text), "Period '-1'"),
        (lambda text: text.replace("<DSP>20</DSP>", ""), "has no DSP"),
        (lambda text: text.replace("<DSP>20</DSP>", "<DSP48E>20</DSP48E>"), "has no DSP"),
        (lambda text: text.replace("<DSP>20</DSP>", "<DSP>~0</DSP>"), "has DSP '~0', which is no count"),
        (lambda text: text.replace("AvailableResources", "Chip"), "has no AreaEstimates/AvailableResources"),
        (lambda text: text.replace("SummaryOfOverallLatency", "Latencies"), "has no SummaryOfOverallLatency"),
        (lambda text: text.replace("<PipelineII>1<", "<PipelineII>one<"), "has the II of CONV_CYCLES 'one'"),
        (lambda text: text.replace("<Name>CONV_CYCLES<", "<Name>a | b<"), "names a loop or module 'a | b'"),
        (lambda text: text.replace("12 ~ 267", "12 - 267"), "has the latency of CONV_CYCLES '12 - 267'"),
    ],
)
def test_reports_that_cannot_be_read_are_a_sentence(tmp_path, change, sentence):
    with pytest.raises(BfpError, match=re.escape(sentence)) as error:
        read_csynth(written(tmp_path, change(csynth_xml())))
    assert str(error.value).endswith("it is truncated, or of a version of the tools that is not known")
    assert "\n" not in str(error.value)


def test_every_pipelined_loop_of_the_engine_has_a_target():
    """The labels are what a report calls the loops; each pragma that asks for an II belongs to one of them."""
    pragmas = sum(path.read_text().count("#pragma HLS PIPELINE") for path in engine_sources() if path.parent == HLS)
    wanted = [label for label, ii in TARGETS.items() if ii is not None]
    assert len(wanted) == pragmas > 15 and set(TARGETS.values()) == {1, None} and TARGETS["RUN_STEPS"] is None


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("A:\n    for (;;) {\n    }\nA:\n    for (;;) {\n    }\n", "line 4: a second loop bears the label A; rename one"),
        ("A:\n    for (;;) {\n#pragma HLS PIPELINE\n    }\n", "line 1: the loop's PIPELINE pragma names no II"),
        ("A:\n    for (;;) {\n#pragma HLS PIPELINE II=FAST\n    }\n", "line 1: the loop's PIPELINE pragma names no II"),
    ],
)
def test_loops_that_no_report_could_be_compared_with_are_refused(tmp_path, text, sentence):
    with pytest.raises(BfpError, match=sentence):
        checks.loop_targets([written(tmp_path, text, "stage.hpp")])


def test_targets_are_those_of_the_loop_itself(tmp_path):
    text = (
        "OUTER:\n    for (int i = 0;\n         i < 3; ++i) {\n#pragma HLS LOOP_TRIPCOUNT min=1 max=3\n    INNER:\n"
        "        for (;;) {\n            // why\n#pragma HLS LOOP_TRIPCOUNT min=1 max=3\n#pragma HLS PIPELINE II=2\n"
    )
    assert checks.loop_targets([written(tmp_path, text, "stage.hpp")]) == {"OUTER": None, "INNER": 2}


def test_a_flattened_loop_is_known_by_its_innermost_label():
    assert checks.innermost_label("STORE_TURNS_STORE_PARTS_STORE_BURST", TARGETS) == "STORE_BURST"
    assert checks.innermost_label("LOAD_WORDS_OF_WEIGHTS", TARGETS) == "LOAD_WORDS_OF_WEIGHTS"
    assert checks.innermost_label("VITIS_LOOP_45_3", TARGETS) is None
    assert checks.innermost_label("STORE_TURNS_VITIS_LOOP_45_3", TARGETS) is None


def found(tmp_path, model=MODEL, **changes) -> tuple[str, ...]:
    report = read_csynth(written(tmp_path, csynth_xml(**changes)))
    return checks.findings(report, checks.with_targets(report.loops, TARGETS), TARGETS, (), model)


@pytest.mark.parametrize(
    "changes, findings",
    [
        ({}, []),
        ({"loops": {"CONV_CYCLES": "2"}}, ["loop CONV_CYCLES in conv_cycles_Pipeline_CONV_CYCLES has II=2, .* asks for II=1"]),
        ({"loops": {"STORE_BURST": ""}}, ["loop STORE_BURST in .* is not pipelined, its pragma asks for II=1"]),
        ({"loops": {"STORE_TURNS": "", "PACK_CYCLES": "1"}}, []),
        ({"dsp": 18}, []),
        ({"dsp": 22}, []),
        ({"dsp": 17}, [r"17 DSPs are off the model's 20 \(18 to 22 agree\)"]),
        ({"dsp": 23}, [r"23 DSPs are off the model's 20 \(18 to 22 agree\)"]),
        ({"dsp": 361}, ["361 DSPs are off", "361 DSPs are more than the 360 of the chip"]),
        ({"bram": 433}, ["433 block RAMs of 18 kbit are more than the 432 of the chip"]),
        ({"estimated": 4.0}, []),
        ({"estimated": 4.001}, ["the estimated clock of 4.001 ns is above the target of 4.0 ns"]),
        ({"loops": {"PACK_CYCLES": "3"}, "dsp": 1, "estimated": 9}, ["loop PACK_CYCLES", "1 DSPs are off", "the estimated clock of 9.0 ns"]),
    ],
)
def test_what_a_synthesis_must_show(tmp_path, changes, findings):
    said = found(tmp_path, **changes)
    assert len(said) == len(findings) and all(re.match(p, s) for p, s in zip(findings, said)), said


REFUSED = """<Pragma type="dependence" location="conv.hpp:54" status="ignored" parentFunction="conv_pass" variable="partial"
    isDirective="0" options="variable=partial type=inter false"/>"""


def test_a_pragma_that_the_compiler_did_not_take_is_a_finding(tmp_path):
    text = csynth_xml(pragmas=REFUSED)
    said = "pragma DEPENDENCE variable=partial type=inter false at conv.hpp:54 in conv_pass is ignored, not valid"
    assert read_csynth(written(tmp_path, text)).refused == (said,)
    assert found(tmp_path, pragmas=REFUSED) == (said,)
    with_reason = text.replace('status="ignored"', 'status="warning" message="no such array"')
    assert read_csynth(written(tmp_path, with_reason)).refused[0].endswith("is warning, not valid (no such array)")
    with pytest.raises(BfpError, match="has a pragma without a status; it is truncated, or of a version"):
        read_csynth(written(tmp_path, text.replace('status="ignored" ', "")))
    before = text[: text.index("<PragmaReport>")] + text[text.index("</PragmaReport>") + len("</PragmaReport>") :]
    assert read_csynth(written(tmp_path, before)).refused == ()  # versions that do not report them


def test_a_report_without_the_engines_loops_is_refused(tmp_path):
    for loops in ({}, {"VITIS_LOOP_1": "1"}, {"STORE_TURNS": ""}):
        with pytest.raises(BfpError, match="names none of the engine's pipelined loops; it is of a version"):
            found(tmp_path, loops=loops)


def test_loops_that_a_report_does_not_name_are_listed(tmp_path):
    report = read_csynth(written(tmp_path, csynth_xml()))
    missing = checks.missing_loops(report.loops, TARGETS)
    assert "FETCH_BURST" in missing and not {"CONV_CYCLES", "STORE_TURNS", "STORE_PARTS"} & set(missing)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"top": "main"}, "is of top main, not sbfp_engine; run the step again"),
        ({"target": 10.0}, "is for a clock of 10.0 ns, not 4.000 ns; run the step again"),
        ({"board": replace(BOARD, part="xc7z020-clg400-1")}, "is of part xc7z020-clg400-1, not xczu3eg-sbva484-1-i"),
    ],
)
def test_a_report_of_something_else_is_refused(tmp_path, changes, sentence):
    path = written(tmp_path, csynth_xml(**changes))
    with pytest.raises(BfpError, match=sentence):
        checks.check_report(read_csynth(path), path, "sbfp_engine", BOARD)


def test_a_period_of_two_decimals_is_the_clocks(tmp_path):
    for divisor in (5, 6, 7, 8, 9, 11, 13):
        board = replace(BOARD, clock_mhz=1500 / divisor)
        path = written(tmp_path, csynth_xml(board))
        checks.check_report(read_csynth(path), path, "sbfp_engine", board)


def test_the_models_range_is_that_of_the_engine_without_what_is_around_it():
    parts = [
        Part("array", Resource.DSP, Range(300, 320, 330), "one"),
        Part("tiles", Resource.BRAM36, Range.exactly(100), "two"),
        Part("adders", Resource.LUT, Range(4000, 5000, 7000), "three"),
        Part("converters", Resource.LUT, Range(100, 200, 400), "four", around=True),
    ]
    model = checks.modelled(Area(tuple(parts)))
    assert (model.dsp, model.bram36, model.lut) == (Range(300, 320, 330), Range.exactly(100), Range(4000, 5000, 7000))


def test_cosim_reports_are_read(tmp_path):
    assert read_cosim(written(tmp_path, cosim_rpt(), "x_cosim.rpt")) == (1234, 5678)
    assert read_cosim(written(tmp_path, cosim_rpt(least="NA", most="NA"), "x_cosim.rpt")) is None


UTILISATION = """
+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| CLB LUTs*                  | 43210 |     0 |          0 |     70560 | 61.24 |
|   LUT as Logic             | 40000 |     0 |          0 |     70560 | 56.69 |
| CLB Registers              | 51234 |     0 |          0 |    141120 | 36.31 |
|   Register as Flip Flop    | 51234 |     0 |          0 |    141120 | 36.31 |
| Block RAM Tile    | 150.5 |     0 |          0 |       216 | 69.68 |
|   RAMB36/FIFO*    |   150 |     0 |          0 |       216 | 69.44 |
| DSPs           |  322 |     0 |          0 |       360 | 89.44 |
"""


def test_utilisation_is_read_with_and_without_uram(tmp_path):
    path = written(tmp_path, UTILISATION, "utilization.rpt")
    assert read_utilisation(path) == Resources(322, 301, 0, 43210, 51234)
    path.write_text(UTILISATION + "| URAM | 12 | 0 | 0 | 64 | 18.75 |\n")
    assert read_utilisation(path).uram == 12


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("clock_mhz=", "has clock_mhz '', which is no number"),
        ("clock_mhz=1e3", "has clock_mhz '1e3', which is no number"),
        ("setup_ns", "has setup_ns None, which is no number"),
        ("hold_ns=inf", "has hold_ns 'inf', which is no number"),
        ("strategy=", "has no strategy"),
        ("board_part=", "has no board_part"),
    ],
)
def test_what_the_script_wrote_is_complete_or_refused(tmp_path, line, sentence):
    lines = ["clock_mhz=249.9975", "setup_ns=-0.1", "hold_ns=0.01", "strategy=a=b", "board_part=x:y:part0:1.2"]
    written(tmp_path, UTILISATION, "utilization.rpt")
    path = written(tmp_path, "\n".join(lines), "implementation.txt")
    report = read_implementation(tmp_path)
    assert (report.clock_mhz, report.setup_ns, report.hold_ns, report.strategy) == (249.9975, -0.1, 0.01, "a=b")
    key = re.match(r"\w+", line)[0]
    path.write_text("\n".join(line if old.startswith(key) else old for old in lines))
    with pytest.raises(BfpError, match=re.escape(sentence)):
        read_implementation(tmp_path)


@pytest.mark.parametrize(
    "log, first",
    [
        ("INFO: x\nWARNING: an error: no\nERROR: [HLS 200-70] bad\nERROR: y", "ERROR: [HLS 200-70] bad"),
        ("INFO: x\n/a/engine.cpp:3:4: error: no such thing\nERROR: y", "/a/engine.cpp:3:4: error: no such thing"),
        ("INFO: 0 errors\nCRITICAL WARNING: x\nERROR: [Synth 8-439] module not found", "ERROR: [Synth 8-439] module not found"),
        ("INFO\n// ERROR!!! DEADLOCK DETECTED at 5 ns!\nERROR: later", "// ERROR!!! DEADLOCK DETECTED at 5 ns!"),
        ("INFO: x\nFATAL_ERROR: Vivado Simulator kernel has stopped\nERROR: y", "FATAL_ERROR: Vivado Simulator kernel has stopped"),
        ("Phase 2\nAbnormal program termination (11)\nPlease check", "Abnormal program termination (11)"),
        ("all well", ""),
        ("ERROR: \x1b[31mred\x1b[0m", r"ERROR: \x1b[31mred\x1b[0m"),
    ],
)
def test_the_first_error_of_a_log(tmp_path, log, first):
    assert first_error(written(tmp_path, log, "x.log")) == first
