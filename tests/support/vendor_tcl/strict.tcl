# A test bed for the project's Tcl: documented commands with documented options, each recorded; all else is an error.
# FAKE_COMMANDS names the file that takes what was called, one Tcl list a line.

proc unknown {name args} {
    error "invalid command name \"$name\""
}

proc record {words} {
    set file [open $::env(FAKE_COMMANDS) a]
    puts $file $words
    close $file
}

proc fake {name default} {
    if {[info exists ::env(FAKE_$name)]} {
        return $::env(FAKE_$name)
    }
    return $default
}

# Defines a command: options that take a value, options that do not, least and most number of other words, what it does.
# The body sees the values as array `option`, and the other words as list `words`.
proc documented {name valued flags least most body} {
    proc $name args [string map [list NAME [list $name] VALUED $valued FLAGS $flags \
            LEAST $least MOST $most BODY $body] {
        record [list NAME {*}$args]
        array set option {}
        set words {}
        for {set i 0} {$i < [llength $args]} {incr i} {
            set word [lindex $args $i]
            if {[regexp {^(-[A-Za-z_0-9]+)=(.*)$} $word -> key value] && $key in {VALUED}} {
                set option($key) $value
            } elseif {$word in {VALUED}} {
                incr i
                if {$i >= [llength $args]} {
                    error "ERROR: NAME: option $word needs a value"
                }
                set option($word) [lindex $args $i]
            } elseif {$word in {FLAGS}} {
                set option($word) 1
            } elseif {[string match -* $word] && ![string is double $word]} {
                error "ERROR: NAME: unknown option $word"
            } else {
                lappend words $word
            }
        }
        if {[llength $words] < LEAST || [llength $words] > MOST} {
            error "ERROR: NAME: wrong number of arguments: $words"
        }
        BODY
    }]
}

proc one_of {value allowed} {
    if {$value ni $allowed} {
        error "ERROR: '$value' is none of $allowed"
    }
}

proc put {path text} {
    file mkdir [file dirname $path]
    set file [open $path w]
    puts -nonewline $file $text
    close $file
}

proc copy_to {source path} {
    file mkdir [file dirname $path]
    file copy -force $source $path
}
