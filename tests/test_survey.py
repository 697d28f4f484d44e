"""The survey of published networks: a network that is taken, one that lacks operators, one that cannot be built."""

from __future__ import annotations

import json

import torch
from torch import nn

from calib.evaluation.benchmark import survey


def broken():
    raise OSError("no weights")


def wrong():
    """A network whose float graph is not torch's: it counts how often it was called."""

    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return torch.relu(x) * self.calls

    return Counting()


NETWORKS = {
    "own/small": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
    "own/gated": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 1)),
    "own/silu": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 1)),
    "own/broken": broken,
    "own/wrong": wrong,
}


def test_survey(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(survey, "candidates", lambda: iter(NETWORKS.items()))
    assert survey.main(["--size", "12", "--out", str(tmp_path / "survey.json")]) == 0
    found = json.loads((tmp_path / "survey.json").read_text())
    reached = {o["name"]: o["reached"] for o in found["each"]}
    assert reached == {"own/small": "generated", "own/gated": "built", "own/silu": "built", "own/broken": "", "own/wrong": "built"}
    assert found["taken"] == found["simulated"] == found["simulated_bit_equal"] == 1 and found["networks"] == 5
    assert found["refused_by_operator"] == {"aten.silu": 2, "aten.gelu": 1} and found["one_operator_away"] == {"aten.silu": 1}
    assert "differs by" in next(o["reason"] for o in found["each"] if o["name"] == "own/wrong")
    assert "1 of 5 taken" in capsys.readouterr().out


def test_there_are_candidates():
    names = [name for name, _ in survey.candidates()]
    assert len(names) == len(set(names)) > 50 and "torchvision/resnext50_32x4d" in names
