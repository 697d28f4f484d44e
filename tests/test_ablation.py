"""What each part of the calibration buys: every step on top of those before it, then auto."""

import json

import pytest
from support.digits import folder, write_network  # noqa: F401 (folder is a fixture)

from calib.__main__ import main as calib
from calib.config import load_config
from calib.evaluation.sweep.ablation import STEPS, ablation_points
from calib.evaluation.sweep.points import measure


@pytest.mark.parametrize("steps", [STEPS[:3], pytest.param(STEPS, marks=pytest.mark.heavy)], ids=["three", "all"])
def test_every_step_is_measured_and_written(steps, folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr("calib.evaluation.sweep.ablation.STEPS", steps)
    path = write_network(folder, "digits_ablation", "")
    words = ["ablation", str(path), "--out", str(tmp_path), "--widths", "5,5", "--limit", "60", "--workers", "1"]
    assert calib(words) == 0
    content = json.loads((tmp_path / "ablation.json").read_text())
    rows = content["rows"]
    assert [r["step"].removeprefix("+ ") for r in rows] == ["published rule", *(name for name, _ in steps), "auto"]
    assert all(r["images"] == 60 and r["top1_float"] == rows[0]["top1_float"] for r in rows)
    assert len({r["sqnr_db"] for r in rows}) > len(rows) - 3  # the steps do change something
    table = (tmp_path / "ablation.md").read_text().splitlines()
    assert len(table) == 2 + len(rows) and table[2].startswith("| published rule | ")
    loss = 100 * (rows[-1]["top1_float"] - rows[-1]["top1_bfp"])
    assert table[-1] == f"| auto | {loss:+.2f}, {100 * rows[-1]['agreement']:.1f} % |"
    # a step is what a file with the same options gives
    point = ablation_points(path, (5, 5), 0, 60)[3]
    assert load_config(path, point.replaced).bfp.activation_group == 16
    found = measure(point.job(), str(tmp_path / "state.json"))
    assert found["sqnr_db"] == rows[3]["sqnr_db"]


def test_widths_that_are_no_pairs_are_refused(folder, tmp_path, capsys):  # noqa: F811
    path = write_network(folder, "digits_pairs", "")
    for text in ("8", "8,8,8", "", "a,b"):
        try:
            code = calib(["ablation", str(path), "--out", str(tmp_path), "--widths", text])
        except SystemExit as stop:
            code = stop.code
        assert code == 2
    assert "pairs of widths" in capsys.readouterr().err
