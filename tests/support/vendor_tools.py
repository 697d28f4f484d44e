"""Fake vendor tools on PATH, which take documented arguments only, and run the project's Tcl in a strict test bed.

A fake program reads and writes what the real one would, as far as the flow can see it; nothing here is the vendor's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import toy_board as toy
from support.boards import BOARD
from support.vendor_reports import cosim_rpt, csynth_xml, schedules_of

from bfp.artifact_file import save
from bfp.files import write_bytes, write_text
from bfp.samples import Samples, save_samples
from codegen.identity import engine_sources, kernel_identity
from codegen.lint.artifacts import smallest_artifact
from codegen.performance.ranges import Range
from codegen.render import BENCH_HEADERS, KERNEL_HEADERS
from codegen.vendor import build
from codegen.vendor.request import FlowOptions, kernel_headers
from codegen.vendor.results import Modelled

ROOT = Path(__file__).resolve().parents[2]
TCL = Path(__file__).resolve().parent / "vendor_tcl"
TCLSH = shutil.which("tclsh")
needs_tclsh = pytest.mark.skipif(not TCLSH, reason="tclsh is not installed")
PROGRAMS = ("vitis_hls", "vitis-run", "v++", "vivado")

# FAKE_FAIL, FAKE_HANG, FAKE_NOTHING, FAKE_LEAVES name programs that fail, never end, end well without doing anything,
# or leave a process behind.
FAKE = f"""#!{sys.executable}
import json, os, re, subprocess, sys, time
from pathlib import Path

name, words = Path(sys.argv[0]).name, sys.argv[1:]
hls = "Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v%s (64-bit)"
banners = {{"vitis_hls": hls, "vivado": "Vivado v%s (64-bit)"}}

def told(key):
    return name in os.environ.get("FAKE_" + key, "").split()

def wrong(reason):
    print("INFO: starting")
    print("ERROR: [" + name + " 42] " + reason)
    print("ERROR: later")
    sys.exit(1)

if words == [{{"vitis_hls": "-version", "vivado": "-version"}}.get(name, "--version")]:
    if told("HANG_VERSION"):
        time.sleep(600)
    banner = banners.get(name, "****** " + name + " v%s (64-bit)") % os.environ.get("FAKE_VERSION", "2022.2")
    print(os.environ.get("FAKE_SAYS_VERSION", banner))
    sys.exit(0)
values = {{k: v for k, v in os.environ.items() if k.startswith("SBFP_")}}
Path(os.environ["FAKE_LOG"]).open("a").write(json.dumps([name, words, values]) + "\\n")
if told("HANG"):
    print("ERROR: [" + name + " 7] waiting for a licence", flush=True)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", stubborn])
    time.sleep(600)
if told("LEAVES"):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if told("FAIL"):
    wrong("no licence")
if told("CRASH"):
    os.kill(os.getpid(), int(os.environ.get("FAKE_SIGNAL", "11")))
if told("NOTHING"):
    sys.exit(0)

def tcl(script, bed):
    text = "".join("source {{%s}}\\n" % path for path in ({str(TCL / "strict.tcl")!r}, bed, script))
    wrapper = Path(os.environ["FAKE_COMMANDS"] + ".tcl")
    wrapper.write_text(text)
    sys.exit(subprocess.run([{TCLSH!r}, str(wrapper)]).returncode)

FLAG, COUNT, WORDS = "0|1|true|false", "[0-9]+", ".+"
CFG = {{
    "part": {{"part": "[a-z0-9]+-[a-z0-9]+-[-a-z0-9]+"}},
    "hls": {{
        "flow_target": "vivado|vitis", "clock": "[0-9.]+(ns|MHz|)", "clock_uncertainty": "[0-9.]+(ns|%|MHz|)",
        "syn.top": "[a-z_]+", "syn.file": WORDS, "syn.cflags": WORDS, "tb.file": WORDS, "tb.cflags": WORDS,
        "syn.interface.m_axi_addr64": FLAG, "syn.interface.m_axi_alignment_byte_size": COUNT,
        "syn.interface.m_axi_max_widen_bitwidth": COUNT, "syn.interface.m_axi_latency": COUNT,
        "package.output.format": "ip_catalog|xo|syn_dcp|sysgen|rtl", "package.output.syn": FLAG,
        "package.ip.vendor": WORDS, "package.ip.library": WORDS, "package.ip.name": WORDS,
        "package.ip.version": "[0-9]+[.][0-9]+([.][0-9]+)?", "cosim.O": FLAG, "cosim.rtl": "verilog|vhdl",
        "cosim.tool": "auto|vcs|modelsim|riviera|xceilum|xsim", "cosim.random_stall": FLAG, "cosim.argv": WORDS,
    }},
}}

def configuration(path):
    section, found = "part", {{}}
    for line in Path(path).read_text().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line == "[hls]":
            section = "hls"
            continue
        key, equals, value = line.partition("=")
        if not equals or not re.fullmatch(CFG[section].get(key, "(?!)"), value) or key in found:
            wrong("unknown configuration " + line)
        found[key] = value
    for key in ("syn.file", "tb.file"):
        if not Path(found[key]).is_file():
            wrong("no file " + found[key])
    return found

def left(source, path):
    if source:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(source).read_bytes())

if name == "vitis_hls" and words[0] == "-f" and len(words) == 2:
    tcl(words[1], {str(TCL / "hls.tcl")!r})
if name == "vitis-run" and words[:3] == ["--mode", "hls", "--tcl"] and len(words) == 4:
    tcl(words[3], {str(TCL / "hls.tcl")!r})
if name == "vivado" and words[:2] == ["-mode", "batch"] and words[-2] == "-source":
    if not set(words[2:-2]) <= {{"-nojournal", "-nolog", "-notrace"}}:
        wrong("unknown options")
    tcl(words[-1], {str(TCL / "vivado.tcl")!r})
if name == "v++" and words[:3] == ["-c", "--mode", "hls"] and [words[3], words[5]] == ["--config", "--work_dir"]:
    found = configuration(words[4])
    work = Path(words[6]) / "hls"
    work.mkdir(parents=True, exist_ok=True)
    left(os.environ.get("FAKE_CSYNTH"), work / "syn" / "report" / "csynth.xml")
    for schedule in Path(os.environ["FAKE_SCHEDULES"]).iterdir():
        left(schedule, work / ".autopilot" / "db" / schedule.name)
    if found["package.output.syn"] == "1" and "FAKE_NO_IP" not in os.environ:
        ip = work / "impl" / "ip"
        ip.mkdir(parents=True)
        ip.joinpath("component.xml").write_text("<component/>")
    sys.exit(0)
component = words[3::2] == ["--config", "--work_dir"]
if name == "vitis-run" and words[:3] == ["--mode", "hls", "--cosim"] and component:
    configuration(words[4])
    if not (Path(words[6]) / "hls").is_dir():
        wrong("nothing is compiled")
    left(os.environ.get("FAKE_COSIM"), Path(words[6]) / "hls" / "sim" / "report" / "sbfp_engine_cosim.rpt")
    sys.exit(0)
wrong("unknown arguments " + " ".join(words))
"""


class Tools:
    """An otherwise empty PATH that fake tools can be put on, what they leave, and what was called."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self.log, self.files = folder / "bin", folder / "calls", folder / "files"
        self.folder.mkdir()
        self.files.mkdir()
        self.monkeypatch = monkeypatch
        self.path = os.environ["PATH"]  # before
        monkeypatch.setenv("PATH", str(self.folder))
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        monkeypatch.setenv("FAKE_COMMANDS", str(folder / "commands"))
        self.commands_file = folder / "commands"
        self.csynth(csynth_xml())
        self.cosim(cosim_rpt())

    def install(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.write_text(FAKE)
            path.chmod(0o755)

    def tell(self, **values: object) -> None:
        """Set FAKE_NAME for each value."""
        for name, value in values.items():
            self.monkeypatch.setenv(f"FAKE_{name.upper()}", str(value))

    def csynth(self, text: str, schedules: dict[str, str] | None = None, ending: str = "verbose.sched.rpt") -> None:
        """The reports that synthesis leaves; schedules: by module, without them what agrees with the other."""
        (self.files / "csynth.xml").write_text(text)
        folder = self.files / "schedules"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for module, report in (schedules_of(text) if schedules is None else schedules).items():
            (folder / f"{module}.{ending}").write_text(report)
        self.tell(csynth=self.files / "csynth.xml", schedules=folder)

    def cosim(self, text: str) -> None:
        """The report that co-simulation leaves."""
        (self.files / "cosim.rpt").write_text(text)
        self.tell(cosim=self.files / "cosim.rpt")

    @property
    def calls(self) -> list:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    @property
    def commands(self) -> list[list[str]]:
        """What the scripts asked for, each as words."""
        return tcl_lists(self.commands_file)


def tcl_lists(path: Path) -> list[list[str]]:
    """Lines that are Tcl lists, as lists of words."""
    if not path.exists():
        return []
    read = f"set f [open {{{path}}}]\nwhile {{[gets $f line] >= 0}} {{puts [join $line \\x1f]}}"
    lines = subprocess.run([TCLSH], input=read, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return [line.split("\x1f") for line in lines]


MODEL = Modelled(Range(18, 20, 22), Range(50, 50, 60), Range(20000, 30000, 45000))  # agrees with csynth_xml()


def generated(folder: Path, code: str = "", seed: int = 0, **changes) -> Path:
    """A generated network of the toy, as code generation leaves it; a folder that has one is generated again.

    code: the kernel's. seed: of artifact and samples. ``changes`` replace fields of its deployment.
    """
    for name in (*KERNEL_HEADERS, *BENCH_HEADERS):
        write_text(folder / "generated" / name, f"// {name} of artifact {seed}\n{code}\n")
    network = replace(smallest_artifact(), provenance={"seed": seed})
    images = np.full((1, toy.CHANNELS, toy.HEIGHT, toy.WIDTH), seed, np.float32)
    save_samples(Samples(images, np.array([0]), ("first",), np.zeros((1, 2), np.float32)), folder / "samples.npz")
    made = {"artifact_digest": save(network, folder / "artifact.npz").digest}
    made["identity"] = kernel_identity(kernel_headers(folder), engine_sources())
    toy.write(folder / "deploy", **{**made, **changes})
    return folder


def generated_for(board, folder: Path) -> Path:
    return generated(folder, board=board.name, clock_mhz=board.clock_mhz)


def csynth(folder: Path, board=BOARD, **options):
    """The step csynth, with the model that agrees."""
    return build.csynth(folder, board, FlowOptions(**options), lambda: MODEL)


def bitstream(folder: Path, board=BOARD, **options):
    """The step bitstream, with the model that agrees."""
    return build.build_bitstream(folder, board, FlowOptions(**options), lambda: MODEL)


def cosim(folder: Path, board=BOARD, **options):
    """The step cosim, with golden data that no fake program reads."""
    return build.cosim(folder, board, FlowOptions(**options), lambda path: write_bytes(path, b"golden"))


def processes_with(log: Path, word: str = "") -> list[Path]:
    """Processes that have the log of calls in their environment, as fake programs and their children do.

    word: of the command line.
    """
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            inside = f"FAKE_LOG={log}".encode() in environment.read_bytes()
            inside = inside and word.encode() in environment.with_name("cmdline").read_bytes()
        except OSError:
            continue  # it has ended, or is somebody else's
        if inside and environment.parent.name != str(os.getpid()):
            found.append(environment.parent)
    return found


def package(folder: Path) -> dict[str, bytes]:
    """Content of the deployment folder."""
    return {path.name: path.read_bytes() for path in (folder / "deploy").iterdir()}


def run_tcl(tmp_path: Path, script: str, values: dict, bed: str, **fake: object) -> tuple[int, list[list[str]], str]:
    """A script in the strict test bed: exit status, commands as lists of words, stderr."""
    wrapper, log = tmp_path / "wrapper.tcl", tmp_path / "recorded"
    log.unlink(missing_ok=True)
    sources = (TCL / "strict.tcl", TCL / bed, ROOT / "hls" / "tcl" / script)
    wrapper.write_text("".join(f"source {{{source}}}\n" for source in sources))
    environment = {"PATH": os.environ["PATH"], **{f"SBFP_{k}": str(v) for k, v in values.items()}}
    environment |= {"FAKE_COMMANDS": str(log), **{f"FAKE_{k}": str(v) for k, v in fake.items()}}
    result = subprocess.run([TCLSH, str(wrapper)], env=environment, capture_output=True, text=True, timeout=60)
    return result.returncode, tcl_lists(log), result.stderr


def hls_values(tmp_path: Path, steps: str) -> dict:
    return dict(
        HLS=ROOT / "hls", GENERATED="/generated", WORK=tmp_path / "work", TOP="sbfp_engine", PART="xczu3eg-sbva484-1-i",
        CLOCK_MHZ="250", LANES=16, MEMORY_LATENCY=64, STEPS=steps, WEIGHTS="weights.bin", GOLDEN="golden.bin",
        RESULT="result.json",
    )  # fmt: skip


def vivado_values(tmp_path: Path) -> dict:
    return dict(
        WORK=tmp_path / "work", OUT=tmp_path / "out", NAME="toy", IP_REPO="/ip", IP="sbfp_engine_0",
        PART="xczu3eg-sbva484-1-i", BOARD_PART=BOARD.board_part, BOARD_CONNECTIONS="", CLOCK_MHZ="250",
        CLOCK_TOLERANCE="0.01", STRATEGY="Performance_ExplorePostRoutePhysOpt", PROCESSING_SYSTEM="zynq_ultra_ps_e",
        MEMORY_PORTS=4, MEMORY_PORT_BITS=128, ENGINE_BITS=128, JOBS=2,
    )  # fmt: skip
