"""What a user names, damaged in thousands of ways: refused in one sentence, or taken as what it says."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.fuzzing import MOST, SLOW, bounded_memory, case, damaged
from support.mutations import mutate

from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.names import printable
from calib.config import NetworkConfig, load_config
from calib.data.classes import Classes
from calib.data.depth import depth_note
from calib.data.images import open_images
from calib.options import ImageOptions
from calib.used_files import class_files, image_files, metric_files, module_files, weight_files

PRE = Preprocessing((4, 4), (0.0,), (255.0,), channels="gray")
CLASSES = Classes(("cat", "dog", "guinea pig"))
# a 4 x 4 gray picture needs no library to be written: the reader looks at names only until it is opened
FOLDERS = ("cat", "Dog", "guinea_pig", "gnu", "0", "1", "2", "12", "01", "²", "__MACOSX", ".git", "thumbs", "train", "val", "a b")
FILE = {
    "model": "net:make", "arguments": {"width": 4}, "weights": "w.pth", "weights_fallback": "random", "seed": 3,
    "name": "toy", "classes": ["a", "b"],
    "input": {"size": [8, 8], "mean": [1.0, 2.0, 3.0], "std": 2, "channels": "rgb", "resize": 9, "interpolation": "nearest"},
    "calibration": {"images": ["random"], "fallback": "random", "skip": 1, "stride": 2, "limit": 3, "augment": 2},
    "evaluation": {"images": "random", "limit": 2},
    "bfp": {"weights": 6, "method": "kl", "override": [{"layers": "a*", "weights": 4}], "weight_budget": 6.5, "unsigned": True},
    "engine": {"board": "kv260", "lanes": 16},
    "sweep": {"widths": [4, [4, 8]], "groups": [[64, 0], 16], "methods": ["max"], "limit": 9},
    "metric": "measures:dice", "task_output": "boxes",
    "detection": {"boxes": "corners", "unit": "relative", "objectness": False, "score": 0.3, "overlap": 0.5, "most": 9, "classes": 2},
}  # fmt: skip
# another one of several inputs, in a file of another kind
ARRAYS = {
    **{k: v for k, v in FILE.items() if k not in ("detection", "classes", "arguments", "weights", "weights_fallback")},
    "model": "net.onnx", "task": "binary", "threshold": 0.5,
    "input": {"size": [8, 8], "mean": [1.0, 2.0, 3.0], "std": 2, "channels": {"left": 2, "right": 1}},
    "calibration": {"images": ["a.npz", "random"], "fallback": "random", "limit": 3},
}  # fmt: skip


def short(error: BfpError, folder) -> None:
    """Assert that the refusal, as the command line prints it, is one sentence of ordinary length."""
    rest = printable(str(error)).replace(str(folder), "")
    assert len(rest) <= MOST and rest.isprintable(), rest


# -- network files ------------------------------------------------------------------


def toml(value: object) -> str:
    """A value as TOML writes it, tables inline; what TOML has not is an empty text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, str):
        return json.dumps(value)
    return '""' if value is None else json.dumps(value)


def fuzz_network_files(folder, count: int, seed: int) -> None:
    rng, path, taken = np.random.default_rng(seed), folder / "net.toml", 0
    for i in range(count):
        data, start = (ARRAYS if i % 4 == 0 else FILE), time.monotonic()
        for _ in range(int(rng.integers(1, 4))):
            data = mutate(data, rng)
        path.write_text("\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in data.items()), encoding="utf-8")
        try:
            config = load_config(path)
            assert isinstance(config, NetworkConfig) and math.isfinite(sum(config.input.mean) + sum(config.input.std))
            for files in (module_files, metric_files, weight_files, class_files):
                files(config)
            image_files(config.calibration, config.evaluation)
            for section in (config.calibration, config.evaluation):
                if section is not None:
                    open_images(replace(section, augment=1), config.input, config.seed)
            taken += 1
        except BfpError as error:
            short(error, folder)
        assert time.monotonic() - start < SLOW
    assert 0 < taken < count


def test_network_files(tmp_path):
    path = tmp_path / "net.toml"
    path.write_text("\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in FILE.items()), encoding="utf-8")
    assert load_config(path).sweep.limit == 9
    path.write_text("\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in ARRAYS.items()), encoding="utf-8")
    assert load_config(path).inputs == (("left", 2), ("right", 1))
    fuzz_network_files(tmp_path, 600, 0)


# -- folders ------------------------------------------------------------------------


def hidden(name: str) -> bool:
    return name.startswith((".", "__")) or name == "thumbs"


def expected(name: str, groups: list[str]) -> int:
    """The label of a folder's images, said in another way than the code does."""
    spelt = name.lower().replace("_", " ")
    if spelt in CLASSES.names:
        return CLASSES.names.index(spelt)
    if all(ord("0") <= ord(c) <= ord("9") for c in name):
        return int(name)
    return sorted(groups).index(name)


def fuzz_folders(root, count: int, seed: int) -> None:
    rng, labelled = np.random.default_rng(seed), 0
    for case in range(count):
        folder = root / f"{seed}_{case}"
        folder.mkdir()
        pictures = {}
        for name in rng.choice(FOLDERS, int(rng.integers(1, 5)), replace=False):
            (folder / name).mkdir()
            pictures[str(name)] = int(rng.integers(0, 3))
            for i in range(pictures[str(name)]):
                (folder / name / f"{i}.png").write_bytes(b"")
            (folder / name / "._0.png").write_bytes(b"")
        direct = int(rng.random() < 0.2)
        if direct:
            (folder / "1.png").write_bytes(b"")
        groups = [name for name, number in pictures.items() if number and not hidden(name)]
        try:
            found = open_images(ImageOptions((str(folder),)), PRE, classes=CLASSES)
            names = sorted(item.name.removeprefix(f"{folder}/") for item in found.items)
            assert names == sorted([f"{g}/{i}.png" for g in groups for i in range(pictures[g])] + ["1.png"] * direct)
            labels = found.labels
        except BfpError as error:
            short(error, folder)
            continue
        if direct:
            assert labels is None and not groups
            continue
        labelled += 1
        assert {item.name.split("/")[-2]: item.label for item in found.items} == {g: expected(g, groups) for g in groups}
        taken = [found.items[i].label for i in range(len(found.items))]
        assert labels.tolist() == taken and len({expected(g, groups) for g in groups}) == len(groups)
        known = [expected(g, groups) for g in groups if g.lower().replace("_", " ") in CLASSES.names or g.isascii() and g.isdigit()]
        assert len(known) == len(groups) or (not known and len(groups) == len(CLASSES.names)), groups
    assert labelled > count / 10


def test_folders(tmp_path):
    fuzz_folders(tmp_path, 300, 0)


# -- lists --------------------------------------------------------------------------


def fuzz_lists(folder, count: int, seed: int) -> None:
    """A table with bytes changed: what is taken has labels that are numbers, and as many files as lines."""
    rng, path = np.random.default_rng(seed), folder / "list.csv"
    whole = "file,label\n" + "".join(f"{i}.png,{i % 3}\n" for i in range(6)) + '"a b.png",cat\n'
    for _ in range(count):
        content = bytearray(whole.encode())
        for at in rng.integers(0, len(content), int(rng.integers(1, 4))):
            content[at] = int(rng.choice([*b',;\t"\n\r\0 019a', *range(128, 256)]))
        path.write_bytes(bytes(content))
        try:
            found = open_images(ImageOptions((str(path),)), PRE, classes=CLASSES)
        except BfpError as error:
            short(error, folder)
            continue
        labels = found.labels
        assert labels is not None and len(labels) <= whole.count("\n") + 3 and 0 <= labels.min() <= labels.max() < 10**9


def test_lists(tmp_path):
    fuzz_lists(tmp_path, 600, 0)


# -- units --------------------------------------------------------------------------


def fuzz_units(folder, count: int, seed: int) -> None:
    """Means and deviations that are not meant in pixels of 0..255 are asked about; those that say their units are taken."""
    rng, path, kinds = np.random.default_rng(seed), folder / "net.toml", set()
    for _ in range(count):
        std, mean = (np.round(10 ** rng.uniform(*ends, 3), 4).tolist() for ends in ((-3, 2.5), (-2, 2.4)))
        units = (None, "0..1", "0..255")[int(rng.integers(3))]
        section = {"size": 4, "mean": mean, "std": std} | ({} if units is None else {"units": units})
        path.write_text(f'model = "net:make"\ninput = {toml(section)}\ncalibration = {toml({"images": "random"})}\n')
        with case(folder) as found:
            config = load_config(path)
        if units is None and max(std) < 1:
            kinds.add("refused")
            assert found.refusal and 'units = "0..1"' in found.refusal and 'units = "0..255"' in found.refusal
            continue
        assert found.refusal is None
        noted = units is None and max(std) <= 1 and max(mean) <= 1
        kinds.add("noted" if noted else str(units))
        assert bool(config.notes) == noted
        factor = 255 if units == "0..1" else 1
        assert np.allclose(config.input.mean, np.multiply(mean, factor)) and np.allclose(config.input.std, np.multiply(std, factor))
    assert kinds >= {"refused", "None", "0..1", "0..255"}


def test_units(tmp_path):
    fuzz_units(tmp_path, 300, 0)


# -- pictures and archives ----------------------------------------------------------


def contents() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    pixels, found = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), {}
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.gif", "a.ppm"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, {"jpg": "jpeg", "tif": "tiff"}.get(name[2:], name[2:]))
        found[name] = stream.getvalue()
    for name, save in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
        stream = io.BytesIO()
        save(stream, images=rng.integers(0, 256, (4, 6, 5, 1), dtype=np.uint8), labels=np.arange(4))
        found[name] = stream.getvalue()
    return found


def fuzz_pictures(folder, count: int, seed: int) -> None:
    rng, whole, taken = np.random.default_rng(seed), contents(), 0
    with bounded_memory():
        for i in range(count):
            name = list(whole)[i % len(whole)]
            path = folder / name
            path.write_bytes(damaged(whole[name], rng))
            with case(folder) as found:
                images = open_images(ImageOptions((str(path),)), PRE)
                depth_note(images)
                batch = np.concatenate(list(images.batches(8)))
            if found.refusal is None:
                taken += 1
                assert batch.shape == (len(images), 1, 4, 4) and batch.dtype == np.float32 and np.isfinite(batch).all()
                assert 0 <= batch.min() <= batch.max() <= 1
                labels = images.labels
                assert labels is None or labels.min() >= 0 and len(labels) == len(images)
    assert count / 20 < taken < count


@pytest.mark.filterwarnings("ignore")  # of Pillow, about what the damaged bytes say
def test_pictures(tmp_path):
    fuzz_pictures(tmp_path, 600, 0)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thousands_of_each(tmp_path, seed):
    fuzz_network_files(tmp_path, 5000, seed)
    fuzz_folders(tmp_path, 2000, seed)
    fuzz_lists(tmp_path, 5000, seed)
    fuzz_units(tmp_path, 3000, seed)
    fuzz_pictures(tmp_path, 9000, seed)
