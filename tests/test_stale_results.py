"""What has been done is outdated when anything that decided it has changed, whoever read it."""

from __future__ import annotations

import json
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image
from support.project import NAME, NETWORK, Project, ran

from calib.config import load_config
from calib.used_files import files_hold, files_read, pictures_digest, record_holds, write_record

OWN_MODULE = """
import json
from pathlib import Path

from toy_parts.act import activation
from toy_layers import layers

WIDTH = json.loads((Path(__file__).parent / "width.json").read_text())


def make(width):
    return layers(WIDTH, activation)
"""
LAYERS = """
from torch import nn
import torch


def layers(width, activation):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), activation(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(width * 9, 4))
"""


def picture(path, seed=0):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A user's network whose callable reads modules and a table beside it, with named classes and pictures in folders."""
    project = Project(tmp_path_factory.mktemp("stale"))
    user = project.user
    (user / "toy_net.py").write_text(OWN_MODULE)
    (user / "toy_layers.py").write_text(LAYERS)
    (user / "toy_parts").mkdir()
    (user / "toy_parts" / "__init__.py").write_text("")
    (user / "toy_parts" / "act.py").write_text("from torch.nn import ReLU as activation\n")
    (user / "width.json").write_text("5")
    (user / "names.txt").write_text("cat\ndog\neel\nfox\n")
    for i in range(4):
        picture(user / "pictures" / f"{i}.png", i)
    text = NETWORK.replace('weights = "toy.pth"', 'classes = "names.txt"')
    text = text.replace('images = "random"\nlimit = 3', 'images = "pictures"').replace('[evaluation]\nimages = "photos.npz"', "")
    (user / "toy.toml").write_text(text)
    first = project.doit("calibrate", "net=toy.toml")
    assert first.returncode == 0, first.stdout + first.stderr
    return project


def outdated(project: Project) -> bool:
    status = re.search(r"status +: (\S+)", project.doit("info", f"calibrate:{NAME}", "net=toy.toml").stdout)[1]
    assert status in ("run", "up-to-date")
    return status == "run"


def test_whatever_was_read_is_a_dependency(project):
    """A sibling module, a module of a package, a table, the names of classes, a picture: each alone."""
    assert not outdated(project)
    changes = {
        "toy_layers.py": LAYERS.replace("seed(0)", "seed(1)"),
        "toy_parts/act.py": "from torch.nn import ReLU6 as activation\n",
        "width.json": "6",
        "names.txt": "dog\ncat\neel\nfox\n",
    }
    for name, text in changes.items():
        before = (project.user / name).read_text()
        (project.user / name).write_text(text)
        assert outdated(project), name
        (project.user / name).write_text(before)
    added = project.user / "pictures" / "4.png"
    picture(added, 4)
    assert outdated(project)
    added.unlink()
    assert not outdated(project)  # what matters is what they hold
    changed = project.user / "pictures" / "2.png"
    picture(changed, 5)
    assert outdated(project)
    (project.user / "toy_parts" / "act.py").write_text(changes["toy_parts/act.py"])
    before = (project.build / "artifact.npz").read_bytes()
    assert ran(project.doit("calibrate", "net=toy.toml")) == ["calibrate"]
    assert (project.build / "artifact.npz").read_bytes() != before and not outdated(project)


def test_what_is_read_is_found(tmp_path, monkeypatch):
    """Modules, also from Python's cache or imported before; tables; not what is written, gone, or installed."""
    for name in ("stale_first", "stale_second", "stale_cached"):
        (tmp_path / f"{name}.py").write_text("import json\n")
    (tmp_path / "table.txt").write_text("1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    __import__("stale_first")
    __import__("stale_cached")
    sys.modules.pop("stale_cached")
    with files_read() as found:
        __import__("stale_second")
        __import__("stale_cached")
        (tmp_path / "table.txt").read_text()
        os.close(os.open(tmp_path / "table.txt", os.O_RDONLY))
        (tmp_path / "written.txt").write_text("2")
        (tmp_path / "gone.txt").write_text("3")
        (tmp_path / "gone.txt").read_text()
        (tmp_path / "gone.txt").unlink()
        open(np.__file__, "rb").close()
        open(json.__file__, "rb").close()
    for name in ("stale_first", "stale_second", "stale_cached"):
        sys.modules.pop(name)
    mine = {path.removeprefix(f"{tmp_path}/") for path in found if path.startswith(str(tmp_path))}
    assert mine == {"stale_first.py", "stale_second.py", "stale_cached.py", "table.txt"}
    assert not any("site-packages" in path or path in (np.__file__, json.__file__) for path in found)
    (tmp_path / "later.txt").write_text("4")
    assert str(tmp_path / "later.txt") not in found


def test_a_record_holds_while_its_files_do(tmp_path):
    record, file = tmp_path / "files.json", tmp_path / "a.txt"
    assert not record_holds(record)
    file.write_text("a")
    with files_read() as found:
        file.read_text()
    write_record(record, found)
    assert record_holds(record) and str(file) in found
    file.write_text("b")
    assert not record_holds(record)
    file.unlink()
    assert not record_holds(record)
    for text in ("[]", "3", '{"/nowhere": ""}', "torn{", '{"\\u0000": ""}'):
        record.write_text(text)
        assert not record_holds(record)
    assert files_hold({}) and not files_hold(None)


def test_every_image_has_an_identity(tmp_path):
    """Names, sizes, times, labels: of folders, of lists, of either section; not of what is no image."""
    for name in ("a/1.png", "b/1.png", "plain/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(tmp_path / name)
    (tmp_path / "list.csv").write_text("file,label\nplain/1.png,1\n")
    (tmp_path / "classes").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).rename(tmp_path / "classes" / name)
    (tmp_path / "net.toml").write_text(
        'model = "m:f"\n[input]\nsize = 8\nmean = 1\nstd = 1\n[calibration]\nimages = ["classes"]\n'
        '[evaluation]\nimages = "list.csv"\n'
    )
    config = load_config(tmp_path / "net.toml")
    seen = [pictures_digest(config)]

    def differs() -> bool:
        seen.append(pictures_digest(config))
        return seen[-1] not in seen[:-1]

    assert not differs()
    picture(tmp_path / "classes" / "a" / "2.png")
    assert differs()
    os.utime(tmp_path / "classes" / "b" / "1.png", ns=(5, 5))
    assert differs()
    os.utime(tmp_path / "plain" / "1.png", ns=(6, 6))
    assert differs()
    (tmp_path / "list.csv").write_text("file,label\nplain/1.png,2\n")
    assert differs()
    (tmp_path / "plain" / "notes.txt").write_text("x")
    assert not differs()
    (tmp_path / "list.csv").unlink()
    assert differs()
