"""What the documents say of network files is what the code takes."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from bfp.artifact import Preprocessing
from calib.config import NetworkConfig, load_config
from calib.detection_options import DetectionOptions
from calib.together import is_together, load_together
from calib.options import AUTO, METHODS, ONLINE, BfpOptions, ImageOptions, Override
from calib.sweep_options import SweepOptions
from codegen.options import EngineOptions
from codegen.lint.pragmas import KNOWN
from codegen.lint.run import RULES
from codegen.performance.board import DEFAULT_BOARD, load_board
from codegen.simulation.source_text import scan

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["README.md", "docs/network-files.md"])
def test_documented_examples_are_valid(page, tmp_path):
    examples = re.findall(r"(?s)```toml\n(.*?)```", (ROOT / page).read_text())
    assert examples
    for text in examples:
        (tmp_path / "net.toml").write_text(text)
        if is_together(tmp_path / "net.toml"):
            for listed in re.findall(r'"(\w+\.toml)"', text):
                (tmp_path / listed).write_text(SHORTEST)
            config = load_together(tmp_path / "net.toml")
        else:
            config = load_config(tmp_path / "net.toml")
        EngineOptions.from_dict(config.engine)
        load_board(config.board or DEFAULT_BOARD)


SHORTEST = """
model = "a:b"
input = { size = 8, mean = 0, std = 1 }
calibration = { images = "random" }
"""


def test_every_key_is_documented_with_its_default(tmp_path):
    """Rows of the tables in docs/network-files.md against the options as they are."""
    text = (ROOT / "docs" / "network-files.md").read_text()
    (tmp_path / "net.toml").write_text(SHORTEST)
    defaults = vars(load_config(tmp_path / "net.toml").bfp)
    engine = {"board": DEFAULT_BOARD} | {f.name: f.default for f in fields(EngineOptions)}
    boxes = vars(DetectionOptions())
    for section, options, values in (
        *(("bfp", BfpOptions, defaults), ("engine", EngineOptions, engine), ("detection", DetectionOptions, boxes)),
    ):
        table = text.split(f"## `[{section}]`")[1].split("\n\n| ")[1].split("\n\n")[0]
        rows = {line.split("|")[1].strip(" `"): line.split("|")[2].strip() for line in table.splitlines()[1:]}
        for name in ({f.name for f in fields(options)} | set(values)) - {"overrides"}:
            value = values[name]
            default = "none" if value is None else json.dumps(value)
            assert rows.get(name) == (f"`{default}`" if isinstance(value, str) else default), name
    for options in (ImageOptions, Override, Preprocessing, NetworkConfig, SweepOptions):
        known = {f.name for f in fields(options)} - {"path", "input", "calibration", "evaluation", "bfp", "engine", "sweep", "detection", "notes"}
        known -= {"inputs"}  # a table of `channels`
        assert {name for name in known if f"`{name}`" not in text} == set()
    assert [m for m in (*METHODS, AUTO, ONLINE) if f'`"{m}"`' not in text] == []


def test_every_pragma_that_is_used_is_documented():
    """The table of docs/pragmas.md has the pragmas and options of hls/, with versions and sources, and no others."""
    used: dict[str, set[str]] = {}
    for path in [*(ROOT / "hls").glob("*.[ch]pp"), *(ROOT / "hls" / "synth").glob("*.hpp")]:
        for pragma in scan(path.name, path.read_text()):
            names = (name if value is None else f"{name}=" for name, value in pragma.options)
            used.setdefault(pragma.name, set()).update(names)
    text = (ROOT / "docs" / "pragmas.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    assert {row[0].strip("`"): set(re.findall(r"`([^`]+)`", row[1])) for row in rows} == used
    for name, _, place, since, source in rows:
        assert re.fullmatch(r"20\d\d\.\d", since) and ("guide" in source or "parser" in source), name
        allowed = {"top function" if word == "top" else word for word in KNOWN[name.strip("`")].place}
        assert set(place.split(", ")) <= allowed, name


def test_rules_that_the_page_on_pragmas_names_exist():
    text = (ROOT / "docs" / "pragmas.md").read_text()
    named = {"pragma_scope", "pragma_types", "pragma_place", "balanced_chains", "lane_arrays", "wide_words"}
    named |= {"dataflow_channels", "channel_ends", "single_instances", "inlined_helpers", "run_time_division"}
    named |= {"pragma_spelling", "pragma_conflicts", "pragma_heads", "bound_operations", "stable_arguments", "pipelines"}
    named |= {"tripcounts", "preprocessor", "run_time_product", "stable_jobs", "chosen_lanes", "struct_choices"}
    assert named <= set(RULES) and all(f"`{name}`" in text for name in named)
