"""A copy of the project and a user's folder beside it, with doit in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
PARTS = ("bfp", "calib", "codegen", "hls", "host", "static_bfp")
NAME = "toy_of_the_task_tests"

NETWORK = f"""
name = "{NAME}"
model = "toy_net:make"
arguments = {{ width = 5 }}
weights = "toy.pth"

[input]
size = 8
mean = 128
std = 64

[calibration]
images = "random"
limit = 3

[evaluation]
images = "photos.npz"

[bfp]
method = "max"

[engine]
lanes = 4
filters = 2
pixels = 2
"""

MODULE = """
from torch import nn


def make(width=5):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(width * 9, 4))


def unsupported():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(6), nn.Conv2d(4, 4, 3))


def broken():
    raise RuntimeError("no such luck")
"""


# no action may take its path apart: shells, doit and printf each have their own idea of these characters
HOSTILE = """it's "my" {project} %s $HOME"""


class Project:
    """A copy of the project, and a folder of a user somewhere else."""

    def __init__(self, folder: Path, name: str = HOSTILE) -> None:
        self.root, self.user = folder / name, folder / "my nets"
        for part in PARTS:
            # with compiled modules, but not those that another process of tests is just writing
            shutil.copytree(ROOT / part, self.root / part, ignore=shutil.ignore_patterns("*.pyc.*"))
        shutil.copyfile(ROOT / "dodo.py", self.root / "dodo.py")
        self.user.mkdir()
        (self.user / "toy_net.py").write_text(MODULE)
        (self.user / "toy.toml").write_text(NETWORK)
        rng = np.random.default_rng(0)
        np.savez(self.user / "photos.npz", images=rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8))
        self.save_weights(0)

    def save_weights(self, seed: int) -> None:
        torch.manual_seed(seed)
        layers = [torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()]
        torch.save(torch.nn.Sequential(*layers, torch.nn.Linear(45, 4)).state_dict(), self.user / "toy.pth")

    @property
    def build(self) -> Path:
        return self.root / "build" / NAME

    def doit(self, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "doit", "-f", str(self.root / "dodo.py"), *words]
        return self.process(command, self.user)

    def process(self, command: list[str], folder: Path) -> subprocess.CompletedProcess:
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    def read(self, name: str) -> dict:
        return json.loads((self.build / f"{name}.json").read_text())

    def network(self, name: str, **changes: str) -> str:
        """Another file beside the toy's, with lines replaced; returns its name."""
        text = NETWORK.replace(NAME, f"{NAME}_{name}")
        for key, value in changes.items():
            text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text, count=1)
            assert found, key
        (self.user / f"{name}.toml").write_text(text)
        return f"{name}.toml"


def ran(result: subprocess.CompletedProcess) -> list[str]:
    """Tasks that did something, in order."""
    assert result.returncode == 0, result.stdout + result.stderr
    return [t.split(":")[0] for t in re.findall(rf"(?m)^\.  (\S+:{NAME})$", result.stdout)]


def skipped(result: subprocess.CompletedProcess) -> list[str]:
    """Tasks that were up to date, in order."""
    return [t.split(":")[0] for t in re.findall(rf"(?m)^-- (\S+:{NAME})$", result.stdout)]


def refusal(result: subprocess.CompletedProcess) -> str:
    """The one sentence of a run that failed; no traceback anywhere."""
    output = result.stdout + result.stderr
    assert result.returncode != 0, output
    assert "Traceback" not in output, output
    sentences = {line for line in output.splitlines() if line.startswith("error: ")}
    assert len(sentences) == 1, output
    return sentences.pop()
