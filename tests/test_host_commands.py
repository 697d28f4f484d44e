"""The board's one program: run, bench, verify and info on the simulated board."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import toy_board as toy
from support.boards import BOARD
from support.deployed import build, negated, telling_layer
from support.driven import deploy, library  # noqa: F401 (fixtures)
from support.random_graphs import random_artifact

from bfp.artifact_file import load
from bfp.deployment import add_files
from bfp.files import write_json
from host.__main__ import main
from host.progress import Progress


@pytest.fixture
def pictures(tmp_path):
    """Two classes with three pictures."""
    rng = np.random.default_rng(0)
    for name in ("cats/1.png", "cats/2.png", "dogs/1.jpg", ".thumbnails/1.png", "cats/notes.txt"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("x")
        else:
            Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


SEED = next(seed for seed in range(50) if telling_layer(random_artifact(seed, lanes=16)))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A generated engine with its artifact and samples in the folder; (folder of the deployment, library)."""
    folder = tmp_path_factory.mktemp("built")
    build(folder, SEED)
    return folder / "deploy", folder / "csim" / "libengine.so"


def run(capsys, *words):
    """Status, stdout and stderr of a command."""
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_run_takes_files_and_folders_and_counts_what_is_right(deploy, library, pictures, tmp_path, capsys):
    simulated = ("--simulate", library, "--top", 3)
    files = ("--csv", tmp_path / "out" / "classes.csv", "--json", tmp_path / "classes.json")
    status, out, err = run(capsys, "run", deploy, pictures, pictures / "cats" / "2.png", *simulated, *files)
    assert status == 0 and "4 images in" in err
    content = json.loads((tmp_path / "classes.json").read_text())
    names = [str(pictures / n) for n in ("cats/1.png", "cats/2.png", "dogs/1.jpg", "cats/2.png")]
    assert [i["file"] for i in content["images"]] == names and [i["label"] for i in content["images"]] == [0, 0, 1, None]
    assert [line for line in out.splitlines() if not line.startswith(("  ", "top-1"))] == names
    right = sum(i["label"] == i["predictions"][0]["index"] for i in content["images"])
    assert content["right"] == right and content["labelled"] == 3 and content["network"] == "toy"
    assert f"top-1: {right} of 3 labelled images" in out
    rows = list(csv.DictReader((tmp_path / "out" / "classes.csv").open()))
    assert [(r["file"], r["label"], r["rank"]) for r in rows[:4]] == [
        (names[0], "0", "1"), (names[0], "0", "2"), (names[0], "0", "3"), (names[1], "0", "1")
    ]  # fmt: skip
    first = content["images"][0]["predictions"][0]
    assert rows[0]["name"] == first["name"] and float(rows[0]["probability"]) == pytest.approx(first["probability"], abs=1e-6)
    assert rows[9]["label"] == ""
    # one by one, and by its older name, the same
    status, again, _ = run(capsys, "classify", deploy, names[3], *simulated)
    assert status == 0 and out.endswith(again + out.splitlines()[-1] + "\n")


def test_run_refuses_what_is_no_picture(deploy, library, pictures, tmp_path, capsys):
    empty, many = tmp_path / "empty", tmp_path / "many"
    empty.mkdir()
    for i in range(20):
        (many / f"{i:02}").mkdir(parents=True)
        Image.new("RGB", (5, 5)).save(many / f"{i:02}" / "a.png")
    (pictures / "cats" / "3.png").write_text("no picture")
    for name, message in (
        (empty, "holds no images"),
        (many, "has 20 folders of classes, and the network 18 classes"),
        (tmp_path / "gone", "gone does not exist"),
        (pictures, "3.png cannot be read"),
    ):
        status, _, err = run(capsys, "run", deploy, name, "--simulate", library)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_names_that_the_system_refuses_are_refused_in_a_sentence(deploy, library, capsys):
    status, _, err = run(capsys, "run", deploy, "x" * 5000 + ".png", "--simulate", library)
    assert status == 2 and "cannot be read (File name too long)" in err and err.count("\n") == 1


@pytest.mark.parametrize("full", [False, True])
def test_output_that_cannot_be_written_is_no_traceback(deploy, full):
    """To a full disk, or to somebody who reads no more, as `| head` does."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as unread, open("/dev/full", "w") as disk:
        words = [sys.executable, "-m", "host", "info", str(deploy), "--files"]
        done = subprocess.run(words, stdout=disk if full else unread, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    said = "error: the output cannot be written (No space left on device); make room for it\n"
    assert (done.returncode, done.stderr) == ((2, said) if full else (141, ""))


def test_progress_shows_on_a_terminal_and_nowhere_else(monkeypatch):
    class Terminal(io.StringIO):
        def __init__(self, terminal):
            super().__init__()
            self.isatty = lambda: terminal

    for terminal, hidden, shown in ((True, False, True), (False, False, False), (True, True, False)):
        monkeypatch.setattr(sys, "stderr", Terminal(terminal))
        with Progress("images", 3, hidden=hidden) as progress:
            for done in (1, 2, 3):
                progress.step(done, ", fine")
        said = sys.stderr.getvalue()
        assert ("images: 1 of 3, fine" in said and said.endswith("images: 3 of 3, fine\n")) if shown else not said


# Bench


def test_bench_measures_both_ways_and_where_the_time_goes(deploy, library, pictures, tmp_path, capsys):
    write_json(deploy.parent / "estimate.json", {"network": "toy", "cycles": 5_000_000, "batch": 1, "batch_cycles": 5_000_000})
    to = tmp_path / "bench.json"
    words = ("bench", deploy, pictures, "--simulate", library, "--seconds", 0.2, "--json", to)
    status, out, _ = run(capsys, *words)
    assert status == 0
    found = json.loads(to.read_text())
    assert found["simulated"] and found["images_a_second"] > 0 and found["engine_images_a_second"] > 0
    assert set(found["steps_ms"]) == {"decode", "pack", "copy", "engine", "unpack"} and min(found["steps_ms"].values()) > 0
    assert sum(found["steps_share"].values()) == pytest.approx(1)
    for latency in (found["latency_ms"], found["engine_latency_ms"]):
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] and latency["runs"] >= 1
    assert found["modelled"]["images_a_second"] == pytest.approx(BOARD.clock_mhz / 5)
    for words in ("simulated board", f"{BOARD.clock_mhz / 5:.1f} modelled at {BOARD.clock_mhz:g} MHz", "decode and resize", "power:"):
        assert words in out


def test_bench_reads_the_rails_that_there_are(deploy, library, pictures, monkeypatch, tmp_path, capsys):
    class Sensor:
        def __init__(self, *values):
            self.values = list(values)

        @property
        def value(self):
            if len(self.values) > 1:
                return self.values.pop(0)
            if not self.values:
                raise OSError("busy")
            return self.values[0]

    rails = {
        "INT": types.SimpleNamespace(power=Sensor(3.0)),
        "AUX": types.SimpleNamespace(power=Sensor()),
        "VOLT": types.SimpleNamespace(power=None, voltage=Sensor(2.0)),
        "BOTH": types.SimpleNamespace(power=None, voltage=Sensor(2.0), current=Sensor(0.25)),
    }
    monkeypatch.setitem(sys.modules, "pynq.pmbus", types.SimpleNamespace(get_rails=lambda: rails))
    to = tmp_path / "bench.json"
    words = ("bench", deploy, pictures, "--simulate", library, "--seconds", 0.1, "--json", to)
    status, out, _ = run(capsys, *words)
    found = json.loads(to.read_text())
    assert status == 0 and found["power"]["watts"] == {"INT": 3.0, "BOTH": 0.5} and "rail INT: 3.00 W" in out
    assert found["power"]["joules_an_image"]["INT"] == pytest.approx(3 / found["images_a_second"])
    monkeypatch.setitem(sys.modules, "pynq.pmbus", types.SimpleNamespace(get_rails=lambda: {}))
    assert "power: the board has no rails that PYNQ can read" in run(capsys, *words)[1]
    assert "modelled" not in found["modelled"] and "there is no estimate.json beside" in out


def test_bench_refuses_other_networks_estimates_and_nothing(deploy, library, pictures, capsys):
    simulated = ("--simulate", library)
    write_json(deploy.parent / "estimate.json", {"network": "another", "cycles": 5})
    for words, message in (
        ((pictures, "--seconds", 0.05), "it is no estimate of toy"),
        ((pictures, "--seconds", 0), "nothing can be measured"),
        ((), "has no artifact.npz .it has no bitstream yet."),
    ):
        status, _, err = run(capsys, "bench", deploy, *words, *simulated)
        assert status == 2 and re.search(message, err) and err.count("\n") == 1


# Verify


def test_verify_compares_layer_by_layer_with_what_lies_in_the_folder(built, tmp_path, capsys):
    deploy_dir, built_library = built
    to = tmp_path / "verify.json"
    status, out, _ = run(capsys, "verify", deploy_dir, "--simulate", built_library, "--out", to)
    assert status == 0 and "bit-equal" in out
    whole = json.loads(to.read_text())
    files = ("--artifact", deploy_dir / "artifact.npz", "--samples", deploy_dir / "samples.npz")
    assert run(capsys, "check", deploy_dir, "--simulate", built_library, "--out", to, *files)[0] == 0
    again = json.loads(to.read_text())
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in whole.items() if k != "seconds"}


def test_verify_until_a_layer_or_a_tensor(built, tmp_path, capsys):
    deploy_dir, built_library = built
    tensors = json.loads((deploy_dir / "manifest.json").read_text())["networks"][0]["tensors"]
    third = next(t for t in tensors if t["layer_index"] == 2)
    upto = [t for t in tensors if t["layer_index"] <= 2]
    for name in (third["layer"], third["name"]):
        to = tmp_path / "verify.json"
        words = ("verify", deploy_dir, "--simulate", built_library, "--until", name, "--limit", 1, "--out", to)
        assert run(capsys, *words)[0] == 0
        assert json.loads(to.read_text())["tensors_compared"] == len(upto) < len(tensors)
    status, _, err = run(capsys, "verify", deploy_dir, "--simulate", built_library, "--until", "nothing")
    assert status == 2 and "has no layer or tensor 'nothing'; its layers are" in err


def test_verify_names_where_a_difference_began(built, monkeypatch, capsys):
    """Weights of the artifact that are not those of the engine's image: the first layer that has them is named."""
    deploy_dir, built_library = built
    artifact = load(deploy_dir / "artifact.npz")
    tensors = json.loads((deploy_dir / "manifest.json").read_text())["networks"][0]["tensors"]
    name = telling_layer(artifact)
    other = negated(artifact, name)
    monkeypatch.setattr("host.check.load", lambda path: other)
    status, out, _ = run(capsys, "verify", deploy_dir, "--simulate", built_library, "--limit", 1)
    output = next(n.output for n in artifact.graph.nodes if n.name == name)
    layer = next(t["layer"] for t in tensors if t["name"] == output)
    assert status == 1 and f"DIFFERENT: image 0, layer {layer}, tensor {output}, channel" in out


def test_nothing_compared_is_no_success(built, deploy, library, capsys):
    deploy_dir, built_library = built
    for limit in (0, -3):
        status, _, err = run(capsys, "verify", deploy_dir, "--simulate", built_library, "--limit", limit)
        assert status == 2 and "nothing was compared" in err
    for minimal, why in ((False, "it has no bitstream yet"), (True, "it was built with minimal=1")):
        add_files(deploy, [], minimal=minimal)
        status, _, err = run(capsys, "verify", deploy, "--simulate", library)
        assert status == 2 and f"has no artifact.npz ({why}), so that nothing can be verified" in err and "--artifact" in err


def test_samples_of_another_folder_are_refused(built, tmp_path, capsys):
    deploy_dir, built_library = built
    data = (deploy_dir / "samples.npz").read_bytes()
    try:
        (deploy_dir / "samples.npz").write_bytes(data + b" ")
        status, _, err = run(capsys, "verify", deploy_dir, "--simulate", built_library)
    finally:
        (deploy_dir / "samples.npz").write_bytes(data)
    assert status == 2 and "samples.npz is not the one of its manifest" in err


# Info


def test_info_says_what_is_there(deploy, library, tmp_path, capsys, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("CmaTotal:         131072 kB\nCmaFree:          65536 kB\n")
    monkeypatch.setattr("host.info.MEMINFO", meminfo)
    status, out, _ = run(capsys, "info", deploy, "--simulate", library)
    assert status == 0
    for words in ("network            toy", f"identity {toy.IDENTITY:016x}, as generated", "64 of 128 MB free", "numpy 1.",
                  "not built yet", "weights.bin: as in the manifest", "rgb, 2 x 3, 3 channels", "249.998 MHz"):  # fmt: skip
        assert words in out, (words, out)
    (deploy / "samples.npz").write_text("x")
    add_files(deploy, ["samples.npz"])
    (deploy / "samples.npz").write_text("y")
    status, out, _ = run(capsys, "info", deploy)
    assert status == 1 and "samples.npz: NOT the one of the manifest" in out and "cannot be used: " in out
    assert run(capsys, "info", deploy, "--files")[0] == 0
    status, _, err = run(capsys, "info", tmp_path)
    assert status == 2 and "does not exist" in err


def test_a_python_without_the_boards_packages_is_refused_in_one_sentence(deploy):
    """As the image's own, outside PYNQ's environment."""
    for missing in ("numpy", "PIL"):
        code = f"import sys; sys.modules[{missing!r}] = None; from host.__main__ import main; sys.exit(main(sys.argv[1:]))"
        words = [sys.executable, "-c", code, "run", str(deploy), "a.png"]
        done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert done.returncode == 2 and f"has no {missing}; use PYNQ's environment" in done.stderr, done.stderr
