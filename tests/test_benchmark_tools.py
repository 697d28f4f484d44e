"""Other tools beside this project: what they are given, what is counted of them, and what becomes of those that fail."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.digits import folder, write_network  # noqa: F401 (folder is a fixture)

from bfp import BfpError
from calib.evaluation.benchmark.tools import comparison, exchange
from calib.evaluation.benchmark.tools.plain import with_plain_convolutions

SIDE = """
from exchange import Row, serve

def coarse(given):
    seen = []
    given.feed(seen.append)
    assert sum(map(len, seen)) == len(given.calibration) == 200
    return given.module

def mixed_up(given):
    return lambda batch: given.module(batch).flip(0)

def broken(given):
    raise ValueError("no such operator\\nmore")

def offered(widths):
    found = [Row(f"coarse_{w}_{a}", "coarse", w, a, coarse) for w, a in widths if w > 4]
    return found + [Row("mixed_up", "mixed up", 8, 8, mixed_up), Row("broken", "broken", 8, 8, broken)]

serve("1.2.3", offered)
"""


@pytest.fixture
def tool(folder, tmp_path, monkeypatch):  # noqa: F811
    """A tool whose program is ``SIDE``: another one may be given."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "fake.txt").write_text("")
    shutil.copyfile(exchange.__file__, tmp_path / "exchange.py")
    monkeypatch.setattr(comparison, "HERE", tmp_path)
    monkeypatch.setattr(comparison, "TOOLS", {"fake": "Fake Tool"})
    monkeypatch.setattr(comparison, "environment", lambda place, requirements: Path(sys.executable))
    network = write_network(folder, "digits_tools")

    def run(program: str = SIDE) -> dict:
        (tmp_path / "side_fake.py").write_text(program)
        asked = comparison.Asked([(8, 8), (4, 8)], limit=60, tools=("fake",), methods=())
        return comparison.compare(network, tmp_path / "out", asked)

    return run


def test_a_tool_is_counted_against_the_same_float_network(tool, tmp_path):
    content = tool()
    exact, mixed, broken = content["rows"]
    assert (exact["tool"], exact["version"], exact["settings"], exact["images"]) == ("Fake Tool", "1.2.3", "coarse", 60)
    assert exact["agreement"] == 1.0 and exact["top1_float"] == exact["top1_bfp"] > 0.8 and exact["sqnr_db"] > 100
    assert mixed["agreement"] < 0.5 and mixed["sqnr_db"] < 3 and 0 < mixed["loss_interval"] < 0.2
    assert broken["error"] == "ValueError: no such operator" and "agreement" not in broken
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "| Fake Tool 1.2.3, coarse | +0.00 ± 0.00, 100.0 % (94.0 to 100.0), " in text and "| Fake Tool 1.2.3, broken | failed |" in text
    assert "- Fake Tool, broken: ValueError: no such operator" in text
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == content
    left = [p.name for p in (tmp_path / "out").rglob("*") if p.suffix in (".npy", ".pt")]
    assert sorted(left) == ["coarse_8_8.npy", "float.npy", "mixed_up.npy"]  # neither images nor module stay
    # what is done is not done again
    made = next((tmp_path / "out").rglob("coarse_8_8.npy"))
    before = made.stat().st_mtime_ns
    assert tool() == content and made.stat().st_mtime_ns == before


def test_a_tool_that_does_not_start_has_a_reason_and_no_row(tool):
    content = tool("raise SystemExit('cannot import its own parts')")
    assert content["rows"] == []
    assert content["refused"]["Fake Tool"].startswith("its program stopped with status 1: cannot import its own parts; all of it")


def test_pip_that_fails_is_a_reason(tool, monkeypatch):
    def refuse(place, requirements):
        raise BfpError("pip cannot install fake.txt")

    monkeypatch.setattr(comparison, "environment", refuse)
    assert tool()["refused"] == {"Fake Tool": "pip cannot install fake.txt"}


def test_another_float_network_is_refused(tool):
    with pytest.raises(BfpError, match="Fake Tool computes another float network before it quantises"):
        tool(SIDE.replace("serve(", "import exchange\nexchange.read = lambda f, read=exchange.read: changed(read(f))\nserve(").replace(
            "def offered", "def changed(given):\n    given.module[0].weight.data *= 1.01\n    return given\n\ndef offered"))  # fmt: skip


class Padding(torch.nn.Conv2d):
    """Pads by itself, as EfficientNet-Lite's package does."""

    def __init__(self, *sizes: int, **words: object) -> None:
        super().__init__(*sizes, **words)
        self.static_padding = torch.nn.ZeroPad2d((0, 1, 0, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.static_padding(x))


def test_tools_are_given_convolutions_that_they_know():
    """A class of its own becomes PyTorch's behind a padding, with the same outputs; other modules stay as they are."""
    torch.manual_seed(0)
    deep = torch.nn.Sequential(Padding(8, 8, 3, stride=2, groups=4, bias=False))
    module = torch.nn.Sequential(Padding(3, 8, 3), torch.nn.Conv2d(8, 8, 1), deep).eval()
    kept, images = module[1], torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        before = module(images)
        after = with_plain_convolutions(module)(images)
    assert torch.equal(before, after) and module[1] is kept
    layers = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [type(m) for m in layers] == [torch.nn.Conv2d] * 3 and layers[2].groups == 4 and layers[2].bias is None


def test_widths_are_columns():
    row = {
        "tool": "t", "version": "1", "settings": "s", "images": 9, "top1_float": 0.5, "top1_bfp": 0.25, "loss_interval": 0.125,
        "agreement": 0.75, "agreement_interval": [0.5, 0.875],
    }  # fmt: skip
    rows = [{**row, "weights": w, "activations": a, "sqnr_db": 10.0} for w, a in ((4, 8), (5, 5), (8, 8))]
    rows.append({**rows[0], "settings": "other", "top1_float": None, "agreement_interval": None, "sqnr_db": None})
    frames = {"low": 1000.0, "likely": 1200.4, "high": 1300.0}
    rows.append({**rows[1], "settings": "ours", "modelled": {"frames_per_second": frames}})
    rows.append({**rows[0], "settings": "ours", "modelled": {"refused": "too large"}})
    text = comparison.markdown({"rows": rows, "refused": {"u": "not there"}})
    cell = "+25.00 ± 12.50, 75.0 % (50.0 to 87.5), 10.0 dB"
    assert text.splitlines() == [
        "| tool | 8 bits | 5 bits | 4/8 bits |", "|---|---|---|---|", f"| t 1, s | {cell} | {cell} | {cell} |",
        "| t 1, other | - | - | 75.0 %, none lost |", f"| t 1, ours | - | {cell}, 1,200 frames/s | {cell}, does not fit |",
        "", "- u: not there",
    ]  # fmt: skip


def test_auto_has_a_row_more_below_eight_bits(folder, tmp_path, monkeypatch):  # noqa: F811
    """With sensitive layers at 8 bits; every row's engine is modelled on the file's board."""
    asked = []

    def run(points, *rest):
        asked.extend(points)
        return [None] * len(points), {}

    monkeypatch.setattr(comparison, "run_points", run)
    network = write_network(folder, "digits_rows")
    comparison.compare(network, tmp_path, comparison.Asked([(8, 8), (4, 8)], limit=9, sensitive=8, tools=(), methods=("auto", "max")))
    assert [(p.name, p.replaced["bfp"].get("sensitive")) for p in asked] == [
        ("auto, 8 bits", None), ("auto, 4/8 bits", None), ("auto, sensitive layers at 8 bits, 4/8 bits", 8),
        ("plain maximum, 8 bits", None), ("plain maximum, 4/8 bits", None),
    ]  # fmt: skip
    assert all(p.apart and p.target == ("ultra96v2", None) for p in asked)


def test_wrong_words_are_one_sentence(folder, tmp_path, capsys):  # noqa: F811
    network = str(write_network(folder, "digits_words"))
    assert comparison.main([network, "--out", str(tmp_path / "out"), "--tools", "tensorrt"]) == 2
    assert "error: --tools tensorrt is not known; known are onnxruntime, torchao, aimet, brevitas" in capsys.readouterr().err


@pytest.mark.heavy
def test_every_tool_on_a_trained_network(folder, tmp_path):  # noqa: F811
    """Those that pip can install here quantise the digits' network at 8 bits as well as can be expected."""
    network = write_network(folder, "digits_compared")
    content = comparison.compare(network, tmp_path, comparison.Asked([(8, 8), (4, 8)], limit=200, methods=("auto", "dsconv")), 1)
    had = {r["tool"] for r in content["rows"]} - {"this project"}
    assert had | set(content["refused"]) == set(comparison.TOOLS.values())
    # torchao's quantiser for x86 cannot take a network of this form, and says so; it must be the only one
    failed = [row for row in content["rows"] if "error" in row]
    assert {(row["settings"], row["error"]) for row in failed} <= {
        ("X86InductorQuantizer", "ValueError: Input partition has more than one output node")
    }
    done = [row for row in content["rows"] if "error" not in row]
    for row in done:
        assert row["images"] == 200 and row["agreement"] > (0.9 if row["weights"] == 8 else 0.3), row
    assert {row["tool"] for row in done} == had | {"this project"} and all(np.isfinite(row["sqnr_db"]) for row in done)
