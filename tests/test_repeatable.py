"""The same images and seed give the same artifact: in another process, with another number of threads."""

import os
import subprocess
import sys
from pathlib import Path

from bfp.artifact_file import load

ROOT = Path(__file__).parent.parent
MODULE = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.up = nn.Conv2d(width, 3 * width, 1)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, 1, 1, groups=3 * width)
        self.point = nn.Conv2d(3 * width, width, 1)
        self.conv = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x):
        a = F.relu(self.stem(x))
        y = a + self.point(F.relu6(self.depth(F.relu6(self.up(a)))))
        return self.head(F.relu(self.conv(y)).mean((2, 3)))
"""
TOML = """
model = "repeated_network:Net"
[input]
size = 24
mean = 127
std = 64
[calibration]
images = "random"
limit = 16
augment = 2
[bfp]
method = "auto"
weights = 4
activations = 6
"""


def test_processes_and_threads_leave_the_bytes_alone(tmp_path):
    """Sets of names are iterated in another order in every process, and sums are split among threads."""
    (tmp_path / "repeated_network.py").write_text(MODULE)
    (tmp_path / "net.toml").write_text(TOML)
    found = []
    for threads, hashes in (("1", "1"), ("2", "2")):
        out = tmp_path / threads
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": hashes, "OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, "-m", "calib", "calibrate", str(tmp_path / "net.toml"), "--out", str(out)]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, result.stderr
        # the samples hold the float network's answers: the last bit of a sum shows in them before any integer changes
        found.append([(out / name).read_bytes() for name in ("artifact.npz", "samples.npz")])
    assert load(tmp_path / "1" / "artifact.npz").provenance["method"].startswith("auto")
    assert found[0] == found[1]
