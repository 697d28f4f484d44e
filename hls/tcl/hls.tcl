# Vitis HLS: C simulation, synthesis, IP export of the engine.
#
# Run by codegen/vendor/build.py as `vitis_hls -f hls.tcl` or
# `vitis-run --mode hls --tcl hls.tcl`. The second passes no arguments, so all
# of them are environment variables:
#   SBFP_HLS        folder of engine.cpp
#   SBFP_GENERATED  folder of the generated headers
#   SBFP_WORK       folder for the HLS project
#   SBFP_PART       FPGA part
#   SBFP_CLOCK_MHZ  target clock
#   SBFP_LANES      bytes of a memory word
#   SBFP_MEMORY_LATENCY  cycles from a read request to its first word, as the interface pragmas state it
#   SBFP_STEPS      any of: csim csynth export
#   SBFP_WEIGHTS SBFP_GOLDEN SBFP_RESULT  files of the test bench, for csim

proc argument {name} {
    if {![info exists ::env($name)] || $::env($name) eq ""} {
        error "environment variable $name is not set; run this script through `doit build-bitstream`"
    }
    return $::env($name)
}

proc main {} {
    set hls [argument SBFP_HLS]
    set steps [argument SBFP_STEPS]
    set lanes [argument SBFP_LANES]
    # the kernel does not see hls/csim: the vendor has its own hls_stream.h, and nothing is counted
    set flags "-std=c++14 -I$hls -I[argument SBFP_GENERATED]"

    file mkdir [argument SBFP_WORK]
    cd [argument SBFP_WORK]
    open_project -reset engine
    set_top sbfp_engine
    add_files [file join $hls engine.cpp] -cflags "$flags -I$hls/synth"
    add_files -tb [file join $hls testbench main.cpp] -cflags "$flags -I$hls/csim"
    open_solution -reset solution -flow_target vivado
    set_part [argument SBFP_PART]
    create_clock -period [expr {1000.0 / [argument SBFP_CLOCK_MHZ]}] -name default
    # The Vivado flow assumes byte-aligned 32-bit buses without latency unless told otherwise.
    config_interface -m_axi_addr64=1 -m_axi_alignment_byte_size $lanes \
        -m_axi_max_widen_bitwidth [expr {8 * $lanes}] -m_axi_latency [argument SBFP_MEMORY_LATENCY]

    if {"csim" in $steps} {
        csim_design -argv "[argument SBFP_WEIGHTS] [argument SBFP_GOLDEN] [argument SBFP_RESULT]"
    }
    if {"csynth" in $steps || "export" in $steps} {
        csynth_design
    }
    if {"export" in $steps} {
        export_design -format ip_catalog -vendor sbfp -library hls -ipname sbfp_engine -version 1.0
    }
}

# Without this, some versions stay at a prompt or end with status 0.
if {[catch main message]} {
    puts stderr "ERROR: $message"
    exit 1
}
exit 0
