"""Fake vendor tools on PATH, and the Tcl scripts under a recording tclsh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import toy_board as toy

ROOT = Path(__file__).resolve().parents[2]

# A fake tool notes how it was called and leaves the files that the real one would.
FAKE = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
name = Path(sys.argv[0]).name
values = {{k: v for k, v in os.environ.items() if k.startswith("SBFP_")}}
Path(os.environ["FAKE_LOG"]).open("a").write(json.dumps([name, sys.argv[1:], values]) + "\\n")
if name in os.environ.get("FAKE_FAIL", "").split():
    print("INFO: starting")
    print("ERROR: [" + name + " 42] no licence")
    print("ERROR: later")
    sys.exit(1)
if name == "vivado":
    out = Path(values["SBFP_OUT"])
    out.mkdir()
    out.joinpath(values["SBFP_NAME"] + ".bit").write_bytes(b"bits")
    ip = os.environ.get("FAKE_IP", values["SBFP_IP"])
    out.joinpath(values["SBFP_NAME"] + ".hwh").write_text('<E><MODULE INSTANCE="' + ip + '"/></E>')
elif "FAKE_NO_IP" not in os.environ:
    ip = Path(values["SBFP_WORK"]) / "engine" / "solution" / "impl" / "ip"
    ip.mkdir(parents=True, exist_ok=True)
    ip.joinpath("component.xml").write_text("<component/>")
"""


class Tools:
    """An otherwise empty PATH that tools can be put on, and what was called."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.log = folder / "bin", folder / "calls"
        self.folder.mkdir()
        self.path = os.environ["PATH"]  # before
        monkeypatch.setenv("PATH", str(self.folder))
        monkeypatch.setenv("FAKE_LOG", str(self.log))

    def install(self, *names):
        for name in names:
            path = self.folder / name
            path.write_text(FAKE)
            path.chmod(0o755)

    @property
    def calls(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def generated(folder, **changes):
    """A generated network of the toy; ``changes`` replace entries of its manifest."""
    folder.mkdir()
    toy.write(folder / "deploy", **changes)
    (folder / "generated").mkdir()
    (folder / "generated" / "config.hpp").write_text("// generated\n")
    return folder


def generated_for(board, folder):
    return generated(folder, board=board.name, clock_mhz=board.clock_mhz)


# The Tcl scripts: every vendor command is recorded, one a line.

STUBS = """
proc unknown {name args} {
    global log
    puts $log [list $name {*}$args]
    flush $log
    switch $name {
        get_property { return [dict get $::properties [lindex $args 0]] }
        get_board_parts { return $::board_parts }
        make_wrapper { return sbfp_wrapper.v }
        create_bd_cell { return [lindex $args end] }
        default { return [lindex $args end] }
    }
}
"""

needs_tclsh = pytest.mark.skipif(not shutil.which("tclsh"), reason="tclsh is not installed")


def run_tcl(tmp_path, script, values, prelude=""):
    """Exit status, recorded commands as lists of words, stderr."""
    wrapper, log = tmp_path / "wrapper.tcl", tmp_path / "commands"
    wrapper.write_text(f"set log [open {{{log}}} w]\n{prelude}\n{STUBS}\nsource {{{ROOT}/hls/tcl/{script}}}\n")
    environment = {"PATH": os.environ["PATH"], **{f"SBFP_{k}": str(v) for k, v in values.items()}}
    result = subprocess.run(["tclsh", str(wrapper)], env=environment, capture_output=True, text=True, timeout=60)
    read = f"set f [open {{{log}}}]\nwhile {{[gets $f line] >= 0}} {{puts [join $line \\x1f]}}"
    lines = subprocess.run(["tclsh"], input=read, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return result.returncode, [line.split("\x1f") for line in lines], result.stderr


def hls_values(tmp_path, steps):
    return dict(
        HLS=ROOT / "hls", GENERATED="/generated", WORK=tmp_path / "work", PART="xczu3eg-sbva484-1-i", CLOCK_MHZ="250",
        LANES=16, MEMORY_LATENCY=64, STEPS=steps, WEIGHTS="weights.bin", GOLDEN="golden.bin", RESULT="result.json",
    )  # fmt: skip


def vivado_values(tmp_path):
    return dict(
        WORK=tmp_path / "work", OUT=tmp_path / "out", NAME="toy", IP_REPO="/ip", IP="sbfp_engine_0",
        PART="xczu3eg-sbva484-1-i", BOARD_PART="avnet.com:ultra96v2:part0", BOARD_CONNECTIONS="", CLOCK_MHZ="250",
        PROCESSING_SYSTEM="zynq_ultra_ps_e", MEMORY_PORTS=4, MEMORY_PORT_BITS=128, JOBS=2,
    )  # fmt: skip


def vivado_prelude(tmp_path, sources="gen", slack="0.1", progress="100%", board_parts="avnet.com:ultra96v2:part0:1.2"):
    """The state that the stubs report, and the files that Vivado would have written."""
    project = tmp_path / "project"
    handoff = project / f"sbfp.{sources}" / "sources_1" / "bd" / "sbfp" / "hw_handoff" / "sbfp.hwh"
    handoff.parent.mkdir(parents=True)
    handoff.write_text("handoff")
    (project / "sbfp_wrapper.bit").write_text("bits")
    properties = f"DIRECTORY {{{project}}} PROGRESS {progress} STATUS stopped STATS.WNS {slack}"
    return f"set properties [dict create {properties}]\nset board_parts {{{board_parts}}}"
