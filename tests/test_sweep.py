"""Sweeps over widths, groups and methods: on this machine's processes, and on a cluster at an address."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
from distributed import LocalCluster
from support.digits import folder, write_network  # noqa: F401 (folder is a fixture)

from bfp import BfpError
from calib.__main__ import main as calib
from calib.config import load_config
from calib.evaluation import cluster
from calib.evaluation.sweep import engine, points
from calib.sweep_options import SweepOptions

SWEEP = """
[sweep]
widths = [3, [3, 8]]
groups = [4]
methods = ["online", "mse"]
limit = 100
"""


def network(folder: Path, name: str, bfp: str = "", sweep: str = SWEEP) -> Path:
    path = write_network(folder, name, bfp)
    path.write_text(path.read_text() + sweep)
    return path


def never(*arguments):
    raise AssertionError("a cluster was asked for")


def test_sweep_on_this_machine(folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    """End to end: every point measured, pictures and tables written, and a second run computes nothing."""
    path = network(folder, "digits_sweep")
    assert calib(["sweep", str(path), "--out", str(tmp_path), "--workers", "2"]) == 0
    content = json.loads((tmp_path / "sweep.json").read_text())
    rows = content["points"]
    assert [r["name"] for r in rows] == [
        f"{curve}, {width} bits"
        for curve in ("fan2019", "max, groups 4", "online, groups 4", "mse, groups 4")
        for width in ("3", "3/8")
    ]
    assert all(r["images"] == 100 and r["error"] is None and r["top1_float"] == rows[0]["top1_float"] for r in rows)
    by = {r["name"]: r for r in rows}
    assert by["mse, groups 4, 3/8 bits"]["sqnr_db"] > by["mse, groups 4, 3 bits"]["sqnr_db"]
    assert by["max, groups 4, 3 bits"]["sqnr_db"] != by["fan2019, 3 bits"]["sqnr_db"]

    # the same options in a file of their own give the same figures
    options = "weights = 3\nactivations = 8\nweight_group = 4\nactivation_group = 4\nmethod = 'mse'"
    alone = write_network(folder, "digits_alone", options)
    job = {**points.sweep_points(load_config(path))[-1].job(), "network": str(alone), "replaced": {}}
    figures = ("images", "top1_float", "top1_bfp", "agreement", "sqnr_db")
    found = points.measure(job, str(tmp_path / "state.json"))
    assert {k: found[k] for k in figures} == {k: rows[-1][k] for k in figures}

    with open(tmp_path / "sweep.csv", newline="") as f:
        table = list(csv.DictReader(f))
    assert [r["name"] for r in table] == [r["name"] for r in rows]
    assert [float(r["top1_bfp"]) for r in table] == [r["top1_bfp"] for r in rows]

    # groups of 4 end inside the engine's words of 8
    refused = [r["modelled"] is not None and "refused" in r["modelled"] for r in rows]
    assert refused == [r["method"] in ("max", "mse") for r in rows]
    frames = [str(r["modelled"]["frames_per_second"]["likely"]) if r["method"] == "fan2019" else "" for r in rows]
    assert [r["frames_per_second"] for r in table] == frames

    html = (tmp_path / "sweep.html").read_text()
    assert not re.search(r"(?:src|href)=|https?://(?!www\.w3\.org)", html)
    for r in rows:
        assert f"<title>{r['name']}: {100 * r['top1_bfp']:.2f} %</title>" in html
    assert f"float {100 * rows[0]['top1_float']:.1f} %" in html and html.count("<svg viewBox=\"0 0 760") == 4

    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "points").iterdir()}
    assert len(written) == len(rows) and all(p.suffix == ".json" for p in written)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "cluster_client", never)
        assert calib(["sweep", str(path), "--out", str(tmp_path)]) == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "points").iterdir()} == written


def test_cluster_at_an_address(folder, tmp_path):  # noqa: F811
    """A scheduler on loopback; one worker or two, half the points done before or none: the same bytes."""
    path = network(folder, "digits_cluster", "unsigned = false")
    texts = []
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None) as c:
        assert c.scheduler_address.startswith("tcp://")
        for name in ("a", "b"):
            assert calib(["sweep", str(path), "--out", str(tmp_path / name), "--scheduler", c.scheduler_address]) == 0
            texts.append([(tmp_path / name / f).read_bytes() for f in ("sweep.json", "sweep.csv", "sweep.html")])
            if name == "a":
                done = sorted((tmp_path / "a" / "points").iterdir())
                (tmp_path / "b" / "points").mkdir(parents=True)
                for p in done[::2]:
                    p.rename(tmp_path / "b" / "points" / p.name)
                c.scale(2)
    assert texts[0] == texts[1]


def test_a_failed_point_is_named_and_the_others_are_kept(folder, tmp_path, capsys):  # noqa: F811
    """The override is wrong; ``fan2019``, ``max`` and ``online`` do not read it, ``mse`` does."""
    path = network(folder, "digits_failing", '[[bfp.override]]\nlayers = "nothing*"\nmethod = "kl"')
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address=None) as cluster:
        words = ["sweep", str(path), "--out", str(tmp_path), "--scheduler", cluster.scheduler_address]
        assert calib(words) == 2
    err = capsys.readouterr().err
    assert "mse, groups 4, 3 bits failed: network digits_failing: override of layers 'nothing*' matches none" in err
    last = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(last) == 1 and "2 failed (mse, groups 4, 3 bits; mse, groups 4, 3/8 bits)" in last[0]
    rows = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert [r["agreement"] is None for r in rows] == ["mse" in r["name"] for r in rows]
    assert "matches none" in rows[-1]["error"] and "matches none" in (tmp_path / "sweep.html").read_text()
    assert len(list((tmp_path / "points").iterdir())) == 6


def test_what_decides_a_point_decides_where_it_is_kept(folder, tmp_path):  # noqa: F811
    path = network(folder, "digits_keys")
    store = lambda: engine.Store(tmp_path)  # noqa: E731
    chosen = points.sweep_points(load_config(path))
    before = [store().path(p) for p in chosen]
    assert len(set(before)) == len(before) and [store().path(p) for p in chosen] == before
    module = folder / "digits_beside.py"
    original = {f: f.read_bytes() for f in (path, folder / "digits.pth", module, folder / "digits.npz")}
    for file, content in original.items():
        file.write_bytes(content + b"\n# more\n")
        try:
            assert not {store().path(p) for p in chosen} & set(before), file
        finally:
            file.write_bytes(content)
    assert [store().path(p) for p in chosen] == before
    before[0].parent.mkdir(exist_ok=True)
    before[0].write_text('{"torn')
    assert store().read(before[0]) is None


def test_points_of_a_file(folder):  # noqa: F811
    """Baselines are always there, and plain but for the widths; the other methods keep the file's options."""
    layers = [{"layers": "0*", "weights": 8, "method": "kl"}, {"layers": "1*", "method": "mse"}]
    own = {"unsigned": False, "sensitive": 8, "override": layers}
    bfp = "unsigned = false\nsensitive = 8\nweights = 5\nweight_budget = 6\n"
    bfp += '[[bfp.override]]\nlayers = "0*"\nweights = 8\nmethod = "kl"\n'
    bfp += '[[bfp.override]]\nlayers = "1*"\nmethod = "mse"'
    path = network(folder, "digits_points", bfp, '[sweep]\nwidths = [4, 4]\ngroups = [16, [64, 0]]\nmethods = ["kl"]\n')
    found = {p.name: p.replaced["bfp"] for p in points.sweep_points(load_config(path))}
    widths = {"weights": 4, "activations": 4}
    plain = {"sensitive": 8, **widths, "override": [{"layers": "0*", "weights": 8}]}
    groups = {"16": (16, 16), "64/all": (64, 0)}
    blocks = {label: {"weight_group": w, "activation_group": a} for label, (w, a) in groups.items()}
    assert found == {
        "fan2019, 4 bits": {"method": "fan2019", **plain},
        **{f"max, groups {g}, 4 bits": {"method": "max", **plain, **b} for g, b in blocks.items()},
        **{f"kl, groups {g}, 4 bits": {"method": "kl", **own, **widths, **b} for g, b in blocks.items()},
    }
    assert all(load_config(path, p.replaced).bfp.method == p.method for p in points.sweep_points(load_config(path)))


@pytest.mark.parametrize(
    "text, words",
    [
        ("widths = 4", "[sweep] widths is 4; it must be an array"),
        ("widths = []", "[sweep] widths is []"),
        ("widths = [1]", "2 to 8"),
        ("widths = [[4, 9]]", "2 to 8"),
        ("widths = [[4, 8, 8]]", "[weights, activations]"),
        ("widths = [true]", "whole number"),
        ("groups = [-1]", "from 0 up"),
        ('methods = ["maximum"]', "an array of max, percentile"),
        ('methods = "max"', "it must be an array"),
        ("limit = 0", "[sweep] limit is 0"),
        ("width = [4]", "[sweep] width is not a known key; did you mean 'widths'?"),
    ],
)
def test_wrong_sections_are_refused(folder, text, words):  # noqa: F811
    with pytest.raises(BfpError) as error:
        load_config(network(folder, "digits_wrong", sweep=f"[sweep]\n{text}\n"))
    assert words in str(error.value) and "digits_wrong.toml" in str(error.value)


def test_defaults_without_a_section(folder):  # noqa: F811
    assert load_config(write_network(folder, "digits_default")).sweep == SweepOptions()


def test_no_scheduler_at_the_address(folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    path = network(folder, "digits_nobody")
    for address in ("tcp://127.0.0.1:9", "nonsense://here"):
        assert calib(["sweep", str(path), "--out", str(tmp_path), "--scheduler", address]) == 2
        assert f"error: no Dask scheduler answers at {address}" in capsys.readouterr().err
    assert calib(["sweep", str(path), "--out", str(tmp_path), "--workers", "0"]) == 2


class Cluster:
    """A client whose workers answer as told."""

    def __init__(self, answers):
        self.answers = answers

    def run(self, function):
        if self.answers is None:
            raise ModuleNotFoundError("No module named 'calib'")
        return self.answers

    def run_on_scheduler(self, function):
        return function()


@pytest.mark.parametrize(
    "answers, words",
    [
        (None, "cannot run the calibrator (ModuleNotFoundError: No module named 'calib')"),
        ({}, "has no workers"),
        ({"tcp://10.0.0.1:1": "0123"}, "tcp://10.0.0.1:1 runs another version of the calibrator"),
    ],
)
def test_unusable_clusters_are_refused(answers, words):
    with pytest.raises(BfpError, match=re.escape(words)):
        cluster.check_workers(Cluster(answers), "tcp://10.0.0.1:2")


def die_or_answer(job: dict, state: str) -> dict:
    """What a point's function might do in its worker: one kills it, the others answer."""
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ  # with which large arrays are cleared page by page, each time
    if job["replaced"]["bfp"]["method"] == "max":
        os._exit(1)
    return {"answer": job["replaced"]["bfp"]["method"], "files": {}}


def test_a_worker_that_dies_takes_no_other_point_with_it(folder, tmp_path):  # noqa: F811
    chosen = points.sweep_points(load_config(network(folder, "digits_killed")))[::2]
    found, failures = engine.run_points(chosen, tmp_path, "dying", workers=1, function=die_or_answer)
    assert found == [{"answer": "fan2019"}, None, {"answer": "online"}, {"answer": "mse"}]
    assert failures == {
        "max, groups 4, 3 bits": "its worker process died, probably for lack of memory; give fewer workers"
    }


def test_errors_become_one_line():
    assert cluster.sentence(ValueError("first\nsecond")) == "ValueError: first"
    assert cluster.sentence(BfpError("layer x: wrong")) == "layer x: wrong"
