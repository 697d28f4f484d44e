"""Where the tasks' sources lie, where their results go, and how a command of theirs is called."""

from __future__ import annotations

import fcntl
import os
import sys
from functools import cache
from pathlib import Path

from doit import get_initial_workdir, get_var

from bfp.names import printable

ROOT = Path(__file__).parents[2]  # of the packages: a checkout, or where Python keeps what is installed
HERE = Path.cwd()  # doit has gone to the folder of dodo.py by now; the console command stays where it was called
BUILD = HERE / "build"
IN_CHECKOUT = ROOT.resolve() == HERE.resolve()
PYTHON = sys.executable
# in a user's folder, no file of the user's may take the place of a module of ours
ISOLATED = () if IN_CHECKOUT else ("-P",)

# what results depend on
BFP = sorted(str(p) for p in (ROOT / "bfp").rglob("*.py"))
# what comes after the artifact does not change it; of that, reports, sweeps and benchmarks change no evaluation
EVALUATION_ROOM = ROOT / "calib" / "evaluation"
CALIB = sorted(str(p) for p in (ROOT / "calib").rglob("*.py") if EVALUATION_ROOM not in p.parents)
CALIB += [str(ROOT / "host" / "image.py")]
EVALUATION = sorted(str(p) for p in [*EVALUATION_ROOM.glob("*.py"), *(EVALUATION_ROOM / "baselines").glob("*.py")])
REPORT = sorted(str(p) for p in (EVALUATION_ROOM / "report").iterdir() if p.is_file())
CODEGEN = sorted(str(p) for p in (ROOT / "codegen").rglob("*") if p.suffix in (".py", ".j2", ".toml"))
HLS = sorted(str(p) for p in (ROOT / "hls").rglob("*") if p.suffix in (".cpp", ".hpp", ".h"))
STAGES = ROOT / "hls" / "testbench" / "stages"  # small networks that have every operator
HOST = sorted(str(p) for p in (ROOT / "host").glob("*.py"))


@cache
def mark_as_running() -> int | None:
    """Tell this run of tasks from another one in the same folder, and say so where there is one; once a process.

    Two runs harm no file of each other, but may do the same work twice. The mark goes with the process, however it ends.
    """
    try:
        BUILD.mkdir(exist_ok=True)
        mark = os.open(BUILD / ".running", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError:  # where nothing can be written, the task says so
        return None
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print(f"note: another run of tasks is at work in {BUILD}; what both do is done twice", file=sys.stderr)
    return mark


def called_from() -> Path:
    """The folder in which the user is: paths given with a task are relative to it."""
    return Path(get_initial_workdir() or HERE)


def refuse(sentence: str) -> bool:
    """The action of a task that cannot be done: says why, and fails."""
    print(f"error: {sentence}", file=sys.stderr)
    return False


def command(*words: object) -> list[str]:
    """A Python program of the project with its arguments."""
    return [PYTHON, *ISOLATED, "-m", *map(str, words)]


def from_here(source: str) -> str:
    """A path relative to the folder doit was called from."""
    return source if source.startswith("package:") else os.path.join(called_from(), source)


def given(*options: str) -> list[str]:
    """Those of the options that are given as ``option=value``, for the command line."""
    values = {option: get_var(option, None) for option in options}
    return [word for option, value in values.items() if value for word in (f"--{option}", value)]


def flag(name: str) -> bool:
    """Whether a flag is set. Ends doit with one sentence for a value that is neither 1 nor 0."""
    value = get_var(name, None)
    if value not in (None, "0", "1"):
        sys.exit(f"error: {name}={printable(value)} is neither {name}=1 nor {name}=0")
    return value == "1"
