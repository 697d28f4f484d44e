"""One program of the vendor's, run to its end or to its time limit, with everything that it says in a log."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bfp.errors import BfpError
from bfp.files import write_text
from bfp.names import cut, printable

# What the first error looks like: of the tools, of their C++ compiler, of a test bench and of a simulation
ERROR = re.compile(
    r"^(?!\s*(INFO|WARNING|CRITICAL WARNING)\b)"
    r"(\s*(ERROR|CRITICAL ERROR|FATAL|FATAL_ERROR|Error|@E|Abnormal program termination)\b|testbench: "
    r"|.*(\b(fatal )?error: |ERROR!!! DEADLOCK|finished: FAIL|[Ss]egmentation (fault|violation)))"
)
AROUND = 3  # lines shown before and after the first error
MOST_MESSAGE = 300  # characters of the first error in a sentence
LOOKING_S = 0.5  # between two looks at the time and at signals
SHOWING_S = 5  # between two times that are shown
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING_S = 10  # between asking a program to end and ending it


@dataclass(frozen=True)
class Command:
    """A command line, and what it needs.

    words: program and arguments; values: environment variables beside those that are set; folder: where it runs; log:
    file for what it says; timeout_s: after which it is ended.
    """

    words: list[str]
    values: dict[str, object]
    folder: Path
    log: Path
    timeout_s: float

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.words[0]).name

    def script(self) -> str:
        """A shell script that does the same by hand."""
        lines = ["#!/bin/sh", "# Generated: what the flow runs, to be run by hand.", "set -e"]
        lines += [f"export {key}={shlex.quote(str(value))}" for key, value in self.values.items()]
        lines += [f"cd {shlex.quote(str(self.folder))}", shlex.join(self.words)]
        return "\n".join(lines) + "\n"


def write_script(command: Command) -> Path:
    """Write the command as a script beside its log; returns its path."""
    path = command.log.with_suffix(".sh")
    write_text(path, command.script())
    return path


def run(command: Command) -> None:
    """Run a command; shows the time on stderr.

    Raises BfpError with its first error and its log, also where it does not end in time. The log then begins with that
    error and the lines around it, and stderr has them, too. A signal that would end this process ends the program and
    all that it started, and is then a BfpError.
    """
    write_script(command)
    try:
        command.folder.mkdir(parents=True, exist_ok=True)
        output = open(command.log, "wb")
    except OSError as error:
        reason = error.strerror or error
        raise BfpError(f"{error.filename} cannot be written ({reason}); make room, or write to another folder") from None
    with output:
        status = _run(command, output, shown=True)
    if status == 0:
        return
    first = _show_first_error(command.log)
    if status is None:
        raise BfpError(
            f"{command.name} did not end within {command.timeout_s / 3600:.4g} hours and was stopped"
            f"{f' (it said {first})' if first else ''}; the log is {command.log}; timeout=HOURS gives it longer"
        )
    raise BfpError(f"{command.name} failed with status {status}: {first or 'no message'}; the log is {command.log}")


def ask(words: list[str], timeout_s: float) -> str | None:
    """What a program says, whatever its status; None where it does not end in time. Nothing is shown.

    It runs in a folder of its own, since some leave a log where they are started. Raises BfpError where it cannot be
    run, or for a signal, as ``run`` does.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
            command = Command(words, {}, Path(folder), Path(folder) / "log", timeout_s)
            if _run(command, output, shown=False) is None:
                return None
            output.seek(0)
            return output.read().decode("utf-8", "replace")
    except OSError as error:
        reason = error.strerror or error
        raise BfpError(f"temporary files cannot be written ({reason}); make room, or set TMPDIR") from None


def _run(command: Command, output: BinaryIO, shown: bool) -> int | None:
    """Exit status of the command, None where it was stopped at its time limit. Raises BfpError for a signal."""
    with _noted_signals() as signals:
        status = _wait(command, output, signals, shown)
    if signals:
        name = signal.Signals(signals[0]).name
        log = f"; the log is {command.log}" if shown else ""
        raise BfpError(f"{command.name} was stopped by {name}, with all that it started{log}")
    return status


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Signals that would end this process, noted in a list instead: none comes between a program and its end.

    What is ignored stays ignored, as ``nohup`` wants it.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # signals are the main thread's
        return
    handlers = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: noted.append(received))
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(command: Command, output: BinaryIO, signals: Sequence[int], shown: bool) -> int | None:
    """Exit status of the command; None where it was stopped, at its time limit or for a signal.

    shown: whether stderr has the time.

    Raises BfpError where the system cannot run it.
    """
    started = time.monotonic()
    environment = {**os.environ, **{key: str(value) for key, value in command.values.items()}}
    try:
        process = subprocess.Popen(
            command.words, cwd=command.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise BfpError(f"{command.words[0]} cannot be run ({error.strerror or error}); install it again") from None
    due = 0.0 if shown else math.inf  # when the time is shown next
    try:
        while True:
            seconds = time.monotonic() - started
            if seconds >= due:
                print(f"\r{command.name}: {seconds:.0f} s, log {command.log}", end="", file=sys.stderr, flush=True)
                due += SHOWING_S
            if seconds > command.timeout_s or signals:
                return None
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=min(LOOKING_S, command.timeout_s))
    finally:
        _stop(process)  # what it started and left behind would go on writing
        if shown:
            print(file=sys.stderr)


def _stop(process: subprocess.Popen) -> None:
    """End a process and those that it started: the session is its own.

    They are asked first; what is left after the process has ended, or after STOPPING_S, is ended at once.
    """
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOPPING_S)


def first_error(log: Path) -> str:
    """The first error of a log, one printable line; empty where it has none."""
    line = next((line for line in _lines(log) if ERROR.search(line)), "")
    return cut(printable(line.strip()), MOST_MESSAGE)


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


def _show_first_error(log: Path) -> str:
    """Put the first error with the lines around it on top of the log, and on stderr; returns it as a line."""
    lines = _lines(log)
    at = next((n for n, line in enumerate(lines) if ERROR.search(line)), None)
    if at is None:
        return ""
    shown = [f"The first error stands in line {at + 1} of what the program said:"]
    for n in range(max(0, at - AROUND), min(len(lines), at + AROUND + 1)):
        shown.append(f"{'>' if n == at else ' '} {n + 1:6d}  {printable(lines[n])}")
    print(*shown, sep="\n", file=sys.stderr)
    with suppress(BfpError):  # where there is no room, the log stays as it is
        write_text(log, "\n".join([*shown, "", *lines]) + "\n")
    return cut(printable(lines[at].strip()), MOST_MESSAGE)
