"""bfp/ and host/ under the board's Python 3.10, NumPy 1.21.5, Pillow 9.0.1 and pynq 3.0.1, and what is said of it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import board_api
from support.board_python import PINS, on_the_board
from support.deployed import build

from host.image import EXIF_ORIENTATION

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LEAST = PROJECT["tool"]["static-bfp"]["python"]
IMAGE = dict(line.split("==") for line in PINS.read_text().splitlines() if "==" in line)


# Everywhere: syntax and names


@pytest.mark.parametrize("package", LEAST)
def test_every_package_is_written_in_the_python_that_the_project_says(package):
    version = tuple(map(int, LEAST[package].split(".")))
    for path in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=version)
        imported = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        assert ("tomllib" not in imported) or version >= (3, 11), path


def test_what_the_board_runs_uses_only_names_that_its_packages_have():
    known = set(json.loads(board_api.TABLE.read_text(encoding="utf-8")))
    unknown = [f"{p.relative_to(ROOT)}: {n}" for p in board_api.SOURCES for n in board_api.used(p) if n not in known]
    assert not unknown, "not in the table of the board's names; try them there, as tests/support/board_api.py says"
    assert len(known) < 2 * len(board_api.everything()), "most of the table is used"


def test_the_board_extra_leaves_the_image_as_it_is():
    """Every requirement of an installation on the board is met by what the image has."""

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(map(int, version.split(".")))

    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["board"]]
    assert {re.match(r"[\w-]+", w)[0] for w in wanted} <= set(IMAGE)
    for requirement in wanted:
        name, sign, version = re.fullmatch(r"([\w-]+)(>=|<)([\d.]+)", requirement).groups()
        found, bound = numbers(IMAGE[name]), numbers(version)
        assert found >= bound if sign == ">=" else found < bound, requirement


def test_tasks_refuse_an_older_python_in_one_sentence(tmp_path):
    """doit itself runs on 3.10, and would end in a traceback."""
    code = "import sys; sys.version_info = (3, 10, 13, 'final', 0); exec(open('dodo.py').read())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "needs Python 3.11" in done.stderr and "3.10" in done.stderr


# Where a Python 3.10 is found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An artifact, its deployment, and pictures of every mode."""
    folder = tmp_path_factory.mktemp("board")
    build(folder, 4)
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (57, 41, 3), dtype=np.uint8))
    for mode in ("RGB", "RGBA", "LA", "L", "P", "1"):
        colours.convert(mode).save(folder / f"{mode}.png")
    turned = Image.Exif()
    turned[EXIF_ORIENTATION] = 6
    for kind in ("png", "tiff"):
        colours.save(folder / f"turned.{kind}", exif=turned)
    Image.fromarray(rng.integers(0, 256, (1, 5000, 3), dtype=np.uint8)).save(folder / "line.png")
    Image.fromarray(rng.integers(0, 65536, (30, 33), dtype=np.uint16)).save(folder / "deep.png")
    return folder


@pytest.mark.heavy
def test_the_boards_program_drives_the_simulated_board(folder):
    """pynq 3.0.1 under the driver: layers against the golden model, pictures, many of them, figures."""
    simulated = ("--simulate", folder / "csim" / "libengine.so")
    done = on_the_board("-m", "host", "verify", folder / "deploy", *simulated)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "2 images" in done.stdout and "bit-equal" in done.stdout
    done = on_the_board("-m", "host", "bench", folder / "deploy", "--seconds", "0.1", *simulated)
    assert done.returncode == 0 and "images/s" in done.stdout, done.stdout + done.stderr[-2000:]
    done = on_the_board("-m", "host", "info", folder / "deploy", *simulated)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    for name in ("pynq", "numpy"):
        assert f"{name} {IMAGE[name]}" in done.stdout
    assert f"Pillow {IMAGE['pillow']}" in done.stdout and "3.10." in done.stdout


def test_the_board_has_the_names_of_the_table():
    done = on_the_board("-c", "import json, sys; sys.path.insert(0, 'tests'); from support.board_api import *; "
                              "print([n for n in json.loads(TABLE.read_text()) if not exists(n)])")  # fmt: skip
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_board_computes_what_the_computer_computes(folder):
    """Pixels, normalised images, golden model and memory, digest by digest."""
    words = ["tests/support/board_work.py", str(folder)]
    path = {"PYTHONPATH": str(ROOT)}
    there = on_the_board(*words, env={**os.environ, **path})
    here = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **path})
    assert there.returncode == here.returncode == 0, there.stderr[-2000:] + here.stderr[-2000:]
    assert there.stdout.splitlines() == here.stdout.splitlines()
    assert len(here.stdout.splitlines()) > 10 * 4 * 3
