"""The tasks as a user runs them: doit in a process of its own, from another folder, on a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from bfp.artifact import Preprocessing
from calib.__main__ import main as calib
from calib.config import NetworkConfig, load_config
from calib.options import AUTO, METHODS, ONLINE, BfpOptions, ImageOptions, Override
from calib.sweep_options import SweepOptions
from codegen.options import EngineOptions

ROOT = Path(__file__).parent.parent
PARTS = ("bfp", "calib", "codegen", "hls", "host")
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
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid())


def broken():
    raise RuntimeError("no such luck")
"""


class Project:
    """A copy of the project, and a folder of a user somewhere else."""

    def __init__(self, folder: Path) -> None:
        self.root, self.user = folder / "project", folder / "my nets"
        for part in PARTS:
            shutil.copytree(ROOT / part, self.root / part, ignore=shutil.ignore_patterns("__pycache__"))
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


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The project after ``doit csim net=toy.toml``: tests edit it, and must leave it up to date."""
    project = Project(tmp_path_factory.mktemp("tasks"))
    first = project.doit("csim", "net=toy.toml")
    assert first.returncode == 0, first.stdout + first.stderr
    return project


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


def test_csim_leaves_machine_readable_results(project):
    result = project.read("csim")
    assert {"images", "layers_compared", "values_compared", "mismatches", "macs", "seconds"} <= result.keys()
    # conv 3x3 to 6x6x5, and the linear layer; the pool has no products
    assert result["macs"] == result["images"] * (6 * 6 * 5 * 27 + 45 * 4)
    values = 8 * 8 * 3 + 6 * 6 * 5 + 3 * 3 * 5 + 4
    assert result["values_compared"] == result["images"] * values
    assert result["mismatches"] == 0 and result["layers_compared"] == 3 and result["seconds"] > 0
    assert not list(project.root.rglob("*.part"))


def test_second_run_does_nothing(project):
    before = {p: p.stat().st_mtime_ns for p in project.build.rglob("*") if p.is_file()}
    again = project.doit("csim", "net=toy.toml")
    assert ran(again) == [] and skipped(again) == ["calibrate", "codegen", "csim"]
    assert {p: p.stat().st_mtime_ns for p in project.build.rglob("*") if p.is_file()} == before


def test_edited_template_regenerates_and_does_not_recalibrate(project):
    template = project.root / "codegen" / "templates" / "config.hpp.j2"
    kernel = project.read("csim")["kernel"]
    template.write_text(template.read_text().replace("// {{ title }}", "// {{ title }}, edited", 1))
    result = project.doit("csim", "net=toy.toml")
    assert ran(result) == ["codegen", "csim"] and skipped(result) == ["calibrate"]
    assert f"// {NAME}, edited" in (project.build / "generated" / "config.hpp").read_text()
    assert project.read("csim")["kernel"] != kernel
    assert project.read("csim")["mismatches"] == 0


def test_touched_but_unchanged_files_do_nothing(project):
    for path in (project.root / "codegen" / "templates" / "config.hpp.j2", project.user / "toy.toml"):
        path.touch()
    assert ran(project.doit("csim", "net=toy.toml")) == []


def test_what_decides_the_artifact_recalibrates(project):
    """The network's file, its weights, its Python module, its images: each alone, then all, then all as before."""
    changes = {
        "toy.toml": lambda path: path.write_text(NETWORK.replace('"max"', '"max"\nweights = 5')),
        "toy.pth": lambda path: project.save_weights(1),
        "toy_net.py": lambda path: path.write_text(MODULE.replace("nn.ReLU()", "nn.ReLU6()")),
        "photos.npz": lambda path: np.savez(path, images=np.full((3, 8, 8, 3), 9, np.uint8)),
    }
    originals = {name: (project.user / name).read_bytes() for name in changes}

    def outdated() -> bool:
        status = re.search(r"status +: (\S+)", project.doit("info", f"calibrate:{NAME}", "net=toy.toml").stdout)[1]
        assert status in ("run", "up-to-date")
        return status == "run"

    def calibrated() -> list[bytes]:
        assert ran(project.doit("calibrate", "net=toy.toml")) == ["calibrate"]
        return [(project.build / name).read_bytes() for name in ("artifact.npz", "samples.npz")]

    before = [(project.build / name).read_bytes() for name in ("artifact.npz", "samples.npz")]
    try:
        for name, change in changes.items():
            assert not outdated()
            change(project.user / name)
            assert outdated(), name
            (project.user / name).write_bytes(originals[name])
        for name, change in changes.items():
            change(project.user / name)
        after = calibrated()
        assert after[0] != before[0] and after[1] != before[1]
    finally:
        for name, content in originals.items():
            (project.user / name).write_bytes(content)
    assert calibrated() == before


def test_evaluation_and_board(project):
    result = project.doit("evaluate", "net=toy.toml")
    assert ran(result) == ["evaluate"] and skipped(result) == ["calibrate"]
    found = project.read("evaluation")
    assert {"images", "top1_float", "top1_bfp", "agreement", "sqnr_db"} <= found.keys()
    assert found["images"] == 3 and found["top1_float"] is None and found["sqnr_db"] > 20
    assert "simulate-board" in ran(project.doit("simulate-board", "net=toy.toml"))
    board = project.read("board")
    assert board["mismatches"] == 0 and board["values_compared"] == project.read("csim")["values_compared"]
    assert ran(project.doit("simulate-board", "net=toy.toml")) == []
    assert ran(project.doit("report", "net=toy.toml")) == ["baselines", "report"]
    page = (project.build / "report.html").read_text(encoding="utf-8")
    assert "Published rule" in page and "Plain maximum" in page and "missing" not in page
    assert ran(project.doit("report", "net=toy.toml")) == []


def classify(project: Project, image: Path) -> subprocess.CompletedProcess:
    library = str(project.build / "csim" / "libengine.so")
    words = ["-m", "host", "classify", str(project.build / "deploy"), str(image), "--simulate", library]
    return project.process([sys.executable, *words], project.root)


def test_driver_refuses_images_that_cannot_be_read_or_do_not_fit(project):
    path = project.user / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert "broken.png cannot be read" in refusal(classify(project, path))
    assert "does not exist" in refusal(classify(project, project.user / "none.png"))
    code = (
        "import sys, numpy; from host.simulated_board import SimulatedBoard; from host.driver import Accelerator\n"
        "from bfp import BfpError\n"
        "with Accelerator(sys.argv[1], device=SimulatedBoard(sys.argv[2], sys.argv[1])) as accelerator:\n"
        "    for shape in ((3, 8, 9), (1, 8, 8), (8, 8, 3), (3, 8)):\n"
        "        try: accelerator.run(numpy.zeros(shape)); print('taken')\n"
        "        except BfpError as error: print('refused', error)\n"
    )
    words = [str(project.build / "deploy"), str(project.build / "csim" / "libengine.so")]
    lines = project.process([sys.executable, "-c", code, *words], project.root).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * 4, lines
    assert all("takes an image of 3x8x8" in line for line in lines), lines


def test_unknown_network_and_missing_name(project):
    message = refusal(project.doit("csim", "net=nowhere.toml"))
    assert "there is no network nowhere.toml" in message and "resnet20" in message
    assert "there is no network resnet2" in refusal(project.doit("calibrate", "net=resnet2"))
    assert "name a network: doit evaluate:NAME or doit evaluate net=PATH" in refusal(project.doit("evaluate"))
    assert "name the labelled images: doit reproduce-table images=PATH" in refusal(project.doit("reproduce-table"))


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("size = 8", "sise = 8", ["[input] sise is not a known key; did you mean 'size'?"]),
        ("[engine]", "[motor]", ["motor is not a known key"]),
        ("lanes = 4", "lane = 4", ["engine option 'lane' is unknown; did you mean lanes"]),
        ("lanes = 4", "lanes = 12", ["engine option lanes is 12; give a power of two"]),
        ("limit = 3", "limit = 3\nbits = 4", ["[calibration] bits is not a known key"]),
        ("width = 5 }", "width = 5", ["is not valid TOML"]),
        ('"toy_net:make"', '"toy_net"', ["it must be 'module:callable'"]),
    ],
)
def test_mistakes_in_the_file_are_refused_before_any_work(project, old, new, words):
    assert old in NETWORK
    text = NETWORK.replace(NAME, f"{NAME}_wrong").replace(old, new)
    (project.user / "wrong.toml").write_text(text)
    result = project.doit("csim", "net=wrong.toml")
    message = refusal(result)
    assert "wrong.toml" in message and all(word in message for word in words), message
    assert "calibrate" not in result.stdout
    assert not (project.root / "build" / f"{NAME}_wrong").exists()


def test_unsupported_layer_is_refused_with_its_node_and_type(project):
    name = project.network("odd", model='"toy_net:unsupported"', arguments="{}", weights='"random"')
    message = refusal(project.doit("csim", f"net={name}"))
    assert "layer 1 (node sigmoid" in message and "aten.sigmoid is not supported" in message


def test_weights_of_another_network_are_refused(project):
    torch.save({"0.weight": torch.zeros(2, 2)}, project.user / "other.pth")
    name = project.network("foreign", weights='"other.pth"')
    message = refusal(project.doit("calibrate", f"net={name}"))
    assert "other.pth does not belong to model Sequential" in message and "lacks 0.bias" in message


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": '"toy_net:broken"', "arguments": "{}"}, ["toy_net:broken", "no such luck"]),
        ({"model": '"toy_nett:make"'}, ["toy_nett"]),
        ({"model": '"toy_net:mak"'}, ["toy_net:mak"]),
        ({"arguments": "{ depth = 3 }"}, ["depth"]),
        ({"weights": '"noise.pth"'}, ["noise.pth is damaged or holds more than tensors"]),
        ({"weights": '"gone.pth"'}, ["gone.pth does not exist"]),
        ({"images": '"broken.jpg"'}, ["broken.jpg cannot be read"]),
        ({"images": '"floats.npz"'}, ["images must be uint8"]),
        ({"images": '"none"'}, ["none do not exist"]),
    ],
    ids=str,
)
def test_wrong_inputs_of_calibration_are_refused(project, changes, words, capsys, tmp_path):
    (project.user / "noise.pth").write_bytes(b"\x80\x02noise")
    (project.user / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    np.savez(project.user / "floats.npz", images=np.zeros((2, 8, 8, 3), np.float32))
    network = project.user / project.network("wrong_input", **changes)
    assert calib(["calibrate", str(network), "--out", str(tmp_path)]) == 2
    sentences = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1 and all(word in sentences[0] for word in words), sentences
    assert list(tmp_path.iterdir()) == []


def test_csim_alone_is_the_regression_over_the_quick_networks(project):
    listed = project.doit("list", "--all", "--quiet").stdout.split()
    networks = {p.stem for p in (ROOT / "calib" / "networks").glob("*.toml")}
    for task in ("calibrate", "evaluate", "codegen", "csim", "simulate-board", "report", "sweep", "tensorboard"):
        assert {f"{task}:{n}" for n in networks} <= set(listed) and task in listed
    assert {"test", "reproduce-table"} <= set(listed)
    info = project.doit("info", "csim").stdout
    quick = re.findall(r"- csim:(\S+)", info)
    assert quick and set(quick) <= networks and len(quick) == len(set(quick))
    shown = project.doit("info", "csim", "net=toy.toml").stdout
    assert re.findall(r"- csim:(\S+)", shown) == [NAME]


@pytest.mark.parametrize("page", ["README.md", "docs/network-files.md"])
def test_documented_examples_are_valid(page, tmp_path):
    examples = re.findall(r"(?s)```toml\n(.*?)```", (ROOT / page).read_text())
    assert examples
    for text in examples:
        (tmp_path / "net.toml").write_text(text)
        EngineOptions.from_dict(load_config(tmp_path / "net.toml").engine)


SHORTEST = """
model = "a:b"
input = { size = 8, mean = 0, std = 1 }
calibration = { images = "random" }
"""


def test_every_key_is_documented_with_its_default(tmp_path):
    """Rows of the tables in docs/network-files.md against the options as they are."""
    text = (ROOT / "docs" / "network-files.md").read_text()
    (tmp_path / "net.toml").write_text(SHORTEST)
    defaults = vars(load_config(tmp_path / "net.toml").bfp)
    engine = {f.name: f.default for f in fields(EngineOptions)}
    for section, options, values in (("bfp", BfpOptions, defaults), ("engine", EngineOptions, engine)):
        table = text.split(f"## `[{section}]`")[1].split("\n\n| ")[1].split("\n\n")[0]
        rows = {line.split("|")[1].strip(" `"): line.split("|")[2].strip() for line in table.splitlines()[1:]}
        for f in fields(options):
            if f.name != "overrides":
                value = values[f.name]
                default = "none" if value is None else json.dumps(value)
                assert rows.get(f.name) == (f"`{default}`" if isinstance(value, str) else default), f.name
    for options in (ImageOptions, Override, Preprocessing, NetworkConfig, SweepOptions):
        known = {f.name for f in fields(options)} - {"path", "input", "calibration", "evaluation", "bfp", "engine", "sweep"}
        assert {name for name in known if f"`{name}`" not in text} == set()
    assert [m for m in (*METHODS, AUTO, ONLINE) if f'`"{m}"`' not in text] == []
