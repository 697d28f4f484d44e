"""Stand-ins for ssh on this machine and for sudo, id and tar on a board, which is a folder."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

SSH = '''#!{python}
import json, os, subprocess, sys
words, options = sys.argv[1:], []
while words and words[0].startswith("-"):
    option = words.pop(0)
    options.append(option)
    if option in ("-o", "-p", "-O"):
        options.append(words.pop(0))
host, line = words[0], " ".join(words[1:])
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(json.dumps([options, host, line]) + "\\n")
if "-O" in options:
    sys.exit(0)
mode = os.environ["FAKE_SSH"]
if mode == "unreachable":
    print("ssh: connect to host board port 22: No route to host", file=sys.stderr)
    sys.exit(255)
if mode == "lost" and line.endswith(("verify", "info")):
    print("Connection to board closed by remote host.", file=sys.stderr)
    sys.exit(255)
home = os.environ["FAKE_HOME"]
board = {{"HOME": home, "PATH": os.environ["FAKE_BIN"] + ":/usr/bin:/bin", "FAKE_SUDO": os.environ["FAKE_SUDO"],
         "FAKE_LOG": os.environ["FAKE_LOG"]}}
sys.exit(subprocess.run(["sh", "-c", line], cwd=home, env=board).returncode)
'''
SUDO = '''#!/bin/sh
# as sudo with its default settings: nothing of the caller's environment is left but PATH
if [ "$FAKE_SUDO" = password ]; then echo "sudo: a password is required" >&2; exit 1; fi
if [ "$1" = -n ]; then shift; fi
if [ "$1" = -- ]; then shift; fi
exec env -i PATH="$PATH" HOME=/root FAKE_ROOT=1 "$@"
'''
ID = '''#!/bin/sh
echo ${FAKE_ROOT:+0}${FAKE_ROOT:-1000} | sed 's/^01$/0/'
'''
TAR = '''#!/bin/sh
cat > /dev/null
echo "tar: ./deploy/weights.bin: Cannot write: No space left on device" >&2
exit 2
'''


@dataclass(frozen=True)
class FakeBoard:
    """home: of the user; log: what ssh was asked for; environment: the script that the launcher sources there."""

    home: Path
    log: Path
    bin: Path
    environment: Path


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_board(folder: Path, monkeypatch, python: Path, library: Path) -> FakeBoard:
    """A board whose Python, after its environment has been sourced, drives a simulated engine."""
    home, bin_, log = folder / "home", folder / "bin", folder / "ssh.log"
    home.mkdir(parents=True)
    program(folder / "here" / "ssh", SSH.format(python=sys.executable))
    program(bin_ / "sudo", SUDO)
    program(bin_ / "id", ID)
    # without the environment there is a Python, and it has no PYNQ
    program(bin_ / "python3", "#!/bin/sh\necho 'error: PYNQ is not installed' >&2\nexit 2\n")
    program(folder / "venv" / "python3", f'#!/bin/sh\nexec {python} "$@" --simulate "{library}"\n')
    environment = folder / "pynq_venv.sh"
    environment.write_text(f'export PATH="{folder / "venv"}:$PATH"\n')
    monkeypatch.setenv("PATH", f"{folder / 'here'}:{os.environ['PATH']}")
    for name, value in (("SSH", "works"), ("SUDO", "free"), ("HOME", home), ("BIN", bin_), ("LOG", log)):
        monkeypatch.setenv(f"FAKE_{name}", str(value))
    return FakeBoard(home, log, bin_, environment)
