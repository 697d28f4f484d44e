"""Reports in the form of the vendor's tools, as Vitis HLS 2022.1 to 2025.2 writes them; none was made by them."""

from __future__ import annotations

from string import Template

from support.boards import BOARD

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
            <RUN_LAYERS>
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
            </RUN_LAYERS>
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
</profile>
""")


def csynth_xml(board=BOARD, loops=None, target=None, **changes) -> str:
    """A report of a synthesis for the board: loops of the top inside each other, others in their modules.

    loops: II of each by name, empty where it is not pipelined; target: of the clock in ns; changes: other entries.
    """
    clock = 1000 / board.clock_mhz if target is None else target
    loops = {"CONV_CYCLES": "1", "PACK_ROWS_PACK_PARTS_PACK_WORDS": "1"} if loops is None else loops
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
    entries |= dict(clock=f"{clock:.2f}", uncertainty=f"{0.27 * clock:.2f}", modules=modules)
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
