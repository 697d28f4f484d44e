"""The notebook of the Python interface, executed as a stranger would: in a folder of its own, with this Python alone."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import static_bfp.pictures as pictures
from support.project import ROOT

from bfp.errors import BfpError

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
RUN = Path(__file__).parent / "support" / "run_notebook.py"
SVG = "{http://www.w3.org/2000/svg}"


def code() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_clean_and_uses_the_whole_interface():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
    text = "\n".join(code())
    compile(text, "notebook", "exec")
    for name in ("calibrate(", ".emulate(", ".evaluate(", ".layers(", "generate(", "csim(", "estimate("):
        assert name in text
    for name in ("layers", "values", "widths", "roofline"):
        assert f"pictures.{name}(" in text


@pytest.mark.heavy
def test_every_cell_shows_what_its_words_promise(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    environment.pop("SBFP_DATA", None)
    command = [sys.executable, "-P", str(RUN), str(NOTEBOOK), str(tmp_path / "executed.ipynb")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = [o for c in json.loads((tmp_path / "executed.ipynb").read_text())["cells"] for o in c.get("outputs", [])]
    text = "".join(o["text"] for o in shown if o["output_type"] == "stream" and o["name"] == "stdout")
    float_top1, engine_top1, same = map(float, re.search(
        r"top-1 ([\d.]+) % in float, ([\d.]+) % on the\s+engine; the same answer for ([\d.]+) %", text).groups())  # fmt: skip
    assert float_top1 > 95 and engine_top1 > 95 and same > 98
    assert re.search(r"4 images, [1-9]\d* values compared, 0 mismatches", text)
    assert len(re.findall(r"(?m)^\d bits: top-1", text)) == 6 and len(re.findall("multipliers: ", text)) == 3
    assert "one of the worst" in text
    drawn = [o["data"]["text/html"] for o in shown if "text/html" in o.get("data", {})]
    assert len(drawn) == 4 and sum("image/png" in o.get("data", {}) for o in shown) == 1
    for page in drawn:
        svg = ElementTree.fromstring(base64.b64decode(re.search(r"base64,([^\"]+)", page)[1]))
        assert svg.tag == f"{SVG}svg" and len(svg.findall(f".//{SVG}text")) > 5


def test_pictures_show_their_figures_and_refuse_what_they_lack(tmp_path):
    picture = pictures.widths({8: {"sqnr_db": 40.0}, 4: {"sqnr_db": 18.0}})
    root = ElementTree.fromstring(picture.svg)
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    assert len(dots) == 2 and dots[0][0] < dots[1][0] and dots[0][1] > dots[1][1], "wider is right, better is up"
    assert "var(" not in picture.svg and len(repr(picture)) < 200
    picture.save(tmp_path / "widths.svg")
    assert (tmp_path / "widths.svg").read_text() == picture.svg
    for figures in ({}, {8: {"sqnr_db": None}}):
        with pytest.raises(BfpError, match="is not known of every width"):
            pictures.widths(figures)
    with pytest.raises(BfpError, match="toy has no layer 'x'; give one of a"):
        pictures.values({"network": "toy", "layers": [{"name": "a"}]}, "x")
