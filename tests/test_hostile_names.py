"""Names, labels and paths that mean something to HTML, SVG, Markdown, Tcl, a shell or a terminal: refused, or harmless."""

import json
import re
from dataclasses import asdict, replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from support import hostile, racing
from support import toy_board as toy
from support.random_graphs import random_artifact

from bfp.artifact import Artifact, verify
from bfp.artifact_file import load, save
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from bfp.names import MOST, check_name, check_text, cut, is_name, is_text, printable, shown
from bfp.samples import load_samples, save_samples
from calib.evaluation.sweep import picture, reproduce
from calib.evaluation.sweep.results import table
from codegen.__main__ import main as codegen
from codegen.options import EngineOptions
from codegen.performance import explore_chart
from codegen.performance.roofline import roofline
from codegen.simulation import csim
from codegen.vendor import request as vendor
from host import hwh
from host.__main__ import main as host

EVERY = (*hostile.TEXTS, *hostile.UNPRINTABLE)


class Tags(HTMLParser):
    """Every element with its attributes' names, and all text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = set(), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags |= {(tag, name) for name, _ in attrs} | {(tag, "")}

    def handle_data(self, data):
        self.text += data


# -- what there may be --------------------------------------------------------------


@pytest.mark.parametrize("text", [*EVERY, "", ".", "..", ".hidden", "-rf", "a/b", "a b", "ü", "x" * (MOST + 1), 3, None, b"a"])
def test_names_are_refused_in_one_printable_sentence(text):
    assert not is_name(text)
    with pytest.raises(BfpError, match="^network n: .* cannot name a tensor; use letters") as error:
        check_name(text, "tensor", "network n")
    assert str(error.value).isprintable() and len(str(error.value)) < 200


@pytest.mark.parametrize("text", hostile.UNPRINTABLE)
def test_texts_are_one_printable_line(text):
    assert not is_text(text)
    with pytest.raises(BfpError, match="^network n: class name .* is no printable text") as error:
        check_text(text, "class name", "network n")
    assert str(error.value).isprintable()
    assert is_text(printable(text)) and printable(printable(text)) == printable(text)


def test_texts_for_people_may_say_anything_else():
    for text in (*hostile.TEXTS, "", "ü", "名前"):
        assert check_text(text, "class name", "network n") == text == printable(text)
    assert len(printable("\n" * 5000)) <= 1000 and len(cut("x" * 99, 10)) == 10 and cut("abc", 3) == "abc"
    for value in ("x" * 10**6, [[0] * 1000] * 1000, 10**3000, {"a": {"b": {"c": [1] * 99}}}, np.zeros((99, 99))):
        assert len(shown(value)) <= 60


def renamed(artifact: Artifact, **changes) -> Artifact:
    return replace(artifact, graph=replace(artifact.graph, **changes))


@pytest.mark.parametrize("text", EVERY)
def test_artifacts_take_no_such_names(text, tmp_path):
    artifact = random_artifact(3, 16)
    graph = artifact.graph
    nodes = (replace(graph.nodes[0], name=text), *graph.nodes[1:])
    for bad in (renamed(artifact, name=text), renamed(artifact, nodes=nodes), renamed(artifact, shapes={**graph.shapes, text: (1, 1, 1)})):
        with pytest.raises(BfpError, match="cannot name a (network|node|tensor)") as error:
            save(bad, tmp_path / "a.npz")
        assert str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def with_classes(artifact: Artifact, name: str) -> Artifact:
    values = int(np.prod(artifact.graph.shapes[artifact.graph.output]))
    end = replace(artifact.result, classes=(name, *(f"class {i}" for i in range(1, values))))
    return replace(artifact, outputs=(end,))


def test_class_names_and_labels_pass_every_border_unchanged_or_not_at_all(tmp_path):
    artifact = random_artifact(3, 16)
    for text in hostile.TEXTS:
        save(with_classes(artifact, text), tmp_path / "a.npz")
        assert load(tmp_path / "a.npz").classes[0] == text
        classes = (text, *(str(i) for i in range(17)))
        folder = toy.write(tmp_path / "deploy", outputs=(replace(toy.deployment().outputs[0], classes=classes),))
        assert read_deployment(folder).output.classes[0] == text
        save_samples(replace(racing.sample(1), names=(text,) * 40), tmp_path / "s.npz")
        assert load_samples(tmp_path / "s.npz").names[0] == text
    for text in hostile.UNPRINTABLE:
        with pytest.raises(BfpError, match="class name .* is no printable text"):
            verify(with_classes(artifact, text))
        with pytest.raises(BfpError, match="a name is .* no printable text"):
            save_samples(replace(racing.sample(1), names=(text,) * 40), tmp_path / "s.npz")


# -- pages, pictures, tables ----------------------------------------------------------


def sweep_content(text: str) -> dict:
    row = {"method": "max", "weight_group": 0, "activation_group": 0, "images": 9, "top1_float": 0.75}
    row |= {"task": "classification", "metric": "agreement", "figure": 0.6}
    row |= {"top1_bfp": 0.5, "agreement": 0.6, "sqnr_db": 20.0, "calibration_images": 3, "error": None}
    row["modelled"] = {"refused": f"an engine{text} is too large"}
    rows = [
        {**row, "name": f"one{text}{bits}", "curve": f"curve{text}", "chosen": f"max{text}", "weight_bits": bits, "activation_bits": 8}
        for bits in (8, 5)
    ]
    rows.append({**rows[0], "agreement": None, "figure": None, "error": f"failed{text}", "name": "other"})
    return {"schema": 1, "network": f"net{text}", "weights": f"w{text}", "notes": [f"note{text}"], "points": rows}


def test_the_page_of_a_sweep_has_the_elements_that_it_always_has():
    plain, changed = (Tags(picture.page(sweep_content(text))) for text in ("", hostile.ALL))
    assert plain.tags == changed.tags
    for text in hostile.TEXTS:
        assert changed.text.count(text) > 6
    rows = table(sweep_content(hostile.ALL)["points"]).splitlines()
    assert len(rows) == 4


def svg_kinds(text: str) -> tuple[set, str]:
    root = ElementTree.fromstring(text)
    return {(e.tag, name) for e in root.iter() for name in (*e.attrib, "")}, "".join(root.itertext())


RANGED = ("cycles", "latency_ms", "frames_per_second", "dsp", "bram36", "lut")


def estimate(text: str) -> dict:
    layer = {"name": f"conv{text}", "macs": 9000, "ddr_bytes": 100, "cycles": 50, "bound": "compute"}
    return {
        "network": f"net{text}", "board": f"board{text}", "array": {"macs_per_cycle": 640}, "clock_mhz": 250,
        "mac_efficiency": 0.5, "memory_gb_s": 4.2, "layers": [layer],
        "ranges": {name: {"low": 8, "likely": 9, "high": 10} for name in RANGED},
    }  # fmt: skip


def exploration(text: str) -> dict:
    options = asdict(EngineOptions())
    point = {"weights": 8, "activations": 8, "options": options, "frames_per_second": 9.0, "dsp": 300, "bram36": 99, "lut": 40_000}
    point |= {"bits": 16, "batch": 1, "ranges": {"lut": {"low": 30_000, "likely": 40_000, "high": 60_000}}}
    front = {"cost": "lut", "weights": 8, "activations": 8, "points": [0]}
    return {
        "network": f"net{text}", "board": f"board{text}", "points": [point], "fronts": [front], "widths": [[8, 8]],
        "limits": {"lut": 70560, "dsp": 360, "bram36": 216}, "refused": {f"reason{text}": 3}, "current": 0,
    }  # fmt: skip


@pytest.mark.parametrize("draw, content", [(roofline, estimate), (explore_chart.chart, exploration)], ids=["roofline", "explore"])
def test_pictures_have_the_elements_that_they_always_have(draw, content):
    plain, _ = svg_kinds(draw(content("")))
    assert svg_kinds(draw(content(hostile.ALL)))[0] == plain
    for text in hostile.TEXTS:  # each by itself: long names are cut, and boards' are not
        changed, words = svg_kinds(draw(content(text)))
        assert changed == plain and words.count(text) >= 1 and words.count(text[:10]) >= 2


def test_markdown_tables_keep_their_columns_and_hold_no_markup():
    def content(text):
        methods = {m: {"error": f"failed{text}"} for m in reproduce.METHODS}
        network = {"network": f"net{text}", "published": None, "float_top1": None, "methods": methods, "images": None}
        network |= {"calibration_images": None, "weights": "random", "notes": [f"note{text}"]}
        return {"mantissa_bits": 8, "images": f"images{text}", "networks": [network]}

    plain = reproduce.markdown(content(""))
    for text in EVERY:
        changed = reproduce.markdown(content(text))
        assert changed.count("\n") == plain.count("\n") and changed.replace("\n", "").isprintable()
        rows = [[len(re.findall(r"(?<!\\)(?:\\\\)*\|", x)) for x in t.splitlines() if x.startswith("|")] for t in (plain, changed)]
        assert rows[0] == rows[1]
        assert not re.search(r"(?<!\\)(?:\\\\)*[<>]", changed)  # no element, and nothing that ends one


# -- tools ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*EVERY, "my net", "tab\there", "ü"])
def test_paths_that_the_vendors_tools_would_take_apart_are_refused_before_anything_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = Path("/somewhere") / name
    with pytest.raises(BfpError, match="vendor's tools cannot take '?.* in the path /somewhere") as error:
        vendor.check_paths(Path("/fine"), path)
    assert str(error.value).isprintable()
    vendor.check_paths(Path("/home/me/v1.2_final-3/a+b=c,d@e~1"))


@pytest.mark.parametrize("name", ['a "b" $(touch x); `touch x` #\\n', "<script>|&"])
def test_a_build_folder_of_any_name_is_generated_compiled_and_driven(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    artifact = save(random_artifact(3, 4), folder / "artifact.npz")
    shape = artifact.graph.shapes[artifact.graph.input]
    images = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    sample = replace(racing.sample(1), images=images, labels=np.array([-1]), names=(hostile.TEXTS[0],), logits=np.zeros((1, 3)))
    save_samples(sample, folder / "samples.npz")
    monkeypatch.setattr(csim, "compile_engine", partial(csim.compile_engine, optimise=("-O0",)))
    assert codegen(["csim", str(folder), "--engine", "lanes=4", "filters=2", "pixels=2"]) == 0
    words = ["check", str(folder / "deploy"), "--artifact", str(folder / "artifact.npz"), "--samples", str(folder / "samples.npz")]
    assert host([*words, "--simulate", str(folder / "csim" / "libengine.so"), "--out", str(folder / "board.json")]) == 0
    assert json.loads((folder / "board.json").read_text())["mismatches"] == 0
    assert not list(tmp_path.glob("**/x")) and not list(tmp_path.rglob("*.part"))
    assert "bit-equal" in capsys.readouterr().out


def test_handoffs_are_well_formed_for_any_name(tmp_path):
    hwh.write_hwh(tmp_path / "a.hwh", hostile.ALL, 16, 250)
    root = ElementTree.parse(tmp_path / "a.hwh").getroot()
    assert root.find("MODULES/MODULE").get("INSTANCE") == hostile.ALL


def test_terminals_see_no_control_characters(tmp_path, capsys):
    """Names of photographs, that are there and that are not, as the driver's command line prints them."""
    folder, library = toy.write(tmp_path / "deploy"), toy.compile_engine(tmp_path)
    name = tmp_path / "\x1b[2J\nphoto.png"
    Image.new("RGB", (9, 9)).save(name)
    words = ["classify", str(folder), str(name), "--simulate", str(library)]
    assert host(words) == 0
    name.unlink()
    assert host(words) == 2
    out, err = capsys.readouterr()
    assert out.replace("\n", "").isprintable() and err.replace("\n", "").isprintable()
    assert "\\x1b[2J\\nphoto.png" in out and err.splitlines()[-1].startswith("error: image ")
