"""Environments of their own for other people's tools, below build/; they borrow this one's PyTorch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_text


def environment(folder: Path, requirements: Path) -> Path:
    """The Python of an environment with these exact pins, installed on the first call and after a change of them.

    Raises BfpError where pip fails.
    """
    python = folder / "bin" / "python"
    stamp = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    marker = folder / "installed.txt"
    if marker.is_file() and marker.read_text() == stamp and python.exists():
        return python
    print(f"installing {requirements.name} into {folder}", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True, symlinks=True)
    command = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    result = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise BfpError(f"pip cannot install {requirements.name} into {folder}: {last}; it needs PyPI or a mirror of it")
    # last on the path: PyTorch, and what else is not pinned, comes from here
    where = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    write_text(Path(where) / "zz_project.pth", sysconfig.get_path("purelib") + "\n")
    write_text(marker, stamp)
    return python
