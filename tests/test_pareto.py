"""Accuracy against what is modelled of the very artifact: fronts, labels, and whose engine it is."""

from __future__ import annotations

import re

import pytest
from support.digits import folder, write_network  # noqa: F401 (folder is a fixture)

from bfp import BfpError
from calib import pipeline
from calib.config import load_config
from calib.evaluation.sweep import modelled, pareto, picture
from calib.evaluation.sweep.points import sweep_points
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import load_board
from codegen.performance.estimate import estimate


def row(name: str, figure: float, frames: float, megabytes: float, bits: tuple[int, int] = (5, 5)) -> dict:
    speed = {"low": 0.9 * frames, "likely": frames, "high": 1.2 * frames}
    engine = {"board": "some board", "clock_mhz": 200, "array": {}, "frames_per_second": speed, "bytes_per_frame": 1e6 * megabytes}
    return {
        "name": name, "curve": name[0], "weight_bits": bits[0], "activation_bits": bits[1], "figure": figure, "modelled": engine,
        "metric": "agreement", "images": 9, "top1_float": 0.75, "top1_bfp": figure, "agreement": figure, "sqnr_db": 20.0,
        "chosen": "max", "error": None, "method": "max",
    }  # fmt: skip


def page_of(rows: list[dict]) -> str:
    return picture.page({"schema": 3, "network": "net", "weights": "w", "notes": [], "points": rows})


def names(rows: list[dict], cost: pareto.Cost) -> list[str]:
    (own,) = picture.curves(rows, False)
    return [r["name"] for r in pareto.front(rows, cost, own)]


def test_the_front_is_what_no_other_point_beats():
    rows = [row("a", 0.9, 100, 3), row("b", 0.8, 200, 4), row("c", 0.85, 150, 1), row("d", 0.85, 120, 2), row("e", 0.7, 200, 1)]
    rows += [row("f", 0.9, 100, 3.5)]
    assert names(rows, pareto.COSTS[0]) == ["b", "c", "a"]
    assert names(rows, pareto.COSTS[1]) == ["c", "a"]


def test_points_without_an_engine_are_in_the_table_alone():
    online, refused = row("online", 0.9, 100, 3), row("refused", 0.9, 100, 3)
    online["modelled"], refused["modelled"] = None, {"refused": "the engine for net needs 999 dsp"}
    alone = page_of([online, refused])
    assert alone.count('<svg viewBox="0 0 760') == 2 and "refused: the engine for net needs 999 dsp" in alone
    assert pareto.priced([online, refused]) == []
    both = page_of([online, refused, row("max", 0.9, 123, 3)])
    assert both.count('<svg viewBox="0 0 760') == 4 and "some board at 200 MHz" in both
    assert "123 (110.7 to 147.6)" in both and "max: 90.00 %, 123 frames/s (110.7 to 147.6), 3 MB a frame, modelled" in both


@pytest.mark.parametrize("size", picture.SIZES.values())
def test_labels_meet_neither_each_other_nor_a_dot(size):
    """Many points close to each other: what is written can be read, and not all is left out."""
    rows = [row(f"a{i}", 0.6 + 0.004 * i, 4000 - 3 * i, 2 + 0.001 * i, (3 + i % 6, 8)) for i in range(40)]
    (own,) = picture.curves(rows, False)
    for cost in pareto.COSTS:
        drawn = pareto.chart(rows, own, cost, "wide", size, picture.curve_styles(rows))
        written = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)" class="chosen-text">([^<]+)<', drawn)
        boxes = [pareto.extent(float(x), float(y), anchor, words) for x, y, anchor, words in written]
        dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
        assert len(boxes) >= 2 and len(dots) == 40
        boxes += [(x - 4, y - 4, x + 4, y + 4) for x, y in dots]
        met = [(a, b) for n, a in enumerate(boxes[: len(written)]) for b in boxes[n + 1 :] if pareto.meets(a, b)]
        assert not met and all(0 <= b[0] and b[2] <= size[0] and 0 <= b[1] and b[3] <= size[1] for b in boxes)


def test_figures_are_those_of_the_artifact_and_its_engine(folder):  # noqa: F811
    """As ``estimate`` says of the same artifact, options and board; narrower mantissas fit more products."""
    found = {}
    for bits in (8, 4):
        config = load_config(write_network(folder, f"digits_{bits}", f"weights = {bits}\nactivations = {bits}\nmethod = 'max'"))
        artifact = pipeline.make_artifact(pipeline.prepare(config))
        found[bits] = modelled.modelled(artifact, config.engine, modelled.target_of("kv260", None))
        board = load_board("kv260")
        want = estimate(build([artifact], EngineOptions(lanes=8), board), board)
        assert found[bits]["frames_per_second"] == want["ranges"]["frames_per_second"]
        assert found[bits]["bytes_per_frame"] == want["ddr_bytes"] and found[bits]["array"] == want["array"]
        assert found[bits]["board"] == board.name
    assert found[4]["array"]["macs_per_cycle"] > found[8]["array"]["macs_per_cycle"]
    large = modelled.modelled(artifact, {"lanes": 64, "filters": 64, "pixels": 16}, modelled.target_of(None, None))
    assert list(large) == ["refused"] and "(modelled)" in large["refused"]


def test_a_board_decides_what_is_kept(folder):  # noqa: F811
    config = load_config(write_network(folder, "digits_boards"))
    one, other, none = (sweep_points(config, t)[0] for t in (modelled.target_of(None, None), modelled.target_of("kv260", None), None))
    assert len({str(p.job()) for p in (one, other, none)}) == 3
    with pytest.raises(BfpError, match="no_such_board"):
        modelled.target_of("no_such_board", None)
