"""A package on a board by ssh: copied by tar, which every image has, and tested there.

ssh is asked once for a password, if at all: its connection is kept for the steps that follow. Users, keys and ports are
those of ssh's own configuration; USER@HOST:PORT says another port.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bfp.errors import BfpError

LOST = 255  # ssh's own exit status for whatever hinders it
NO_SUCH_COMMAND = 127  # of the shell
CONNECT_S = 15
# of the self-test, by exit status: see host/__main__.py
VERDICTS = {0: "passed", 1: "FAILED: the board differs from the golden model", 2: "FAILED: the board's program refused"}


@dataclass(frozen=True)
class Remote:
    """A board that ssh reaches. options: words for ssh before the host."""

    host: str
    options: tuple[str, ...]

    def command(self, words: str, terminal: bool = False) -> list[str]:
        """The program ssh with its words, to run a line of the board's shell."""
        return ["ssh", *self.options, *(["-t"] if terminal else []), self.host, words]

    def run(self, words: str, data: object = None) -> tuple[int, str]:
        """Run a line of the board's shell; its exit status, and the last line that it said.

        data: a file that it reads. Raises BfpError where the board is not reached.
        """
        # a file, not a pipe: the connection that is kept would hold that open
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            command = self.command(words)
            status = subprocess.run(command, stdin=data or subprocess.DEVNULL, stdout=said, stderr=said).returncode
            said.seek(0)
            last = _last(said.read())
        if status == LOST:
            raise BfpError(f"{self.host} is not reached by ssh ({last}); see that `ssh {self.host}` works")
        return status, last


@contextmanager
def connect(host: str) -> Iterator[Remote]:
    """The board of a host, USER@HOST:PORT or less, while one connection is kept. Raises BfpError for what is no host."""
    found = re.fullmatch(r"((?:[\w.-]+@)?[\w.][\w.-]*)(?::(\d{1,5}))?", host)
    if not found:
        raise BfpError(f"{host!r} is no host; give HOST, USER@HOST or USER@HOST:PORT")
    if not shutil.which("ssh"):
        raise BfpError("ssh is not on PATH; install an OpenSSH client, or deploy into a folder with host=local")
    # a socket's path has little room
    with tempfile.TemporaryDirectory(prefix="sbfp") as folder:
        options = ["-o", f"ConnectTimeout={CONNECT_S}", "-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C"]
        options += ["-o", "ControlPersist=60", *(["-p", found[2]] if found[2] else [])]
        remote = Remote(found[1], tuple(options))
        try:
            yield remote
        finally:
            subprocess.run(["ssh", *options, "-O", "exit", found[1]], capture_output=True)


def copy(remote: Remote, package: Path, folder: str) -> None:
    """Put a package into a folder of the board, which it replaces as a whole once all has arrived.

    folder: relative to the user's home, or absolute. Raises BfpError where the board has no room or refuses.
    """
    where, new, old = (shlex.quote(f"{folder}{end}") for end in ("", ".new", ".old"))
    parent = shlex.quote(str(Path(folder).parent))
    words = (
        f"mkdir -p {parent} && rm -rf {new} {old} && mkdir {new} && tar -xzf - -C {new} && "
        f"if [ -e {where} ]; then mv {where} {old}; fi && mv {new} {where} && rm -rf {old}"
    )
    with tempfile.TemporaryFile() as archive:
        packed = subprocess.run(["tar", "-czf", "-", "-C", str(package), "."], stdout=archive, stderr=subprocess.PIPE, text=True)
        if packed.returncode:
            raise BfpError(f"the package could not be packed ({_last(packed.stderr)}); make room in {tempfile.gettempdir()}")
        archive.seek(0)
        status, last = remote.run(words, data=archive)
    if status:
        raise BfpError(
            f"{remote.host} did not take the package into {folder} ({last}); make room there, or name another "
            "folder with folder="
        )


def self_test(remote: Remote, folder: str, command: str) -> int:
    """Run a command of the package on the board as root, shown as it goes on; its exit status.

    Raises BfpError where sudo asks for a password that nobody can type, or the connection is lost.
    """
    launcher = f"{shlex.quote(folder)}/board {command}"
    launcher = launcher if folder.startswith("/") else f"./{launcher}"
    status, last = remote.run('[ "$(id -u)" = 0 ] || sudo -n true')
    if status == NO_SUCH_COMMAND:
        raise BfpError(f"{remote.host} has no sudo ({last}), and root drives the accelerator; deploy to root@HOST")
    terminal = status != 0
    if terminal and not sys.stdin.isatty():
        raise BfpError(
            f"sudo on {remote.host} asks for a password, and there is no terminal to type it in; the package is copied: run "
            f"`ssh -t {remote.host} {launcher}` yourself, or let that user call sudo without a password"
        )
    if terminal:
        print(f"sudo on {remote.host} asks for a password: the accelerator is driven by root", flush=True)
    status = subprocess.run(remote.command(launcher, terminal), stdin=None if terminal else subprocess.DEVNULL).returncode
    if status == LOST:
        raise BfpError(f"the connection to {remote.host} was lost during the self-test; see whether the board still runs")
    return status


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
