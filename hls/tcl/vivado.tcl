# Vivado: block design, bitstream and hardware handoff of one engine.
#
# Run by codegen/vendor/implement.py as `vivado -mode batch -source vivado.tcl`, with
#   SBFP_WORK        folder for the Vivado project
#   SBFP_OUT         folder for SBFP_NAME.bit and SBFP_NAME.hwh, and for what is reported of them:
#                    implementation.txt (clock_mhz, setup_ns, hold_ns, strategy, board_part: a line each),
#                    utilization.rpt, hierarchy.rpt, timing.rpt
#   SBFP_NAME        base name of both
#   SBFP_IP_REPO     folder of the exported engine
#   SBFP_IP          instance name of the engine, which the driver looks up
#   SBFP_PART SBFP_JOBS
#   SBFP_CLOCK_MHZ SBFP_CLOCK_TOLERANCE  the engine's clock, and the share by which it may be another
#   SBFP_STRATEGY           of implementation, where the default one misses timing
#   SBFP_BOARD_PART         names of the board files, without their version: the newest that is installed is taken
#   SBFP_BOARD_CONNECTIONS  of a module to its carrier board; may be empty
#   SBFP_PROCESSING_SYSTEM  IP of the processing system
#   SBFP_MEMORY_PORTS       of the processing system, S_AXI_HP0 and so on
#   SBFP_MEMORY_PORT_BITS   bits of each
#   SBFP_ENGINE_BITS        bits of a word of the engine's memory interfaces
#
#   PS M_AXI_HPM0 -> converter -> engine s_axi_control     registers
#   engine m_axi_gmem_* -> PS S_AXI_HP0..                  external memory, a port for each; both speak AXI4, so
#                                                          that only different widths need a converter, one each
#   engine interrupt -> PS pl_ps_irq0                      the first line, which PYNQ serves

proc argument {name} {
    if {![info exists ::env($name)] || $::env($name) eq ""} {
        error "environment variable $name is not set; run this script through doit"
    }
    return $::env($name)
}

# The memory interfaces of hls/engine.cpp, in the order of the ports that they take.
set bundles {weights in shortcut out}

# Of each processing system: its first interrupt input, and the properties that enable it (AMD PG201, PG082). More
# than one source would be joined by a concatenation of the bits; one is connected as it is.
array set interrupt_inputs {
    zynq_ultra_ps_e pl_ps_irq0
    processing_system7 IRQ_F2P
}
array set interrupt_properties {
    zynq_ultra_ps_e {CONFIG.PSU__USE__IRQ0 1}
    processing_system7 {CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1}
}

proc newer {one other} {
    return [package vcompare [lindex $one 0] [lindex $other 0]]
}

# The newest installed board files that bear one of the names, whatever the case; empty where none do.
proc newest_board {names} {
    set found {}
    foreach part [get_board_parts -quiet] {
        if {![regexp {^(.+):([0-9]+(\.[0-9]+)*)$} $part -> name version]} {
            continue
        }
        foreach wanted $names {
            if {[string equal -nocase $name $wanted]} {
                lappend found [list $version $part]
            }
        }
    }
    return [lindex [lsort -command newer $found] end 1]
}

# Boards that the store has under the names: vendor:store:board:version. The carrier of a module is one of them.
proc install_from_store {names} {
    set store [xhub::get_xstores xilinx_board_store]
    if {[llength $store] == 0} {
        error "there is no board store"
    }
    xhub::refresh_catalog $store
    set boards {}
    foreach name [concat $names [lsearch -all -inline -glob [connections] *:*:*]] {
        lappend boards [lindex [split $name :] 1]
    }
    set items {}
    foreach item [xhub::get_xitems -of_objects $store] {
        set board [lindex [split $item :] 2]
        if {[lsearch -exact -nocase $boards $board] >= 0} {
            lappend items $item
        }
    }
    if {[llength $items] == 0} {
        error "the board store has none of them"
    }
    xhub::install $items
    set_param board.repoPaths [concat [get_param board.repoPaths] [get_property LOCAL_ROOT_DIR $store]]
}

proc connections {} {
    if {[info exists ::env(SBFP_BOARD_CONNECTIONS)]} {
        return $::env(SBFP_BOARD_CONNECTIONS)
    }
    return {}
}

proc find_board {} {
    set names [argument SBFP_BOARD_PART]
    set board [newest_board $names]
    set reason ""
    if {$board eq "" && ![catch {install_from_store $names} reason]} {
        set board [newest_board $names]
        set reason "what the board store has was installed, and is not found"
    }
    if {$board eq ""} {
        error "board files [join $names { or }] are not installed ([string map {\n { }} $reason]);\
            add them with Vivado's Tools > Vivado Store > Boards, or put their vendor's into board.repoPaths"
    }
    return $board
}

proc open_new_project {} {
    create_project -force sbfp [file join [argument SBFP_WORK] vivado] -part [argument SBFP_PART]
    set ::board_part [find_board]
    set_property board_part $::board_part [current_project]
    if {[connections] ne ""} {
        set_property board_connections [connections] [current_project]
    }
    set_property ip_repo_paths [argument SBFP_IP_REPO] [current_project]
    update_ip_catalog
}

# Processing system with the board's preset, one register port, a memory port for each of the engine's.
proc create_processing_system {} {
    set cell [argument SBFP_PROCESSING_SYSTEM]
    set ports [argument SBFP_MEMORY_PORTS]
    if {$ports < [llength $::bundles]} {
        error "the engine has [llength $::bundles] memory interfaces, this board's processing system $ports ports"
    }
    set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:$cell ps]
    apply_bd_automation -rule xilinx.com:bd_rule:$cell -config {apply_board_preset 1} $ps
    # a preset may fix the clocks: then what is asked for is ignored
    set_property CONFIG.PSU__OVERRIDE__BASIC_CLOCK 0 $ps
    set properties [list \
        CONFIG.PSU__FPGA_PL0_ENABLE 1 \
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ [argument SBFP_CLOCK_MHZ] \
        CONFIG.PSU__USE__M_AXI_GP0 1 \
        CONFIG.PSU__USE__M_AXI_GP1 0 \
        CONFIG.PSU__USE__M_AXI_GP2 0]
    for {set port 0} {$port < [llength $::bundles]} {incr port} {
        # the ports HP0 to HP3 are S_AXI_GP2 to GP5
        set gp [expr {$port + 2}]
        lappend properties CONFIG.PSU__USE__S_AXI_GP$gp 1
        lappend properties CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH [argument SBFP_MEMORY_PORT_BITS]
    }
    set_property -dict $properties $ps
    set ::clock_mhz [get_property CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ $ps]
    set wanted [argument SBFP_CLOCK_MHZ]
    set margin [expr {[argument SBFP_CLOCK_TOLERANCE] * $wanted}]
    if {![string is double -strict $::clock_mhz] || abs($::clock_mhz - $wanted) > $margin} {
        error "the processing system gives a clock of '$::clock_mhz' MHz where $wanted MHz was asked for"
    }
}

proc connect_clocks_and_reset {ip} {
    create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
    set pins [list reset/slowest_sync_clk $ip/ap_clk ps/maxihpm0_fpd_aclk]
    for {set port 0} {$port < [llength $::bundles]} {incr port} {
        lappend pins ps/saxihp${port}_fpd_aclk
    }
    foreach pin $pins {
        connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins $pin]
    }
    connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
    connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $ip/ap_rst_n]
}

proc connect_interrupt {ip} {
    set cell [argument SBFP_PROCESSING_SYSTEM]
    if {![info exists ::interrupt_inputs($cell)]} {
        error "the interrupt input of processing system $cell is not known"
    }
    set_property -dict $::interrupt_properties($cell) [get_bd_cells ps]
    connect_bd_net [get_bd_pins $ip/interrupt] [get_bd_pins ps/$::interrupt_inputs($cell)]
}

# One SmartConnect between two interfaces: it converts widths, bursts and protocols.
proc connect_converted {name source target} {
    set cell [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name]
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $cell
    connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins $name/aclk]
    connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins $name/aresetn]
    connect_bd_intf_net [get_bd_intf_pins $source] [get_bd_intf_pins $name/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $target]
}

# A memory interface of the engine and a port of the processing system: as they are where they are equally wide.
proc connect_memory {name source target} {
    if {[argument SBFP_ENGINE_BITS] == [argument SBFP_MEMORY_PORT_BITS]} {
        connect_bd_intf_net [get_bd_intf_pins $source] [get_bd_intf_pins $target]
    } else {
        connect_converted $name $source $target
    }
}

proc create_design {} {
    set ip [argument SBFP_IP]
    create_bd_design sbfp
    create_processing_system
    create_bd_cell -type ip -vlnv sbfp:hls:sbfp_engine:1.0 $ip
    connect_clocks_and_reset $ip
    connect_interrupt $ip
    connect_converted registers ps/M_AXI_HPM0_FPD $ip/s_axi_control
    set port 0
    foreach bundle $::bundles {
        connect_memory memory_$bundle $ip/m_axi_gmem_$bundle ps/S_AXI_HP${port}_FPD
        incr port
    }
    assign_bd_address
    validate_bd_design
    save_bd_design
    set design [get_files sbfp.bd]
    generate_target all $design
    add_files -norecurse [make_wrapper -files $design -top]
    set_property top sbfp_wrapper [current_fileset]
    update_compile_order -fileset sources_1
}

proc complete_run {run args} {
    launch_runs $run {*}$args -jobs [argument SBFP_JOBS]
    wait_on_run $run
    if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
        error "run $run stopped: [get_property STATUS [get_runs $run]]"
    }
}

# Worst slacks of a run in ns: setup, hold.
proc slacks {run} {
    set found {}
    foreach kind {WNS WHS} {
        set slack [get_property STATS.$kind [get_runs $run]]
        if {![string is double -strict $slack]} {
            error "run $run reports no slack: STATS.$kind is '$slack'"
        }
        lappend found $slack
    }
    return $found
}

proc met {run} {
    lassign [slacks $run] setup hold
    return [expr {$setup >= 0 && $hold >= 0}]
}

# Returns the run to take: the first where it meets timing, otherwise the better of two.
proc implement {} {
    complete_run synth_1
    complete_run impl_1 -to_step write_bitstream
    if {[met impl_1]} {
        return impl_1
    }
    copy_run -name impl_2 [get_runs impl_1]
    set_property strategy [argument SBFP_STRATEGY] [get_runs impl_2]
    complete_run impl_2 -to_step write_bitstream
    lassign [slacks impl_1] setup_1 hold_1
    lassign [slacks impl_2] setup_2 hold_2
    # a lower clock mends setup, and nothing mends hold
    if {($hold_1 >= 0) != ($hold_2 >= 0)} {
        return [expr {$hold_1 >= 0 ? "impl_1" : "impl_2"}]
    }
    return [expr {$setup_1 > $setup_2 ? "impl_1" : "impl_2"}]
}

proc report {run} {
    set out [argument SBFP_OUT]
    open_run $run
    report_utilization -file [file join $out utilization.rpt]
    report_utilization -hierarchical -file [file join $out hierarchy.rpt]
    report_timing_summary -file [file join $out timing.rpt]
    lassign [slacks $run] setup hold
    set file [open [file join $out implementation.txt] w]
    foreach {name value} [list clock_mhz $::clock_mhz setup_ns $setup hold_ns $hold \
            strategy [get_property STRATEGY [get_runs $run]] board_part $::board_part] {
        puts $file "$name=$value"
    }
    close $file
}

# The handoff's folder differs by version: .gen since 2020.2, .srcs before.
proc export_files {run} {
    set name [argument SBFP_NAME]
    set out [argument SBFP_OUT]
    set project [get_property DIRECTORY [current_project]]
    set handoff {}
    foreach sources {gen srcs} {
        lappend handoff {*}[glob -nocomplain -directory $project sbfp.$sources/sources_1/bd/sbfp/hw_handoff/*.hwh]
    }
    if {[llength $handoff] == 0} {
        error "no .hwh below $project/sbfp.gen or sbfp.srcs"
    }
    set bitstream [file join [get_property DIRECTORY [get_runs $run]] sbfp_wrapper.bit]
    file copy -force $bitstream [file join $out $name.bit]
    file copy -force [lindex $handoff 0] [file join $out $name.hwh]
}

proc main {} {
    file mkdir [argument SBFP_OUT]
    open_new_project
    create_design
    set run [implement]
    report $run
    export_files $run
}

if {[catch main message]} {
    puts stderr "ERROR: $message"
    exit 1
}
exit 0
