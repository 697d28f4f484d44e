"""Reports in the form of the vendor's tools, as Vitis HLS 2022.1 to 2025.2 writes them; none was made by them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from string import Template

from support.boards import BOARD

from codegen.vendor.checks import loop_targets
from codegen.vendor.request import HLS, engine_sources

TARGETS = loop_targets(path for path in engine_sources() if path.parent == HLS)  # of the engine's own loops

MODULE = Template("""
        <Module>
            <Name>$module</Name>
            <Loops><$name/></Loops>
            <PerformanceEstimates>
                <SummaryOfTimingAnalysis><EstimatedClockPeriod>2.100</EstimatedClockPeriod></SummaryOfTimingAnalysis>
                <SummaryOfLoopLatency>
                    <$name>
                        <Name>$name</Name>
                        <Slack>2.92</Slack>
                        <TripCount><range><min>1</min><max>256</max></range></TripCount>
                        <Latency>12 ~ 267</Latency>
                        <AbsoluteTimeLatency>48.000 ns ~ 1.068 us</AbsoluteTimeLatency>
                        $pipeline
                        <PipelineType>$pipelined</PipelineType>
                        <InstanceList/>
                    </$name>
                </SummaryOfLoopLatency>
            </PerformanceEstimates>
        </Module>""")
PROFILE = Template("""<profile>
    <ReportVersion><Version>$version</Version></ReportVersion>
    <UserAssignments>
        <unit>ns</unit>
        <ProductFamily>zynquplus</ProductFamily>
        <Part>$part</Part>
        <TopModelName>$top</TopModelName>
        <TargetClockPeriod>$clock</TargetClockPeriod>
        <ClockUncertainty>$uncertainty</ClockUncertainty>
        <FlowTarget>vivado</FlowTarget>
    </UserAssignments>
    <PerformanceEstimates>
        <PipelineType>no</PipelineType>
        <SummaryOfTimingAnalysis>
            <unit>ns</unit><EstimatedClockPeriod>$estimated</EstimatedClockPeriod>
        </SummaryOfTimingAnalysis>
        <SummaryOfOverallLatency>
            <unit>clock cycles</unit>
            <Best-caseLatency>2</Best-caseLatency>
            <Average-caseLatency>?</Average-caseLatency>
            <Worst-caseLatency>98765</Worst-caseLatency>
            <Interval-min>3</Interval-min>
            <Interval-max>98766</Interval-max>
        </SummaryOfOverallLatency>
        <SummaryOfLoopLatency>
            <RUN_STEPS>
                <Slack>2.92</Slack>
                <TripCount><range><min>1</min><max>256</max></range></TripCount>
                <Latency><range><min>?</min><max>?</max></range></Latency>
                <IterationLatency>undef</IterationLatency>
                <InstanceList/>
                <TILES>
                    <TripCount>7</TripCount>
                    <Latency>700</Latency>
                    <IterationLatency>100</IterationLatency>
                    <InstanceList/>
                </TILES>
            </RUN_STEPS>
        </SummaryOfLoopLatency>
    </PerformanceEstimates>
    <AreaEstimates>
        <Resources>
            <BRAM_18K>$bram</BRAM_18K><DSP>$dsp</DSP><FF>41000</FF><LUT>$lut</LUT><URAM>0</URAM>
        </Resources>
        <AvailableResources>
            <BRAM_18K>432</BRAM_18K><DSP>360</DSP><FF>141120</FF><LUT>70560</LUT><URAM>0</URAM>
        </AvailableResources>
    </AreaEstimates>
    <ModuleInformation>$modules
        <Module>
            <Name>$top</Name>
            <PerformanceEstimates><SummaryOfLoopLatency/></PerformanceEstimates>
        </Module>
    </ModuleInformation>
    <PragmaReport>
        <Pragma type="inline" location="engine.cpp:23" status="valid" parentFunction="step" variable="" isDirective="0" options="off"/>$pragmas
    </PragmaReport>
</profile>
""")


def csynth_xml(board=BOARD, loops=None, target=None, **changes) -> str:
    """A report of a synthesis for the board: loops of the top inside each other, others in their modules.

    loops: II of each by name, empty where it is not pipelined; target: of the clock in ns; changes: other entries.
    """
    clock = 1000 / board.clock_mhz if target is None else target
    loops = {"CONV_CYCLES": "1", "STORE_TURNS_STORE_PARTS_STORE_BURST": "1"} if loops is None else loops
    modules = "".join(
        MODULE.substitute(
            name=name,
            module=f"{name.lower()}_Pipeline_{name}",
            pipeline=f"<PipelineII>{ii}</PipelineII><PipelineDepth>12</PipelineDepth>" if ii else "",
            pipelined="yes" if ii else "no",
        )
        for name, ii in loops.items()
    )
    entries = dict(version="2022.2", top="sbfp_engine", part=board.part, estimated=2.9, dsp=20, lut=30000, bram=100)
    entries |= dict(clock=f"{clock:.2f}", uncertainty=f"{0.27 * clock:.2f}", modules=modules, pragmas="")
    return PROFILE.substitute({**entries, **changes})


def cosim_rpt(status="Pass", least="1234", most="5678") -> str:
    """The report of a co-simulation in Verilog."""
    return f"""Report time       : Thu Nov 26 10:00:00 UTC 2026.
Solution          : solution.
Simulation tool   : xsim.

+----------+----------+-----------------------------------------------+-----------------------------------------------+
|          |          |             Latency(Clock Cycles)             |              Interval(Clock Cycles)           |
+   RTL    +  Status  +-----------------------------------------------+-----------------------------------------------+
|          |          |      min      |      avg      |      max      |      min      |      avg      |      max      |
+----------+----------+-----------------------------------------------+-----------------------------------------------+
|      VHDL|        NA|             NA|             NA|             NA|             NA|             NA|             NA|
|   Verilog|{status:>10}|{least:>15}|           2000|{most:>15}|             NA|             NA|             NA|
+----------+----------+-----------------------------------------------+-----------------------------------------------+
"""


SCHEDULE = Template("""

================================================================
== Vitis HLS Report for '$module'
================================================================
* Date:           Thu Nov 26 10:00:00 2026

* Version:        $version (Build 1 on Nov 26 2026)
* Project:        engine
* Solution:       solution (Vivado IP Flow Target)
* Product family: zynquplus
* Target device:  xczu3eg-sbva484-1-i


================================================================
== Performance Estimates
================================================================
+ Timing:\x20
    * Summary:\x20
    +--------+---------+----------+------------+
    |  Clock |  Target | Estimated| Uncertainty|
    +--------+---------+----------+------------+
    |ap_clk  |  $target ns|  $estimated ns|     1.08 ns|
    +--------+---------+----------+------------+

+ Latency:\x20
    * Summary:\x20
    +---------+---------+----------+----------+-----+-----+---------+
    |  Latency (cycles) |  Latency (absolute) |  Interval | Pipeline|
    |   min   |   max   |    min   |    max   | min | max |   Type  |
    +---------+---------+----------+----------+-----+-----+---------+
    |       14|      269|  56.000 ns|  1.076 us|   14|  269|       no|
    +---------+---------+----------+----------+-----+-----+---------+

    + Detail:\x20
        * Instance:\x20
        N/A

        * Loop:\x20
$table

============================================================
+ Verbose Summary: Schedule
============================================================
* Number of FSM states : 6
ST_1 : Operation 8 [1/1] (0.00ns)   --->   "%j = alloca i32 1" | a | b | c | d | e | f | g |
""")


def schedule_rpt(module: str, loops=(), target="4.00", estimated="2.920", version="2022.2") -> str:
    """The head of a module's schedule report. loops: (name with its depth, achieved II, II aimed at), "-" for none."""
    width = max([len("Loop Name"), *(len(name) + 2 for name, *_ in loops)])
    ruler = "        +" + "-" * width + "+---------+---------+----------+-----------+-----------+------+----------+"
    table = [
        ruler,
        f"        |{'':{width}}|  Latency (cycles) | Iteration|  Initiation Interval  | Trip |          |",
        f"        |{'Loop Name':^{width}}|   min   |   max   |  Latency |  achieved |   target  | Count| Pipelined|",
        ruler,
    ]
    for name, achieved, aimed in loops:
        cells = f"{name:{width}}|       12|      267|        12|{achieved:>11}|{aimed:>11}|1 ~ 256"
        table.append(f"        |{cells}|{'no' if achieved == '-' else 'yes':>10}|")
    shown = "\n".join([*table, ruler]) if loops else "        N/A"
    return SCHEDULE.substitute(module=module, target=target, estimated=estimated, version=version, table=shown)


def schedules_of(csynth: str) -> dict[str, str]:
    """Schedule reports that agree with a csynth.xml, by module; none where that is damaged."""
    try:
        modules = ElementTree.fromstring(csynth).findall("ModuleInformation/Module")
    except ElementTree.ParseError:
        modules = []
    found = {}
    for module in modules:
        loops = module.findall("PerformanceEstimates/SummaryOfLoopLatency/*")
        rows = [(f"- {x.tag}", x.findtext("PipelineII", "-"), "1" if x.findtext("PipelineII") else "-") for x in loops]
        found[module.findtext("Name", "")] = schedule_rpt(module.findtext("Name", ""), rows)
    return found


def written(tmp_path: Path, text: str, name: str = "csynth.xml") -> Path:
    """A report in a file."""
    path = tmp_path / name
    path.write_text(text)
    return path
