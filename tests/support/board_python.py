"""A Python as it is on the board: 3.10 with pynq 3.0.1, NumPy 1.21.5 and Pillow 9.0.1, made once below build/."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from bfp.files import replacing

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).with_name("board_image.txt")
NOTEBOOK = ("nbclient", "ipykernel")
VERSION = (3, 10)
BUILD_LIMIT_S = 50  # the package index answers in seconds or not at all


def find_python() -> Path | None:
    """An interpreter of the board's version: on PATH, or of pyenv. None where there is none."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    name = ".".join(map(str, VERSION))
    on_path = shutil.which(f"python{name}")
    candidates = sorted(versions.glob(f"{name}.*/bin/python")) + ([Path(on_path)] if on_path else [])
    for candidate in candidates:  # a shim of pyenv is on PATH even where it starts nothing
        asked = [candidate, "-c", "import sys; print(sys.version_info[:2])"]
        found = subprocess.run(asked, capture_output=True, text=True)
        if found.returncode == 0 and found.stdout.strip() == str(VERSION):
            return candidate
    return None


@cache
def board_python() -> Path:
    """The interpreter of an environment with the image's packages. Skips the test, with the reason, where none can be had."""
    base = find_python()
    if base is None:
        pytest.skip(f"no Python {'.'.join(map(str, VERSION))} is installed (PATH and pyenv were looked through)")
    key = hashlib.sha256(PINS.read_bytes() + str(base).encode()).hexdigest()[:12]
    folder = ROOT / "build" / f"board_python_{key}"
    if not folder.is_dir():
        with replacing(folder) as made:
            python = made / "bin" / "python"
            for words in (
                [base, "-m", "venv", made],
                [python, "-m", "pip", "install", "--quiet", "setuptools==65.5.0", "wheel"],
                [python, "-m", "pip", "install", "--quiet", "--no-build-isolation", "-r", PINS],
            ):
                _step([str(word) for word in words])
    return folder / "bin" / "python"


def notebook_python() -> Path:
    """The board's interpreter with what executes notebooks, as the image has it. Skips the test where that is not there."""
    python = board_python()
    if subprocess.run([python, "-c", "import nbclient, ipykernel"], capture_output=True).returncode:
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", *NOTEBOOK], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"nbclient is not installed and cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    return python


def _step(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=BUILD_LIMIT_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the board's packages could not be installed within {BUILD_LIMIT_S} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        pytest.skip(f"the board's packages cannot be had here: {lines[-1]}")


def on_the_board(*words: object, **options: object) -> subprocess.CompletedProcess:
    """Run a Python program with the board's packages and nothing but the project's root on the path."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [str(board_python()), *map(str, words)]
    options = {"cwd": ROOT, "env": {**environment, "PYTHONDONTWRITEBYTECODE": "1"}, **options}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
