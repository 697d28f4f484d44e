"""Files and options that nobody means: refused in one sentence, without a traceback, a hang or a flood of memory."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.refusals import MOST, TOML, sentence

from bfp import BfpError
from bfp.artifact import Preprocessing
from calib.__main__ import main as calib
from calib.config import load_config
from calib.data.depth import depth_note
from calib.data.images import open_images
from calib.evaluation.report.charts import Frame
from calib.evaluation.sweep import picture
from calib.options import ImageOptions
from calib.user_model import load_classes
from codegen.__main__ import main as codegen
from codegen.options import EngineOptions

PRE = Preprocessing((4, 4), (0.0,), (255.0,), channels="gray")


@pytest.fixture
def network(tmp_path):
    (tmp_path / "net.toml").write_text(TOML)
    return tmp_path


# -- the network's file -------------------------------------------------------------


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('model = "', "x = " + "[" * 5000 + "]" * 5000 + '\nmodel = "', "is not valid TOML"),
        ('model = "', "x = " + "9" * 5000 + '\nmodel = "', "is not valid TOML"),
        ('model = "', "seed = 18446744073709551616\nmodel = \"", "seed is 18446744073709551616; it must be"),
        ('model = "', f'name = "{"n" * 3000}"\nmodel = "', "it names a folder"),
        ('model = "', f'{"k" * 3000} = 1\nmodel = "', "is not a known key"),
        ('model = "', f'weights = "{"w" * 3000}"\nmodel = "', "can be no path"),
        ('model = "', 'weights = "a\\u0000b"\nmodel = "', "can be no path"),
        ('model = "', 'classes = "a\\u0000b"\nmodel = "', "can be no path"),
        ('"random"', f'"{"i" * 3000}"', "can be no path"),
        ('"random"', '"a\\u0000b"', "can be no path"),
        ("limit = 4", "limit = 1000000000000", "limit is 1000000000000"),
        ("limit = 4", f"limit = [{'1, ' * 3000}]", "limit is "),
        ("hostile_network:make", "m" * 5000, "it must be 'module:callable'"),
    ],
    ids=range(13),
)
def test_network_files(network, old, new, words):
    (network / "net.toml").write_text(TOML.replace(old, new, 1))
    with pytest.raises(BfpError) as error:
        load_config(network / "net.toml")
    assert words in sentence(error, network)


def test_a_byte_order_mark_is_no_part_of_a_network_file(network):
    (network / "net.toml").write_bytes(b"\xef\xbb\xbf" + TOML.encode())
    assert load_config(network / "net.toml").model == "hostile_network:make"


@pytest.mark.parametrize(
    "content, found",
    [
        (b"\xef\xbb\xbfcat\r\ndog\r\n", ("cat", "dog")),
        (b'["cat", "dog"]', ("cat", "dog")),
        (b'\xef\xbb\xbf["cat"]', ("cat",)),
        (b'{"0": "cat"}', "is no JSON array of names"),
        (b'["cat", 3]', "is no JSON array of names"),
        (b"[" * 100_000, "is no JSON array of names"),
        (b"\xff\xfecat", "cannot be read (no UTF-8 at byte 0)"),
        (b"cat\n\x1b[31mdog", "class name"),
    ],
    ids=range(8),
)
def test_class_names(network, content, found):
    (network / "names.txt").write_bytes(content)
    (network / "net.toml").write_text('classes = "names.txt"\n' + TOML)
    config = load_config(network / "net.toml")
    if isinstance(found, tuple):
        assert load_classes(config).names == found
        return
    with pytest.raises(BfpError) as error:
        load_classes(config)
    assert found in sentence(error, network)


@pytest.mark.parametrize(
    "source, words",
    [
        ("package:numpy//etc/passwd", "names no files of the package"),
        ("package:numpy/../*", "names no files of the package"),
        ("package:numpy/**x", "names no files of the package"),
        ("package:numpy/" + "x" * 200, "do not exist in the package"),
        ("package:..numpy/x", "which is not installed"),
        ("package:", "which is not installed"),
    ],
)
def test_packages(tmp_path, source, words):
    with pytest.raises(BfpError, match=words):
        open_images(ImageOptions((source,)), PRE)


def test_more_random_images_than_anybody_means():
    with pytest.raises(BfpError, match="100000000 random images are more than 100000; give a smaller limit"):
        open_images(ImageOptions(("random",), limit=10**8), PRE)


# -- archives of images -------------------------------------------------------------


def array(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def archive(path, **members: bytes):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


PIXELS = array("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4), }", bytes(32))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 4, 4), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 4, 4), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 5), }",
        "{'descr': '<q9', 'fortran_order': False, 'shape': (2, 4, 4), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2.5, 4, 4), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': 7, }",
        "{'descr': '|u1'}",
        "[" * 100,
        "",
    ],
    ids=range(9),
)
def test_archives_whose_headers_lie(tmp_path, header):
    path = archive(tmp_path / "x.npz", images=array(header, bytes(32)))
    with pytest.raises(BfpError) as error:
        open_images(ImageOptions((str(path),)), PRE)
    assert "cannot be read" in sentence(error, tmp_path)


@pytest.mark.parametrize(
    "kind, values", [("<u8", [2**63 + 5, 0]), ("<i8", [-1, 0]), ("<f4", [0, 1]), ("<i8", [2**40, 0]), (">u8", [2**63, 0])]
)
def test_labels_of_archives_that_are_none(tmp_path, kind, values):
    data = np.array(values, kind).tobytes()
    labels = array(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (2,), }}", data)
    path = archive(tmp_path / "x.npz", images=PIXELS, labels=labels)
    with pytest.raises(BfpError) as error:
        open_images(ImageOptions((str(path),)), PRE)
    assert "labels must be 2 integers, 0 to 1000000000" in sentence(error, tmp_path)


def test_labels_of_any_order_of_bytes(tmp_path):
    labels = array("{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }", np.array([3, 1], ">i4").tobytes())
    path = archive(tmp_path / "x.npz", images=PIXELS, labels=labels)
    assert open_images(ImageOptions((str(path),)), PRE).labels.tolist() == [3, 1]


@pytest.mark.parametrize("keys", [":", "::", ":images:", ":images:x", ":a:b:c"])
def test_names_of_arrays_that_are_none(tmp_path, keys):
    path = archive(tmp_path / "x.npz", images=PIXELS)
    with pytest.raises(BfpError) as error:
        open_images(ImageOptions((f"{path}{keys}",)), PRE)
    sentence(error, tmp_path)


def test_damaged_archives(tmp_path):
    """Any byte of a compressed archive changed: one sentence when it is opened or read, or the pixels that were there."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4, (3, 4, 4)).astype(np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=pixels, labels=np.arange(3))
    whole, damaged = (tmp_path / "x.npz").read_bytes(), tmp_path / "y.npz"
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            content[at] = rng.integers(256)
        damaged.write_bytes(bytes(content[: rng.integers(1, len(whole) + 200)]))
        try:
            found = open_images(ImageOptions((str(damaged),)), PRE)
            read = [found.pixels(i)[:, :, 0] for i in range(len(found))]
        except BfpError as error:
            rest = str(error).replace(str(tmp_path), "")
            assert len(rest) <= MOST and rest.isprintable(), rest
            refused += 1
            continue
        # the name of an array has no check sum: labels may be lost, but are never others
        assert np.array_equal(read, pixels) and (found.labels is None or found.labels.tolist() == [0, 1, 2])
    assert refused > 200


# -- what is no ordinary file -------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["p.png", "p.npz", "p.csv", "list", "groundtruth.txt"])
def test_pipes_are_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / (name if name != "list" else "p.png"))
    source = tmp_path / name
    if name == "list":
        source = tmp_path / "list.csv"
        source.write_text("file,label\np.png,0\n")
    with pytest.raises(BfpError, match="no ordinary file"):
        found = open_images(ImageOptions((str(source),)), PRE)
        assert depth_note(found) == ""
        found.pixels(0)


def test_names_that_are_no_text(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    Image.new("L", (4, 4), 9).save(os.fsdecode(folder) + "/1.png")
    Image.new("L", (4, 4), 9).save(os.fsdecode(folder + b"/\xff.png"))
    found = open_images(ImageOptions((str(tmp_path),)), PRE)
    assert len(found) == 2 and found.pixels(1).shape == (4, 4, 1)
    assert all(note.isprintable() for note in found.notes if str(tmp_path) in note)


# -- command lines ------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_simulation_of_nothing_is_refused(tmp_path, capsys, limit):
    assert codegen(["csim", str(tmp_path), "--limit", limit]) == 2
    assert f"--limit {limit} leaves nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["lanes=²"], ["lanes=" + "9" * 5000], ["lanes=8", "lanes=16"], ["lanes"], ["x" * 999]])
def test_engine_options(words):
    with pytest.raises(BfpError) as error:
        EngineOptions.from_words(words)
    sentence(error, "-")


@pytest.mark.parametrize("command", ["calibrate", "evaluate", "baselines", "report", "tensorboard", "sweep", "ablation"])
def test_where_nothing_can_be_written(network, capsys, command):
    """A file stands where the folder would be: every command says so in a sentence, and before it works for minutes."""
    (network / "file").write_text("x")
    assert calib([command, str(network / "net.toml"), "--out", str(network / "file" / "out")]) == 2
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    assert last.startswith("error: results cannot be written to ") and "is no folder" in last and "Traceback" not in err and len(last.replace(str(network), "")) <= MOST, err
    assert sorted(p.name for p in network.iterdir()) == ["file", "net.toml"]


def test_a_full_disk_is_seen_before_anything_is_done(network, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    assert calib(["calibrate", str(network / "net.toml"), "--out", str(network / "out")]) == 2
    assert "is full); make room, or name another folder with --out" in capsys.readouterr().err


# -- pictures -----------------------------------------------------------------------


@pytest.mark.parametrize("top, said", [(4095, "0 to 4095 were found, as of 12 bits"), (1023, "0 to 1023"), (65535, "0 to 65535 were found; 65535 becomes 255"), (5000, "0 to 5000")])
def test_pictures_of_fewer_bits_than_their_files(tmp_path, top, said):
    """Which values were found is said; 12 bits in files of 16 come out nearly black, and what to do is said, too."""
    for i in range(3):
        values = np.random.default_rng(i).integers(0, top + 1, (8, 8)).astype(np.uint16)
        values[0, 0] = top
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    note = depth_note(open_images(ImageOptions((str(tmp_path),)), PRE))
    assert said in note and ("nearly black" in note) is (top < 5000)
    Image.new("L", (8, 8), 3).save(tmp_path / "dark.png")
    assert depth_note(open_images(ImageOptions((str(tmp_path / "dark.png"), "random")), PRE)) == ""


# -- words -----------------------------------------------------------------------------


def test_words_of_the_sweeps_picture_do_not_overlap():
    """The axis's title, and the label of the float line, which is the highest of all."""
    row = {"weight_bits": 8, "activation_bits": 8, "curve": "a", "name": "a", "top1_float": 1.0, "top1_bfp": 1.0}
    row |= {"task": "classification", "metric": "agreement", "figure": 1.0, "agreement": 1.0}
    for shown in picture.curves([row], labelled=True):
        svg = picture.chart([row], replace(shown, label="title"), "narrow", (340, 300), picture.curve_styles([row]))
        y = {words: float(at) for at, words in re.findall(r'y="([\d.]+)"[^>]*>([^<]+)</text>', svg)}
        label = next(words for words in y if words.startswith("float"))
        assert y[label] - y["title"] >= 14 and y[label] < Frame((340, 300), (0, 1), (0, 1), picture.TOP).y(1)
