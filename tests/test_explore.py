"""`doit explore`: its figures are the estimator's, its fronts are fronts, and what it prints can be used."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

from support import digits_model
import pytest
import tomllib
from support.random_graphs import random_artifact
from support.engines import ENGINES, engine_options

from bfp.artifact import Artifact
from bfp.artifact_file import load
from bfp.errors import BfpError
from calib import pipeline
from calib.config import load_config
from codegen.performance import explore
from codegen.performance.board import load_board
from codegen.performance.design_space import Explorer, narrow
from codegen.performance.estimate import estimate
from codegen.performance.explore_chart import chart
from codegen.options import EngineOptions
from codegen.lowering.program import build

NETWORK = """
model = "digits_beside:make"
weights = "model"

[input]
size = 8
channels = "gray"
mean = 76.0
std = 96.0

[calibration]
images = "random"
limit = 2

[bfp]
weights = {bits}
activations = {bits}
weight_group = 0
input_bits = 8
output_bits = 8
method = "max"
"""
FIGURES = ("cycles", "frames_per_second", "mac_efficiency", "ddr_bytes", "dsp", "bram36", "lut")


def calibrated(folder: Path, bits: int) -> Artifact:
    shutil.copyfile(digits_model.__file__, folder / "digits_beside.py")
    path = folder / f"digits{bits}.toml"
    path.write_text(NETWORK.format(bits=bits))
    return pipeline.calibrate(load_config(path), folder / str(bits))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A build folder after ``python -m codegen.performance.explore``, at 8 and at 5 bits."""
    folder = tmp_path_factory.mktemp("explore")
    calibrated(folder, 8)
    assert explore.main([str(folder / "8"), "--widths", "5/5", "--engine", "pixels=4"]) == 0
    return folder / "8"


@pytest.fixture(scope="module")
def result(folder) -> dict:
    return json.loads((folder / "explore.json").read_text())


def pay(point: dict, cost: str) -> int:
    return -point["bits"] if cost == "bits" else point[cost]


def test_fronts_are_not_dominated(result):
    """No point beats one of a front, and every other point is beaten or equalled by one of it."""
    assert [f["cost"] for f in result["fronts"]].count("bits") == 1
    costs = {"dsp", "bram36", "lut", "bits", "chip_bytes", "depthwise_pixels", "batch"}
    assert {f["cost"] for f in result["fronts"]} == costs
    for front in result["fronts"]:
        cost = front["cost"]
        rivals = [
            p
            for p in result["points"]
            if ("weights" not in front or (p["weights"], p["activations"]) == (front["weights"], front["activations"]))
            and (cost == "batch" or p["batch"] == 1)
        ]
        chosen = [result["points"][i] for i in front["points"]]
        assert chosen
        for point in rivals:
            speed, price = point["frames_per_second"], pay(point, cost)
            for best in chosen:
                better = speed >= best["frames_per_second"] and price <= pay(best, cost)
                assert not better or (speed, price) == (best["frames_per_second"], pay(best, cost))
            assert any(b["frames_per_second"] >= speed and pay(b, cost) <= price for b in chosen)


def test_the_fronts_show_a_trade(result):
    """More than one point each for LUTs; and narrow mantissas must be worth something."""
    assert all(len(f["points"]) > 3 for f in result["fronts"] if f["cost"] == "lut")
    eight, five = (result["points"][i] for i in result["best"])
    assert (eight["weights"], five["weights"]) == (8, 5)
    assert five["products"] == 4 > eight["products"] and five["ddr_bytes"] < eight["ddr_bytes"]


def test_points_are_the_estimate_of_the_same_engine(folder, result):
    """The present engine, the best ones, and some of the others; with weights laid out, as `doit estimate` does."""
    artifact, board = load(folder / "artifact.npz"), load_board("ultra96v2")
    now = result["points"][result["current"]]
    assert EngineOptions(**now["options"]) == EngineOptions(pixels=4)
    for index in [result["current"], *result["best"], *range(0, len(result["points"]), 97)]:
        point = result["points"][index]
        narrowed = narrow(artifact, point["weights"], point["activations"])
        if (point["weights"], point["activations"]) == (8, 8):
            assert narrowed.formats == artifact.formats
            narrowed = artifact
        found = estimate(build([narrowed], EngineOptions(**point["options"]), board), board)
        assert {name: point[name] for name in FIGURES} == {name: found[name] for name in FIGURES}


def test_the_default_engine_is_among_the_points(result):
    found = [p for p in result["points"] if EngineOptions(**p["options"]) == EngineOptions()]
    assert [(p["weights"], p["activations"]) for p in found] == [(8, 8), (5, 5)]


def test_the_best_is_the_fastest_of_its_width(result):
    for index in result["best"]:
        best = result["points"][index]
        same = [p for p in result["points"] if p["weights"] == best["weights"] and p["batch"] == 1]
        assert best["batch"] == 1 and best["frames_per_second"] == max(p["frames_per_second"] for p in same)


def test_batches_are_an_axis(folder, result, capsys):
    """A classifier of digits is fully connected at its end: the fastest engines take several pictures."""
    assert len(result["batched"]) == 2
    for single, index in zip(result["best"], result["batched"]):
        many, one = result["points"][index], result["points"][single]
        assert many["weights"] == one["weights"] and many["batch"] == many["options"]["batch"] > 1
        assert many["frames_per_second"] > one["frames_per_second"]
        assert f"batch = {many['batch']}" in explore.section(many, load_board("ultra96v2")).splitlines()
    assert any(f"batches of {result['points'][i]['batch']}" in line for i in result["batched"] for line in explore.table(result))
    assert {p["batch"] for p in result["points"]} >= {1, 2}


def test_lanes_of_depthwise_convolution_are_an_axis(result):
    """The network has one: engines with more lanes for it, and with fewer, are among the points, and can be pasted."""
    found = [p for p in result["points"] if p["options"]["depthwise_pixels"]]
    assert found and all(p["depthwise_pixels"] == p["options"]["depthwise_pixels"] for p in found)
    lanes = {p["depthwise_pixels"] - p["macs_per_cycle"] // p["options"]["lanes"] // p["options"]["filters"] for p in found}
    assert min(lanes) < 0 < max(lanes)
    section = explore.section(found[0], load_board("ultra96v2"))
    assert f"depthwise_pixels = {found[0]['depthwise_pixels']}" in section.splitlines()
    assert not any("depthwise" in explore.section(p, load_board("ultra96v2")) for p in result["points"][:1])


def test_weights_ahead_are_tried_where_there_is_block_ram(result):
    found = [p for p in result["points"] if p["options"]["weights_ahead"]]
    assert found and all(p["bram36"] <= result["limits"]["bram36"] for p in found)
    section = explore.section(found[0], load_board("ultra96v2"))
    assert f"weights_ahead = {found[0]['options']['weights_ahead']}" in section.splitlines()


def test_a_network_without_depthwise_convolution_has_no_lanes_for_it():
    some = (random_artifact(seed, 16) for seed in range(20))
    artifact = next(a for a in some if all(node.op != "depthwise" for node in a.graph.nodes))
    explorer = Explorer(artifact, load_board("ultra96v2"))
    assert explorer.point((8, 8), EngineOptions()) is not None
    explorer.depthwise((8, 8))
    assert len(explorer.points) == 1 and not explorer.refused


def test_what_surely_fits_does_so_at_the_high_ends(folder, result):
    """Of every width the fastest one that does, or one of "best" that does itself."""
    board = load_board("ultra96v2")
    for index in result["best"]:
        best = result["points"][index]
        same = [p for p in result["points"] if p["weights"] == best["weights"] and p["batch"] == 1]
        sure = [p for p in same if all(p["ranges"][r]["high"] <= getattr(board, r) for r in ("dsp", "bram36", "lut"))]
        fastest = max(p["frames_per_second"] for p in sure)
        found = [result["points"][i] for i in (*result["surely"], index)]
        assert any(p in sure and p["frames_per_second"] == fastest for p in found)


def test_a_network_without_a_classifier_has_no_batches():
    explorer = Explorer(artifact := random_artifact(3, 16), load_board("ultra96v2"))
    assert artifact.graph.shapes[artifact.graph.outputs[0]][1:] != (1, 1)
    assert explorer.point((8, 8), EngineOptions()) is not None
    explorer.batches((8, 8))
    assert len(explorer.points) == len(explorer.refused) == 1


def test_narrowing_is_what_calibration_at_that_width_gives(folder, result):
    """Without exponent groups nothing but the widths differs, and exponents by one: that shows in the shifters' LUTs."""
    calibrated(folder.parent, 5)
    five = load(folder.parent / "5" / "artifact.npz")
    narrowed = narrow(load(folder / "artifact.npz"), 5, 5)
    board = load_board("ultra96v2")
    real, modelled = (estimate(build([a], EngineOptions(), board), board) for a in (five, narrowed))
    assert modelled["lut"] == pytest.approx(real["lut"], rel=0.02)
    assert {n: real[n] for n in FIGURES if n != "lut"} == {n: modelled[n] for n in FIGURES if n != "lut"}


def test_the_section_can_be_pasted(folder, result, tmp_path, capsys):
    shutil.copyfile(folder / "artifact.npz", tmp_path / "artifact.npz")
    assert explore.main([str(tmp_path), "--widths"]) == 0
    out = capsys.readouterr().out
    assert "modelled" in out
    pasted = tomllib.loads(out[out.index("[engine]") : out.index("\n\n", out.index("[engine]"))])["engine"]
    best = result["points"][result["best"][0]]
    assert pasted.pop("board") == "ultra96v2"
    assert EngineOptions.from_dict(pasted) == EngineOptions(**best["options"])


def test_every_refusal_is_counted(folder):
    artifact, board = load(folder / "artifact.npz"), load_board("pynq_z2")
    explorer = Explorer(artifact, board)
    explorer.search((8, 8))
    assert explorer.points and not set(explorer.points) & set(explorer.refused)
    assert any(why == "dsp beyond the board's" for why in explorer.refused.values())
    for _, _, options in list(explorer.points)[::40]:
        program = build([artifact], options, board)
        assert estimate(program, board)["dsp"] <= board.dsp
    tried = len(explorer.points) + len(explorer.refused)
    outcome = explore.explore(artifact, board, EngineOptions(), [])
    assert len(outcome["points"]) + sum(outcome["refused"].values()) in (tried, tried + 1)  # the present engine


def test_a_board_too_small_for_any_engine_is_one_sentence(folder):
    artifact = load(folder / "artifact.npz")
    with pytest.raises(
        BfpError, match="no engine for digits8 fits PYNQ-Z2; the most frequent reason .* beyond the board"
    ):
        explore.explore(artifact, replace(load_board("pynq_z2"), lut=100), EngineOptions(), [])


def test_layers_that_do_not_fit_the_buffers_are_a_reason():
    artifact = random_artifact(3, 16)
    explorer = Explorer(artifact, load_board("ultra96v2"))
    assert explorer.point((8, 8), EngineOptions(input_words=16)) is None
    assert list(explorer.refused.values()) == ["input_words too few for a layer"]


def test_the_picture(folder, result):
    picture = ElementTree.parse(folder / "explore.svg").getroot()
    assert "modelled" in "".join(picture.itertext())
    lines = [e for e in picture.iter() if e.get("class") == "front"]
    assert len(lines) == len(result["fronts"])
    dots = [e for e in picture.iter() if e.tag.endswith("circle") and len(e)]
    assert len(dots) == sum(len(f["points"]) for f in result["fronts"])
    assert len([e for e in picture.iter() if e.get("class") == "range"]) == len(dots)
    titles = ["".join(dot.itertext()) for dot in dots]
    for front in result["fronts"]:
        for index in front["points"]:
            lut = result["points"][index]["ranges"]["lut"]
            assert any(f"{lut['likely']} ({lut['low']} to {lut['high']}) LUT" in title for title in titles)


def test_all_words_of_the_picture_are_in_it_and_apart(result):
    """With many widths and a long name, too."""
    widths = [[w, a] for w in (8, 7, 6, 5) for a in (8, 7)]
    picture = ElementTree.fromstring(chart(result | {"widths": result["widths"] + widths, "network": "long" * 30}))
    right, bottom = map(float, picture.get("viewBox").split()[2:])
    boxes = []
    for text in (e for e in picture.iter() if e.tag.endswith("}text")):
        letters = 0.66 * float(text.get("font-size", 12)) if text.get("font-weight") else 6.6
        room, x, y = letters * len(text.text), float(text.get("x")), float(text.get("y"))
        x -= {None: 0, "middle": room / 2, "end": room}[text.get("text-anchor")]
        boxes.append((x, y - 9, x + room, y + 2))
        assert x >= 0 and x + room <= right and y <= bottom, text.text
    for n, (left, top, end, low) in enumerate(boxes):
        assert not any(left < e and b < end and top < f and t < low for b, t, e, f in boxes[n + 1 :])
    assert len(boxes) > 50 and any(e.text == "KiB of on-chip memory for maps" for e in picture.iter())


@pytest.mark.parametrize(
    "words, sentence", [(["--widths", "9/8"], "width '9/8' is not"), (["--board", "x"], "not known")]
)
def test_bad_input_is_one_sentence(folder, words, sentence, capsys):
    assert explore.main([str(folder), *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.parametrize("batch", range(len(ENGINES)))
def test_a_program_without_weights_has_the_same_sizes(batch):
    engine = ENGINES[batch]
    for seed in range(700, 706):
        artifacts = [random_artifact(seed, engine.lanes, engine.widest)]
        options = engine_options(artifacts, engine)
        full, empty = (build(artifacts, options, engine.board, weights) for weights in (True, False))
        assert [layer.fields for layer in full.layers] == [layer.fields for layer in empty.layers]
        assert full.weight_words == empty.weight_words
        assert full.weight_image().shape == empty.weight_image().shape
