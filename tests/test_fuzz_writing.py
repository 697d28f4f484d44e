"""Disks that fill up anywhere in a file, and trees of files that change: whole results, and none that is out of date."""

from __future__ import annotations

import resource
import shutil
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from support.fuzzing import bounded_memory, case
from support.random_graphs import random_artifact

from bfp import artifact_file, files
from bfp.samples import Samples, load_samples, save_samples
from calib.config import load_config
from calib.used_files import files_hold, files_read, pictures_digest
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.performance.board import load_board
from codegen.performance.fitting import check_fit

# -- full disks ---------------------------------------------------------------------


@contextmanager
def disk_of(size: int):
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def writers() -> dict:
    """Everything that writes a file, or a folder of files, as a function of its path."""
    artifact, board = random_artifact(3, 4, nodes=5), load_board("ultra96v2")
    options = EngineOptions(lanes=4, pixels=2)
    check_fit(artifact, options, board)
    samples = Samples(np.zeros((2, 3, 4, 4), np.float32), np.array([0, 1]), ("a", "b"), np.zeros((2, 3), np.float32))
    return {
        "artifact": lambda path: artifact_file.save(artifact, path),
        "samples": lambda path: save_samples(samples, path),
        "json": lambda path: files.write_json(path, list(range(300))),
        "copy": lambda path: files.copy_file(__file__, path),
        "generated": lambda path: generate([artifact], options, board, path),
    }


def tree(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fuzz_disks(folder, count: int, seed: int) -> None:
    """Each file that is there afterwards is the older one or the new one, whole; and nothing else is there."""
    rng, made, refused = np.random.default_rng(seed), {}, 0
    for name, write in writers().items():
        place = folder / f"{name}_whole"
        place.mkdir(parents=True)
        write(place / name)
        made[name] = write, tree(place), max(len(content) for content in tree(place).values())
    for i in range(count):
        name = list(made)[i % len(made)]
        write, whole, largest = made[name]
        place = folder / f"case{i}"
        place.mkdir()
        older = {} if rng.random() < 0.5 else {file: b"older" for file in whole if rng.random() < 0.7}
        for file, content in older.items():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_bytes(content)
        with case(folder) as found, disk_of(int(rng.integers(0, int(1.3 * largest)))):
            write(place / name)
        after = tree(place)
        for file, content in after.items():
            assert content in (whole[file], older.get(file)), (name, file)
        assert older.keys() <= after.keys()
        assert found.refusal or after == whole
        assert found.refusal is None or "cannot be written (File too large); make room" in found.refusal
        refused += found.refusal is not None
        shutil.rmtree(place)
    assert count / 4 < refused < count


def test_disks_that_fill_up(tmp_path):
    fuzz_disks(tmp_path, 100, 0)
    assert len(load_samples(tmp_path / "samples_whole" / "samples").names) == 2


# -- results out of date ------------------------------------------------------------

TOML = """
model = "net:make"
classes = "names.txt"
[input]
size = 4
mean = 127
std = 64
[calibration]
images = "pictures"
[evaluation]
images = "list.csv"
"""


def picture(path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)


def build(folder):
    (folder / "toy.toml").write_text(TOML)
    for name in ("net.py", "layers.py", "parts/act.py", "names.txt", "width.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{name} 0\n")
    for i in range(4):
        picture(folder / "pictures" / f"{i}.png", i)
    (folder / "list.csv").write_text("file,label\npictures/0.png,0\npictures/1.png,1\n")
    return load_config(folder / "toy.toml")


def stand(config, record: dict) -> tuple:
    """What a task compares to see whether its result is up to date."""
    return files_hold(record), pictures_digest(config)


def change(folder, rng: np.random.Generator) -> None:
    """One edit of the tree that changes what a network is made of, or what it is calibrated and evaluated on."""
    texts = [p for p in folder.rglob("*") if p.suffix in (".py", ".txt", ".json")]
    pictures = sorted((folder / "pictures").glob("*.png"))
    one, kind = pictures[int(rng.integers(len(pictures)))], int(rng.integers(7))
    if kind == 0:
        picture(folder / "pictures" / f"new{rng.integers(10**6)}.png", 7)
    elif kind == 1 and len(pictures) > 1:
        one.unlink()
    elif kind == 2:
        one.rename(one.with_name(f"renamed{rng.integers(10**6)}.png"))
    elif kind == 3:
        one.write_bytes(one.read_bytes() + b"\0")
    elif kind == 4:
        (folder / "list.csv").write_text(f"file,label\npictures/0.png,{rng.integers(2, 9)}\n")
    else:
        text = texts[int(rng.integers(len(texts)))]
        text.write_text(text.read_text() + ("#" if kind == 5 else f"{rng.integers(10**6)}\n"))


def fuzz_changes(root, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for i in range(count):
        folder = root / f"{seed}_{i}"
        folder.mkdir()
        config = build(folder)
        with files_read() as record:
            for name in ("net.py", "layers.py", "parts/act.py", "names.txt", "width.json"):
                (folder / name).read_text()
        before, content = stand(config, record), tree(folder)
        assert before[0] and stand(config, record) == before
        for _ in range(int(rng.integers(1, 3))):
            change(folder, rng)
        assert (stand(config, record) == before) == (tree(folder) == content), i
        shutil.rmtree(folder)


def test_changed_trees(tmp_path):
    with bounded_memory():
        fuzz_changes(tmp_path, 30, 0)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thousands_of_each(tmp_path, seed):
    fuzz_disks(tmp_path / "disks", 1000, seed)
    fuzz_changes(tmp_path, 500, seed)
