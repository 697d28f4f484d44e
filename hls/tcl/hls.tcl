# Vitis HLS: C simulation, synthesis, co-simulation and IP export of the engine.
#
# Run by codegen/vendor/hls.py as `vitis_hls -f hls.tcl` or
# `vitis-run --mode hls --tcl hls.tcl`. The second passes no arguments, so all
# of them are environment variables:
#   SBFP_HLS        folder of engine.cpp
#   SBFP_GENERATED  folder of the generated headers
#   SBFP_WORK       folder for the HLS project
#   SBFP_TOP        function that becomes the engine
#   SBFP_PART       FPGA part
#   SBFP_CLOCK_MHZ  clock that the board will give
#   SBFP_LANES      bytes of a memory word
#   SBFP_MEMORY_LATENCY  cycles from a read request to its first word, as the interface pragmas state it
#   SBFP_STEPS      any of: csim csynth cosim export
#   SBFP_WEIGHTS SBFP_GOLDEN SBFP_RESULT  files of the test bench, for csim and cosim

proc argument {name} {
    if {![info exists ::env($name)] || $::env($name) eq ""} {
        error "environment variable $name is not set; run this script through doit"
    }
    return $::env($name)
}

proc main {} {
    set hls [argument SBFP_HLS]
    set steps [argument SBFP_STEPS]
    set lanes [argument SBFP_LANES]
    foreach step $steps {
        if {$step ni {csim csynth cosim export}} {
            error "step $step is not known; SBFP_STEPS takes csim csynth cosim export"
        }
    }
    # the kernel does not see hls/csim: the vendor has its own hls_stream.h, and nothing is counted
    set flags "-std=c++14 -I$hls -I[argument SBFP_GENERATED]"

    file mkdir [argument SBFP_WORK]
    cd [argument SBFP_WORK]
    open_project -reset engine
    set_top [argument SBFP_TOP]
    add_files [file join $hls engine.cpp] -cflags "$flags -I$hls/synth"
    add_files -tb [file join $hls testbench main.cpp] -cflags "$flags -I$hls/csim -I$hls/testbench"
    open_solution -reset solution -flow_target vivado
    set_part [argument SBFP_PART]
    create_clock -period [expr {1000.0 / [argument SBFP_CLOCK_MHZ]}] -name default
    # The Vivado flow assumes byte-aligned 32-bit buses without latency unless told otherwise.
    config_interface -m_axi_addr64=1 -m_axi_alignment_byte_size $lanes \
        -m_axi_max_widen_bitwidth [expr {8 * $lanes}] -m_axi_latency [argument SBFP_MEMORY_LATENCY]

    set bench "[argument SBFP_WEIGHTS] [argument SBFP_GOLDEN] [argument SBFP_RESULT]"
    if {"csim" in $steps} {
        csim_design -argv $bench
    }
    if {"csynth" in $steps} {
        csynth_design
    }
    if {"cosim" in $steps} {
        # ports that stall at random try the depths of the streams; a port sees what others store after a call only
        cosim_design -O -rtl verilog -tool xsim -random_stall -argv "$bench layers"
    }
    if {"export" in $steps} {
        export_design -format ip_catalog -vendor sbfp -library hls -ipname [argument SBFP_TOP] -version 1.0
    }
}

# Without this, some versions stay at a prompt or end with status 0.
if {[catch main message]} {
    puts stderr "ERROR: $message"
    exit 1
}
exit 0
