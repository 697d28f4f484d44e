# Vivado: block design, bitstream and hardware handoff of one engine.
#
# Run by codegen/vendor/build.py as `vivado -mode batch -source vivado.tcl`, with
#   SBFP_WORK        folder for the Vivado project
#   SBFP_OUT         folder for SBFP_NAME.bit and SBFP_NAME.hwh
#   SBFP_NAME        base name of both
#   SBFP_IP_REPO     folder of the exported engine
#   SBFP_IP          instance name of the engine, which the driver looks up
#   SBFP_PART SBFP_CLOCK_MHZ SBFP_JOBS
#   SBFP_BOARD_PART         board files, without their version: the newest that is installed is taken
#   SBFP_BOARD_CONNECTIONS  of a module to its carrier board; may be empty
#   SBFP_PROCESSING_SYSTEM  IP of the processing system
#   SBFP_MEMORY_PORTS       of the processing system, S_AXI_HP0 and so on
#   SBFP_MEMORY_PORT_BITS   bits of each
#
#   PS M_AXI_HPM0 -> engine s_axi_control       registers
#   engine m_axi_gmem_* -> PS S_AXI_HP0..       external memory, a port for each

proc argument {name} {
    if {![info exists ::env($name)] || $::env($name) eq ""} {
        error "environment variable $name is not set; run this script through `doit build-bitstream`"
    }
    return $::env($name)
}

# The memory interfaces of hls/engine.cpp, in the order of the ports that they take.
set bundles {weights in shortcut out}

proc open_new_project {} {
    create_project -force sbfp [file join [argument SBFP_WORK] vivado] -part [argument SBFP_PART]
    set board_files [argument SBFP_BOARD_PART]
    set board_part [get_board_parts -quiet -latest_file_version "$board_files:*"]
    if {[llength $board_part] == 0} {
        error "board files $board_files are not installed; add them with Vivado's Tools > Vivado Store > Boards"
    }
    set_property board_part [lindex $board_part 0] [current_project]
    if {[info exists ::env(SBFP_BOARD_CONNECTIONS)] && $::env(SBFP_BOARD_CONNECTIONS) ne ""} {
        set_property board_connections $::env(SBFP_BOARD_CONNECTIONS) [current_project]
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

# One SmartConnect between two interfaces: it converts widths, bursts and protocols.
proc connect_axi {name source target} {
    set cell [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name]
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $cell
    connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins $name/aclk]
    connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins $name/aresetn]
    connect_bd_intf_net [get_bd_intf_pins $source] [get_bd_intf_pins $name/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $target]
}

proc create_design {} {
    set ip [argument SBFP_IP]
    create_bd_design sbfp
    create_processing_system
    create_bd_cell -type ip -vlnv sbfp:hls:sbfp_engine:1.0 $ip
    connect_clocks_and_reset $ip
    connect_axi registers ps/M_AXI_HPM0_FPD $ip/s_axi_control
    set port 0
    foreach bundle $::bundles {
        connect_axi memory_$bundle $ip/m_axi_gmem_$bundle ps/S_AXI_HP${port}_FPD
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

proc implement {} {
    launch_runs impl_1 -to_step write_bitstream -jobs [argument SBFP_JOBS]
    wait_on_run impl_1
    if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
        error "implementation stopped: [get_property STATUS [get_runs impl_1]]"
    }
    open_run impl_1
    set out [argument SBFP_OUT]
    report_utilization -hierarchical -file [file join $out utilization.rpt]
    report_timing_summary -file [file join $out timing.rpt]
    set slack [get_property STATS.WNS [get_runs impl_1]]
    if {$slack < 0} {
        set clock [argument SBFP_CLOCK_MHZ]
        error "timing is not met at $clock MHz: worst slack $slack ns; lower clock_mhz in the board's file"
    }
}

# The handoff's folder differs by version: .gen since 2020.2, .srcs before.
proc export_files {} {
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
    set bitstream [file join [get_property DIRECTORY [get_runs impl_1]] sbfp_wrapper.bit]
    file copy -force $bitstream [file join $out $name.bit]
    file copy -force [lindex $handoff 0] [file join $out $name.hwh]
}

proc main {} {
    file mkdir [argument SBFP_OUT]
    open_new_project
    create_design
    implement
    export_files
}

if {[catch main message]} {
    puts stderr "ERROR: $message"
    exit 1
}
exit 0
