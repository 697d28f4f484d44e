# Commands, options and properties of Vivado (UG835, PG201, PG247), as far as a block design like ours needs them.
#   FAKE_BOARD_PARTS   installed board files        FAKE_STORE      what the board store has; FAKE_STORE_FAILS: why not
#   FAKE_STORE_BOARDS  board files once that is installed
#   FAKE_FIXED_CLOCK   the preset fixes PL0 at 100 MHz
#   FAKE_SOURCE_MHZ    what PL0 divides             FAKE_SLACKS_RUN  its worst setup and hold slack
#   FAKE_STOPS         a run that stops             FAKE_SOURCES    folder of the handoff, gen or srcs
#   FAKE_NO_BIT, FAKE_UTILISATION: what is left out, what else is reported
namespace eval xhub {}
set installed [fake BOARD_PARTS "avnet.com:ultra96v2:part0:1.2"]
array set cells {}
array set config {}
array set strategy {impl_1 "Vivado Implementation Defaults"}
array set complete {}
array set parameter {board.repoPaths {}}

set ps_properties {
    PSU__FPGA_PL0_ENABLE PSU__OVERRIDE__BASIC_CLOCK PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ PSU__USE__M_AXI_GP0
    PSU__USE__M_AXI_GP1 PSU__USE__M_AXI_GP2 PSU__USE__IRQ0
}
foreach gp {0 1 2 3 4 5 6} {
    lappend ps_properties PSU__USE__S_AXI_GP$gp PSU__SAXIGP${gp}__DATA_WIDTH
}
set pins(ps) {pl_clk0 pl_resetn0 maxihpm0_fpd_aclk saxihp0_fpd_aclk saxihp1_fpd_aclk saxihp2_fpd_aclk saxihp3_fpd_aclk
    pl_ps_irq0 M_AXI_HPM0_FPD S_AXI_HP0_FPD S_AXI_HP1_FPD S_AXI_HP2_FPD S_AXI_HP3_FPD}
set pins(ps7) {FCLK_CLK0 FCLK_RESET0_N IRQ_F2P}
# pins that are there once a property of the processing system says so
array set enabled_by {
    ps/pl_ps_irq0 PSU__USE__IRQ0
    ps/IRQ_F2P PCW_IRQ_F2P_INTR
}
set pins(reset) {slowest_sync_clk ext_reset_in peripheral_aresetn interconnect_aresetn}
set pins(smartconnect) {aclk aresetn S00_AXI M00_AXI}
set pins(engine) {ap_clk ap_rst_n interrupt s_axi_control m_axi_gmem_weights m_axi_gmem_in m_axi_gmem_shortcut
    m_axi_gmem_out}
array set kinds {
    xilinx.com:ip:zynq_ultra_ps_e ps xilinx.com:ip:processing_system7 ps7 xilinx.com:ip:proc_sys_reset reset xilinx.com:ip:smartconnect smartconnect
    sbfp:hls:sbfp_engine:1.0 engine
}
set config(PSU__OVERRIDE__BASIC_CLOCK) [expr {[fake FIXED_CLOCK 0] ? 1 : 0}]
set config(PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ) 100

proc actual_clock {} {
    if {$::config(PSU__OVERRIDE__BASIC_CLOCK)} {
        return 100.0
    }
    set source [fake SOURCE_MHZ 1499.985]
    return [format %.6f [expr {$source / [divisor]}]]
}

proc divisor {} {
    return [expr {max(1, round([fake SOURCE_MHZ 1499.985] / double($::config(PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ))))}]
}

proc end_point {kind path} {
    lassign [split $path /] cell pin
    if {![info exists ::cells($cell)] || $pin ni $::pins($::cells($cell))} {
        error "ERROR: \[BD 5-106\] no $kind $path"
    }
    if {[info exists ::enabled_by($path)] && ![info exists ::config($::enabled_by($path))]} {
        error "ERROR: \[BD 5-106\] no $kind $path without $::enabled_by($path)"
    }
    return $path
}

documented create_project {-part} {-force -in_memory} 1 2 {set ::project [lindex $words 1]; file mkdir $::project}
documented current_project {} {-quiet} 0 1 {return project}
documented get_board_parts {-filter} {-quiet -latest_file_version} 0 1 {
    set found {}
    foreach part $::installed {
        if {[string match -nocase [expr {[llength $words] ? [lindex $words 0] : "*"}] $part]} {
            lappend found $part
        }
    }
    return $found
}
documented xhub::get_xstores {} {-quiet} 0 1 {return [fake STORE_NAME xilinx_board_store]}
documented xhub::refresh_catalog {} {-quiet} 1 1 {
    if {[fake STORE_FAILS ""] ne ""} {
        error $::env(FAKE_STORE_FAILS)
    }
}
documented xhub::get_xitems {-of_objects} {-quiet} 0 1 {return [fake STORE ""]}
documented xhub::install {} {-quiet} 1 1 {set ::installed [concat $::installed [fake STORE_BOARDS ""]]}
documented get_param {} {} 1 1 {return $::parameter([lindex $words 0])}
documented set_param {} {} 2 2 {
    if {![info exists ::parameter([lindex $words 0])]} {
        error "ERROR: unknown parameter [lindex $words 0]"
    }
    set ::parameter([lindex $words 0]) [lindex $words 1]
}
documented update_ip_catalog {} {-quiet -rebuild} 0 0 {}
documented create_bd_design {} {} 1 1 {}
documented create_bd_cell {-type -vlnv} {} 1 1 {
    if {$option(-type) ne "ip" || ![info exists ::kinds($option(-vlnv))]} {
        error "ERROR: \[BD 41-51\] no IP $option(-vlnv)"
    }
    set ::cells([lindex $words 0]) $::kinds($option(-vlnv))
    return [lindex $words 0]
}
documented get_bd_cells {} {-quiet} 1 1 {
    if {![info exists ::cells([lindex $words 0])]} {
        error "ERROR: \[BD 5-106\] no cell [lindex $words 0]"
    }
    return [lindex $words 0]
}
documented apply_bd_automation {-rule -config} {-quiet} 1 1 {one_of $option(-rule) xilinx.com:bd_rule:zynq_ultra_ps_e}
documented get_bd_pins {} {-quiet} 1 1 {return [end_point pin [lindex $words 0]]}
documented get_bd_intf_pins {} {-quiet} 1 1 {return [end_point interface [lindex $words 0]]}
documented connect_bd_net {-net} {} 2 99 {}
documented connect_bd_intf_net {} {} 2 2 {
    # what needs no converter: AXI4 of the engine's bursts to AXI4 of the same width; all others differ in kind
    lassign $words source target
    if {[string match */m_axi_gmem_* $source] && [string match ps/S_AXI_HP*_FPD $target]} {
        set port [expr {[string index $target 11] + 2}]
        set bits $::config(PSU__SAXIGP${port}__DATA_WIDTH)
        if {$bits != $::env(SBFP_ENGINE_BITS)} {
            error "ERROR: \[BD 41-237\] DATA_WIDTH does not match between $target($bits) and $source($::env(SBFP_ENGINE_BITS))"
        }
    } elseif {$source eq "ps/M_AXI_HPM0_FPD" && [string match */s_axi_control $target]} {
        error "ERROR: \[BD 41-237\] PROTOCOL does not match between $target(AXI4LITE) and $source(AXI4)"
    }
}
documented assign_bd_address {} {} 0 1 {}
documented validate_bd_design {} {-force} 0 1 {}
documented save_bd_design {} {} 0 1 {}
documented get_files {-of_objects} {-quiet} 0 1 {return [lindex $words 0]}
documented generate_target {} {-force} 2 2 {
    set clock PSU__CRL_APB__PL0_REF_CTRL
    set text "<EDKSYSTEM><MODULE INSTANCE=\"[fake IP $::env(SBFP_IP)]\"/><MODULE INSTANCE=\"ps\"><PARAMETERS>"
    foreach {name value} [list ACT_FREQMHZ [actual_clock] FREQMHZ $::config(${clock}__FREQMHZ) DIVISOR0 [divisor] \
            DIVISOR1 1] {
        append text "<PARAMETER NAME=\"${clock}__$name\" VALUE=\"$value\"/>"
    }
    append text "</PARAMETERS></MODULE></EDKSYSTEM>"
    put [file join $::project sbfp.[fake SOURCES gen] sources_1 bd sbfp hw_handoff sbfp.hwh] $text
}
documented make_wrapper {-files} {-top} 0 0 {return sbfp_wrapper.v}
documented add_files {} {-norecurse} 1 1 {}
documented current_fileset {} {} 0 0 {return sources_1}
documented update_compile_order {-fileset} {} 0 0 {}
documented get_runs {} {-quiet} 1 1 {
    one_of [lindex $words 0] {synth_1 impl_1 impl_2}
    return [lindex $words 0]
}
documented launch_runs {-to_step -jobs} {} 1 1 {
    set run [lindex $words 0]
    set ::complete($run) [expr {[fake STOPS ""] eq $run ? "40%" : "100%"}]
    if {$::complete($run) eq "100%" && [info exists option(-to_step)] && [fake NO_BIT ""] eq ""} {
        put [file join $::project $run sbfp_wrapper.bit] "bits of $run"
    }
}
documented wait_on_run {-timeout} {} 1 1 {}
documented wait_on_runs {-timeout} {} 1 1 {}
documented copy_run {-name -parent_run} {-quiet} 1 1 {set ::strategy($option(-name)) $::strategy([lindex $words 0])}
documented open_run {-name} {} 1 1 {}
documented report_timing_summary {-file} {} 0 0 {put $option(-file) timing}
documented report_utilization {-file} {-hierarchical} 0 0 {
    if {[info exists option(-hierarchical)]} {
        put $option(-file) hierarchy
        return
    }
    set text [fake UTILISATION ""]
    if {$text eq ""} {
        foreach {site used all} {
            {CLB LUTs*} 40000 70560 {CLB Registers} 50000 141120 {Block RAM Tile} 150.5 216 DSPs 322 360
        } {
            append text "| $site | $used | 0 | 0 | $all | 50.00 |\n"
        }
    }
    put $option(-file) $text
}
documented get_property {} {-quiet} 2 2 {
    lassign $words name object
    if {$object in {synth_1 impl_1 impl_2}} {
        lassign [fake SLACKS_[string toupper $object] "0.1 0.02"] setup hold
        switch $name {
            PROGRESS { return [expr {[info exists ::complete($object)] ? $::complete($object) : "0%"}] }
            STATUS { return "place_design ERROR" }
            STATS.WNS { return $setup }
            STATS.WHS { return $hold }
            STRATEGY { return $::strategy($object) }
            DIRECTORY { return [file join $::project $object] }
        }
    } elseif {$object eq "project" && $name eq "DIRECTORY"} {
        return $::project
    } elseif {$object eq "xilinx_board_store" && $name eq "LOCAL_ROOT_DIR"} {
        return /store
    } elseif {$object eq "ps" && $name eq "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ"} {
        return [fake SAYS_MHZ [actual_clock]]
    }
    error "ERROR: \[Common 17-54\] object $object has no property $name"
}
documented set_property {-dict} {} 1 3 {
    if {[info exists option(-dict)]} {
        lassign $words object
        set pairs $option(-dict)
    } else {
        lassign $words name value object
        set pairs [list $name $value]
    }
    foreach {name value} $pairs {
        set key [regsub {^CONFIG\.} $name {}]
        set kind [expr {[info exists ::cells($object)] ? $::cells($object) : $object}]
        if {$kind eq "ps" && $key in $::ps_properties && $key ne $name} {
            set ::config($key) $value
        } elseif {$kind eq "ps7" && $name in {CONFIG.PCW_USE_FABRIC_INTERRUPT CONFIG.PCW_IRQ_F2P_INTR}} {
            set ::config($key) $value
        } elseif {$kind eq "smartconnect" && $name in {CONFIG.NUM_SI CONFIG.NUM_MI}} {
        } elseif {$kind eq "project" && $name in {board_part board_connections ip_repo_paths}} {
        } elseif {$kind eq "sources_1" && $name eq "top"} {
        } elseif {$kind in {impl_1 impl_2} && $name eq "strategy"} {
            one_of $value {Performance_ExplorePostRoutePhysOpt Performance_Explore Performance_ExtraTimingOpt}
            set ::strategy($kind) $value
        } else {
            error "ERROR: \[Common 17-54\] object '$object' has no property '$name'"
        }
    }
}
