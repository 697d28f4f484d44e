"""The notebook for the board, executed from a deployed folder against the simulated board by the board's Python."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image
from support.board_python import notebook_python
from support.digits import folder, write_network  # noqa: F401 (a fixture)

from bfp.artifact_file import load
from bfp.golden import logits, quantise_input
from bfp.samples import load_samples
from calib.__main__ import main as calib
from codegen.__main__ import main as codegen
from codegen.deploy.__main__ import main as deploy

NOTEBOOK = Path(__file__).parents[1] / "host" / "notebook.ipynb"
EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read("notebook.ipynb", 4)
try:
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": "."}}).execute()
finally:
    nbformat.write(notebook, "executed.ipynb")
"""


def cells():
    return json.loads(NOTEBOOK.read_text())["cells"]


def test_the_notebook_is_clean_and_its_code_is_the_boards_python():
    for cell in cells():
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            compile("".join(cell["source"]), "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_notebook_shows_what_the_network_sees(folder, tmp_path):  # noqa: F811
    python = notebook_python()
    build = tmp_path / "build"
    assert calib(["calibrate", str(write_network(folder, "digits8")), "--out", str(build)]) == 0
    assert codegen(["csim", str(build), "--limit", "1"]) == 0
    assert deploy([str(build), "--host", "local", "--folder", str(tmp_path / "local")]) == 0
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JUPYTER_PLATFORM_DIRS": "1"}
    done = subprocess.run(
        [python, "-c", EXECUTE], cwd=tmp_path / "local", env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = json.loads((tmp_path / "local" / "executed.ipynb").read_text())
    outputs = [o for c in executed["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
    text = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream" and o["name"] == "stdout")
    artifact, samples = load(build / "artifact.npz"), load_samples(build / "samples.npz")
    best = [artifact.classes[int(i)] for i in logits(artifact, quantise_input(artifact, samples.images)).argmax(1)]
    assert ", ".join(best) in text, "run_many, in order"
    assert f"{best[0]}; the event loop went round: True" in text
    assert " values, 0 mismatches" in text and "digits8: 6 layers, engine at 249.998 MHz, simulated" in text and "simulated" in text
    pictures = [Image.open(io.BytesIO(base64.b64decode(o["data"]["image/png"]))) for o in outputs if "image/png" in o.get("data", {})]
    tables = ["".join(o["data"]["text/html"]) for o in outputs if "text/html" in o.get("data", {})]
    assert len(pictures) == len(tables) == 3
    pixels = np.clip(np.round(samples.images[0, 0] * 96.0 + 76.0), 0, 255).astype(np.uint8)
    shown = np.asarray(pictures[0].convert("L"))
    assert np.array_equal(shown[14::28, 14::28], pixels)
    assert all(name in table for name, table in zip(best, tables))
