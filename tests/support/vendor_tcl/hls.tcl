# Commands and options of Vitis HLS, as its user guide (UG1399, 2022.1 to 2024.2) documents them.
# FAKE_CSYNTH: the report to leave, none where it is empty; FAKE_SCHEDULES: folder of the modules' reports; FAKE_COSIM:
# the report of co-simulation; FAKE_NO_IP: export leaves nothing.
set state(project) 0
set state(synthesised) 0
set state(bench) 0

proc need {what} {
    if {!$::state($what)} {
        error "ERROR: \[HLS 200-101\] nothing is $what"
    }
}

documented open_project {} {-reset} 1 1 {set ::state(project) 1; file mkdir [lindex $words 0]}
documented set_top {} {} 1 1 {need project}
documented add_files {-cflags -csimflags -blackbox} {-tb -appendflags} 1 99 {
    need project
    foreach path $words {
        if {![file isfile $path]} {
            error "ERROR: \[HLS 200-642\] file $path does not exist"
        }
    }
    if {[info exists option(-tb)]} {
        set ::state(bench) 1
    }
}
documented open_solution {-flow_target} {-reset} 1 1 {one_of $option(-flow_target) {vivado vitis}}
documented set_part {} {} 1 1 {}
documented create_clock {-period -name} {} 0 1 {
    if {!($option(-period) > 0)} {
        error "ERROR: bad period"
    }
}
documented config_interface {
    -clock_enable -default_slave_interface -m_axi_addr64 -m_axi_alignment_byte_size -m_axi_auto_max_ports
    -m_axi_buffer_impl -m_axi_conservative_mode -m_axi_flush_mode -m_axi_latency -m_axi_max_bitwidth
    -m_axi_max_read_burst_length -m_axi_max_widen_bitwidth -m_axi_max_write_burst_length -m_axi_min_bitwidth
    -m_axi_num_read_outstanding -m_axi_num_write_outstanding -m_axi_offset -register_io -s_axilite_data64
} {} 0 0 {}
documented csim_design {-argv -ldflags -mflags} {-O -clean -setup -profile} 0 0 {need bench}
documented csynth_design {} {-dump_cfg -dump_post_cfg -synthesis_check} 0 0 {
    need project
    set ::state(synthesised) 1
    if {[fake CSYNTH ""] ne ""} {
        copy_to $::env(FAKE_CSYNTH) engine/solution/syn/report/csynth.xml
    }
    if {[fake SCHEDULES ""] ne ""} {
        foreach schedule [glob -nocomplain -directory $::env(FAKE_SCHEDULES) *] {
            copy_to $schedule engine/solution/.autopilot/db/[file tail $schedule]
        }
    }
}
documented cosim_design {
    -argv -compiled_library_dir -hwemu_trace_dir -ldflags -mflags -rtl -tool -trace_level -user_stall
} {
    -O -coverage -disable_binary_tv -disable_deadlock_detection -disable_dependency_check -enable_dataflow_profiling
    -enable_fifo_sizing -enable_tasks_with_m_axi -random_stall -setup -stable_axilite_update -wave_debug
} 0 0 {
    need synthesised
    need bench
    one_of $option(-rtl) {verilog vhdl}
    one_of $option(-tool) {auto vcs modelsim riviera ncsim xceilum xsim}
    if {[fake COSIM ""] ne ""} {
        copy_to $::env(FAKE_COSIM) engine/solution/sim/report/sbfp_engine_cosim.rpt
    }
    if {[fake COSIM_STOPS ""] ne ""} {
        puts $::env(FAKE_COSIM_STOPS)
        error "ERROR: \[COSIM 212-4\] *** C/RTL co-simulation finished: FAIL ***"
    }
}
documented export_design {
    -description -display_name -format -ipname -library -output -rtl -flow -taxonomy -vendor -version
} {} 0 0 {
    need synthesised
    one_of $option(-format) {ip_catalog xo syn_dcp sysgen}
    if {[fake NO_IP ""] eq ""} {
        put engine/solution/impl/ip/component.xml <component/>
    }
}
