"""An evaluation spread over processes: killed, resumed and counted as in one process."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bfp import BfpError
from calib.__main__ import main
from calib.evaluation import spread
from calib.network import float_model

IMAGES, BATCH = 300, 32  # what there are, and of one batch of so small a network
SHARE = BATCH * spread.BATCHES
TOML = """
model = "spread_networks:make"
metric = "spread_networks:likeness"
[input]
size = 12
mean = 127
std = 64
[calibration]
images = "random"
limit = 4
[evaluation]
images = "pictures.npz"
"""
MODULE = """
import os
import torch
from pathlib import Path
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
                         nn.AvgPool2d(2), nn.Flatten(), nn.Linear(200, 10))

def likeness(output, reference, label):
    try:
        Path(__file__).with_name("deadly").unlink()  # the first process that comes here dies of it
    except FileNotFoundError:
        return 1 / (1 + float(abs(output - reference).sum())) + (label or 0) / 3
    os._exit(1)
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A user's folder with a network, a metric and labelled images; what one process finds is in ``whole``."""
    folder = tmp_path_factory.mktemp("spread")
    (folder / "spread_networks.py").write_text(MODULE)
    (folder / "net.toml").write_text(TOML)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 12, 12, 3), dtype=np.uint8)
    np.savez(folder / "pictures.npz", images=pixels, labels=rng.integers(0, 10, IMAGES))
    assert main(["calibrate", str(folder / "net.toml"), "--out", str(folder)]) == 0
    assert main(["evaluate", str(folder / "net.toml"), "--out", str(folder), "--device", "cpu"]) == 0
    (folder / "evaluation.json").rename(folder / "whole.json")
    yield folder
    sys.modules.pop("spread_networks", None)
    sys.path[:] = [p for p in sys.path if p != str(folder)]


@pytest.fixture
def folder(network):
    for path in (*network.glob("evaluation*.json"), *network.glob("evaluation.shares/*")):
        path.unlink()
    return network


def evaluated(folder: Path, *words: str) -> int:
    return main(["evaluate", str(folder / "net.toml"), "--out", str(folder), "--device", "cpu", *words])


def check_whole(folder: Path) -> None:
    """The figures are those of one process, to the last bit, and nothing is left of what led to them."""
    found, whole = (json.loads((folder / name).read_text()) for name in ("evaluation.json", "whole.json"))
    assert found.pop("seconds") > 0 and whole.pop("seconds") > 0
    assert found == whole and found["images"] == IMAGES and found["metric"] == "spread_networks:likeness"
    assert not (folder / "evaluation.part.json").exists() and not (folder / "evaluation.shares").exists()


def test_two_processes_of_which_one_dies(folder):
    (folder / "deadly").touch()
    assert evaluated(folder, "--workers", "2") == 0
    assert not (folder / "deadly").exists()
    check_whole(folder)


class Done:
    """What Dask returns of a job, which here has been done by this process."""

    def __init__(self, result=None, error=None):
        self.value, self.error = result, error

    def exception(self):
        return self.error

    def result(self):
        return json.loads(json.dumps(self.value))


class KilledWorker(Exception):
    """By its name what Dask says of a job whose worker died."""


class Here:
    """In place of a cluster: shares are computed in this process, in the order given; after so many it is interrupted."""

    def __init__(self, monkeypatch, order=None, most=None, dying=()):
        self.order, self.most, self.dying, self.seen = order, most, list(dying), []
        monkeypatch.setattr(spread, "cluster_client", self.client)
        monkeypatch.setattr(spread, "finished", self.finished)

    @contextmanager
    def client(self, scheduler, count):
        yield None

    def finished(self, client, function, jobs):
        for i in self.order or range(len(jobs)):
            if len(self.seen) == self.most:
                raise KeyboardInterrupt
            share = jobs[i][1]["share"]
            self.seen.append(share)
            if share in self.dying:
                self.dying.remove(share)
                yield i, Done(error=KilledWorker())
            else:
                yield i, Done(function(jobs[i][1]))


ALL = [(0, SHARE), (SHARE, 2 * SHARE), (2 * SHARE, IMAGES)]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
@pytest.mark.parametrize("most", [1, 2])
def test_an_interrupted_one_goes_on(folder, monkeypatch, order, most):
    """Whichever shares are done, the others alone are computed."""
    first = Here(monkeypatch, order, most)
    assert evaluated(folder, "--workers", "2") == 130
    assert first.seen == [ALL[i] for i in order[:most]] and not (folder / "evaluation.json").exists()
    second = Here(monkeypatch)
    assert evaluated(folder, "--workers", "2") == 0
    assert second.seen == [ALL[i] for i in range(3) if i not in order[:most]]
    check_whole(folder)


def test_one_process_goes_on_after_several_and_several_after_one(folder, monkeypatch, capsys):
    given, real = [], float_model.logits

    def interrupted(network, x):
        if len(given) == 3:
            raise KeyboardInterrupt
        given.append(len(x))
        return real(network, x)

    with monkeypatch.context() as patch:
        patch.setattr(float_model, "logits", interrupted)
        assert evaluated(folder) == 130
    with monkeypatch.context() as patch:
        several = Here(patch, most=1)
        assert evaluated(folder, "--workers", "2") == 130
        assert several.seen == [(3 * BATCH, SHARE)]  # cut where they always are
    monkeypatch.setattr(float_model, "logits", lambda network, x: given.append(len(x)) or real(network, x))
    assert evaluated(folder) == 0
    assert f"going on after {SHARE} images" in capsys.readouterr().err
    assert sum(given) == 3 * BATCH + IMAGES - SHARE
    check_whole(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"images": 32', '"images": 31', 1),
        lambda text: text.replace('"signal": ', '"signal": NaN, "x": ', 1),
        lambda text: text.replace('"signal": ', '"signal": NaN, "signal_": ', 1).replace(', "signal_": ', ', "noise": ', 1),
        lambda text: text.replace('"device": "cpu"', '"device": "cuda"'),
    ],
)
def test_a_damaged_share_and_one_of_another_evaluation_are_done_again(folder, monkeypatch, damage):
    Here(monkeypatch, [2, 1, 0], most=1)
    assert evaluated(folder, "--workers", "2") == 130
    (path,) = (folder / "evaluation.shares").iterdir()
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    again = Here(monkeypatch)
    assert evaluated(folder, "--workers", "2") == 0
    assert again.seen == ALL
    check_whole(folder)


def test_a_share_that_kills_every_worker_is_one_sentence(folder, monkeypatch, capsys):
    once = Here(monkeypatch, dying=[ALL[1], ALL[0]])
    assert evaluated(folder, "--workers", "2") == 0
    assert once.seen == [*ALL, ALL[0], ALL[1]]
    check_whole(folder)
    Here(monkeypatch, dying=[ALL[1]] * 3)
    assert evaluated(folder, "--workers", "2") == 2
    assert f"error: images {SHARE} to {2 * SHARE - 1} ended their worker process 3 times" in capsys.readouterr().err


def test_a_worker_that_finds_other_files_says_so(folder, monkeypatch):
    """The key of an evaluation travels with each share."""
    here, jobs, real = Here(monkeypatch), [], spread.compute_share
    monkeypatch.setattr(spread, "compute_share", lambda job: jobs.append(job) or real(job))
    assert evaluated(folder, "--workers", "2") == 0 and here.seen == ALL
    job = {**jobs[0], "key": {**jobs[0]["key"], "images": "others", "weights": "others"}}
    with pytest.raises(BfpError, match="a worker finds other weights, images by .*net.toml and .*artifact.npz than there"):
        real(job)


def test_what_cannot_be_spread_is_refused(folder, tmp_path, capsys):
    assert evaluated(folder, "--workers", "0") == 2
    assert evaluated(folder, "--workers", "2", "--device", "fpga") == 2
    assert evaluated(folder, "--scheduler", "nonsense://here") == 2
    assert "no Dask scheduler answers at nonsense://here" in capsys.readouterr().err
    online = folder / "online.toml"
    online.write_text(TOML + '[bfp]\nmethod = "online"\n')
    assert main(["evaluate", str(online), "--out", str(tmp_path), "--workers", "2"]) == 2
    assert "the online reference is evaluated in one process; leave out scheduler and workers" in capsys.readouterr().err
