"""The survey of published networks: a network that is taken, one that lacks operators, one that cannot be built."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bfp.errors import BfpError
from calib.evaluation.benchmark.survey import __main__ as survey
from calib.evaluation.benchmark.survey import candidates, side_by_side, stages, summary
from calib.frontend.importer import import_module
from calib.frontend.refusals import Refusals

SMALL = Path(__file__).parent / "support" / "user_networks"
# what the small networks lack, and no further operator brings
NOT_TAKEN = {"aten.group_norm", "aten.lstm", "aten.batch_norm", "aten.cat"}


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


class Each(nn.Module):
    """A function of every value that there is no table of."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def larger(x):
    return torch.nn.functional.relu(torch.nn.functional.interpolate(x, scale_factor=1.5, mode="bicubic"))


NETWORKS = {
    "own/small": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
    "own/gated": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Each(torch.asinh), nn.Conv2d(8, 8, 3), Each(torch.acosh), nn.Conv2d(8, 8, 1)),
    "own/asinh": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Each(torch.asinh), nn.Conv2d(8, 8, 3)),
    "own/norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.LayerNorm((10, 10)), Each(torch.asinh), Each(larger)),
    "own/broken": broken,
    "own/wrong": wrong,
    "own/larger": lambda: nn.Sequential(nn.Conv2d(3, 8, 15), nn.ReLU()),
}
SHAPES = ((3, 12, 12), (3, 16, 16))


@pytest.fixture
def few(monkeypatch):
    chosen = [candidates.Candidate(name, make, SHAPES) for name, make in NETWORKS.items()]
    monkeypatch.setattr(survey, "candidates", lambda small: chosen)
    monkeypatch.setattr(side_by_side, "candidates", lambda small: chosen)


def surveyed(out, *words):
    assert survey.main(["--jobs", "1", "--out", str(out), *words]) == 0
    found = json.loads(out.read_text())
    return found, {o["name"].split("/")[1]: o for o in found["each"]}


def test_survey(few, tmp_path, capsys):
    found, each = surveyed(tmp_path / "survey.json")
    reached = {name: o["reached"] for name, o in each.items()}
    assert reached == {
        **dict.fromkeys(("small", "larger"), "generated"),
        **dict.fromkeys(("gated", "asinh", "norm", "wrong"), "built"),
        "broken": "",
    }
    assert found["taken"] == found["simulated"] == found["simulated_bit_equal"] == 2 and found["networks"] == 7
    assert found["stages"] == {
        **{"networks": 7, "built": 6, "imported": 2, "calibrated": 2, "generated": 2, "taken": 2},
        "share": round(2 / 7, 3),
    }
    assert found["refused_by_operator"] == {"aten.asinh": 3, "aten.acosh": 1, "aten.layer_norm": 1, "aten.upsample_bicubic2d": 1}
    kinds = "more functions of one value, by tables", "more upsampling"
    functions, bicubic = (found["further_operators"][n] for n in kinds)
    assert functions == {"needed_by": 3, "alone_brings": 2, "share_with_those_before": round(4 / 7, 3)}
    assert bicubic == {"needed_by": 1, "alone_brings": 0, "share_with_those_before": round(4 / 7, 3)}
    assert "differs by" in each["wrong"]["reason"] and each["larger"]["shape"] == [3, 16, 16]
    assert "2 of 7 taken" in capsys.readouterr().out
    text = (tmp_path / "survey.md").read_text()
    assert "| own | 7 | 6 | 2 | 2 | 2 | 2 | 29% |" in text and "| `aten.asinh` | 3 |" in text


def test_an_interrupted_survey_goes_on(few, tmp_path, monkeypatch):
    out = tmp_path / "survey.json"
    found, _ = surveyed(out, "--no-simulation")
    calls = []
    monkeypatch.setattr(side_by_side, "examine", lambda c, board: (calls.append(c.name) or stages.Outcome(c.name), None))
    surveyed(out, "--no-simulation", "--again")
    assert calls == [f"own/{name}" for name in ("gated", "asinh", "norm", "broken", "wrong")]
    calls.clear()
    kept = [o for o in found["each"] if o["name"] != "own/asinh"]
    out.write_text(json.dumps({"finished": False, "each": kept}))
    surveyed(out, "--no-simulation")
    assert calls == ["own/asinh"]
    calls.clear()
    surveyed(out, "--no-simulation")
    assert len(calls) == len(NETWORKS)


def test_there_are_candidates():
    names = [c.name for c in candidates.candidates(SMALL)]
    assert len(names) == len(set(names)) > 180 and "torchvision/resnext50_32x4d" in names
    assert not any("swin" in name for name in names) and "user_networks/dqn" in names


def test_a_folder_without_networks(tmp_path):
    with pytest.raises(BfpError, match="has no Python files"):
        list(candidates.of_folder(tmp_path))
    (tmp_path / "nets.py").write_text("1 / 0")
    with pytest.raises(BfpError, match="nets.py: no table NETWORKS"):
        list(candidates.of_folder(tmp_path))


@pytest.mark.parametrize("path", sorted(SMALL.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.heavy), pytest.param(2, marks=pytest.mark.heavy)])
def test_small_networks_are_taken_or_lack_an_operator(path, part):
    """Each is the function that it was, or is refused for what the engine does not have; a third of them in each part."""
    chosen = np.random.default_rng(7).permutation(sorted(candidates.networks_of(path)))[part::3]
    for candidate in candidates.of_folder(SMALL):
        if candidate.name.split("/")[1] in chosen:
            torch.manual_seed(0)
            module, shape = stages.draw(candidate.make()), candidate.shapes[0]
            try:
                network = import_module(module, shape, "net")
            except Refusals as error:
                assert all(summary.needs(o.operator, o.reason) or o.operator in NOT_TAKEN for o in error.obstacles), error
                continue
            stages.same_function(module, network, torch.randn(1, *shape))

