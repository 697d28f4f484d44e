"""The tasks that end on a board: those of the vendor's tools, and deployment."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from doit import get_var
from doit.action import CmdAction
from doit.tools import Interactive

from bfp.names import COMMAND
from codegen.performance.board import board_at
from codegen.vendor.build import is_current
from codegen.vendor.request import FlowOptions
from static_bfp.tasks.choice import engine_words, named_host
from static_bfp.tasks.place import BUILD, STAGES, command, flag, from_here, given, refuse

FLAGS = ("dry_run", "force", "strict", "minimal", "rebuild")  # of the vendor's steps: NAME=1


def vendor_words(path: Path) -> list[str]:
    """Board, engine and options of the vendor's steps, for the command line."""
    flags = [f"--{name.replace('_', '-')}" for name in FLAGS if flag(name)]
    return [*given("tool", "timeout", "jobs"), *flags, *engine_words(path)]


class ToolAction(CmdAction):
    """A command that ends at Ctrl-C by itself, with all that it started; doit waits for that."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(words, shell=False)

    def execute(self, out=None, err=None):
        if threading.current_thread() is not threading.main_thread():  # doit -n 2 -P thread
            return super().execute(out, err)
        before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the command would inherit
        try:
            return super().execute(out, err)
        finally:
            signal.signal(signal.SIGINT, before)


def vendor_step(step: str, name: str, path: Path) -> dict:
    """A step of the vendor's tools. Whether it is up to date, vendor.json says: a dry run changes nothing."""
    return {
        "actions": [ToolAction(command("codegen.vendor", step, BUILD / name, *vendor_words(path)))],
        "task_dep": [f"codegen:{name}"],
        "uptodate": [(vendor_is_current, [step, BUILD / name, engine_words(path)])],
    }


def vendor_is_current(task, values: dict, step: str, folder: Path, words: list[str]) -> bool:
    """Whether a step of the vendor's tools has been done for exactly what is there now."""
    options = FlowOptions(
        get_var("tool", None), force=flag("force"), strict=flag("strict"), minimal=flag("minimal"), rebuild=flag("rebuild")
    )
    board, clock = words[1], words[words.index("--clock") + 1] if "--clock" in words else None
    return not flag("dry_run") and is_current(step, folder, board_at(board, clock), options)


def csynth(name: str, path: Path) -> dict:
    """synthesis with Vitis HLS, its report checked: vendor.json; board=NAME clock=MHZ dry_run=1 tool=NAME force=1"""
    return vendor_step("csynth", name, path)


def cosim(name: str, path: Path) -> dict:
    """the RTL simulated against the golden model, for hangs and wrong bits; dry_run=1 tool=NAME timeout=HOURS"""
    return vendor_step("cosim", name, path)


def small_cosim() -> dict:
    """cosim of a small network with every operator, which is made for it"""
    network = STAGES / "network_8bit.toml"
    folder, engine = BUILD / "cosim_network", engine_words(network)
    return {
        "actions": [
            command("calib", "calibrate", network, "--out", folder),
            command("codegen", "generate", folder, *engine),
            ToolAction(command("codegen.vendor", "cosim", folder, *vendor_words(network))),
        ],
        "uptodate": [False],  # the first two take seconds, and the last is done once for the same inputs
        "doc": small_cosim.__doc__,
    }


def build_bitstream(name: str, path: Path) -> dict:
    """synthesis, implementation and the package for the board; as csynth, and strict=1 minimal=1 rebuild=1 jobs=N"""
    return vendor_step("bitstream", name, path)


def deploy(name: str, path: Path) -> dict:
    """the package onto a board, and its self-test there: host=USER@HOST:PORT, or host=local for a folder, simulated; folder=PATH"""
    host, folder = named_host(), get_var("folder", None)
    if host is None:
        sentence = f"say where the board is: {COMMAND} deploy:{name} host=USER@HOST, or host=local for a folder of this machine"
        return {"actions": [(refuse, [sentence])]}
    words = command("codegen.deploy", BUILD / name, "--host", host)
    if folder:
        words += ["--folder", from_here(folder) if host == "local" else folder]
    # passwords of ssh and sudo are typed, so that the terminal is the program's own
    return {
        "actions": [Interactive(words, shell=False)],
        "task_dep": [f"estimate:{name}", *([f"csim:{name}"] if host == "local" else [])],
        "uptodate": [False],
    }
