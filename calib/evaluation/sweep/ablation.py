"""What each part of the calibration buys: one after the other is switched on, and all is measured again."""

from __future__ import annotations

from pathlib import Path

from bfp.files import write_json, write_text
from bfp.format import MAX_BITS
from calib.config import load_config
from calib.evaluation.shown import own_text, title_of, truth_of
from calib.evaluation.sweep.engine import run_points
from calib.evaluation.sweep.points import FAN2019_GROUPS, Point, width_label
from calib.evaluation.sweep.results import complain
from calib.options import FAN2019

SCHEMA = 1
GROUP = 16
PLAIN = {
    **{"method": "max", "weight_method": "max", "weight_group": 64, "activation_group": 0, "unsigned": False},
    **{"rounding": "nearest", "centre": False, "sort_channels": False, "equalise": "none"},
    **{"bias_correction": False, "output": "values"},
}
# (what is switched on, how), each on top of those before it
STEPS = (
    ("plain maximum", {}),
    ("unsigned mantissas after ReLU", {"unsigned": True}),
    ("exponent groups of 16 channels", {"weight_group": GROUP, "activation_group": GROUP}),
    ("exponents of least squared error", {"method": "mse", "weight_method": "mse"}),
    ("range centring of signed channels", {"centre": True}),
    ("channel permutation, in the order of their range", {"sort_channels": True}),
    ("equalisation of ranges, of the input's, cross-layer and tied channels", {"equalise": "ranges"}),
    ("bias correction", {"bias_correction": True}),
    ("GPTQ rounding of weights", {"rounding": "gptq"}),
    ("output scaling to the range of the logits", {"output": "classes"}),
    ("inputs and outputs of 8 bits", {"input_bits": MAX_BITS, "output_bits": MAX_BITS}),
)


def ablation_points(path: Path, widths: tuple[int, int], sensitive: int, limit: int | None) -> list[Point]:
    """The published rule, every step, and the default (``auto``) of one network at one pair of widths."""
    common = {"weights": widths[0], "activations": widths[1], "sensitive": sensitive}
    named = [("published rule", {**common, "method": FAN2019})]
    options = {**common, **PLAIN}
    for name, changes in STEPS:
        options = {**options, **changes}
        named.append((f"+ {name}" if changes else name, options))
    named.append(("auto", {**common, "method": "auto"}))
    return [
        Point(name, str(path), name, o["method"], widths, FAN2019_GROUPS, {"bfp": o}, limit, apart=True)
        for name, o in named
    ]


def ablation(
    path: Path,
    folder: Path,
    widths: list[tuple[int, int]],
    sensitive: int = 0,
    limit: int | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> dict:
    """Measure the steps at every pair of widths (weights, activations); write ablation.json and ablation.md.

    sensitive: see docs/network-files.md; applies below 8 bits. Images that
    calibrate are left out of the evaluation. Results already in
    ``folder/points`` are kept. scheduler, workers: see ``run_points``. Raises
    BfpError, after everything is written, naming the points that failed.
    """
    config = load_config(path)
    rows, failed = [], {}
    for pair in widths:
        points = ablation_points(config.path, pair, sensitive if min(pair) < 8 else 0, limit)
        title = f"{config.name}, {width_label(pair)} bits"
        results, failures = run_points(points, folder / "points", title, scheduler, workers)
        failed |= {f"{name}, {width_label(pair)} bits": reason for name, reason in failures.items()}
        rows += [
            {"step": p.name, "weight_bits": pair[0], "activation_bits": pair[1], **(r or {})}
            for p, r in zip(points, results)
        ]
    content = {"schema": SCHEMA, "network": config.name, "sensitive": sensitive, "rows": rows}
    write_json(folder / "ablation.json", content)
    write_text(folder / "ablation.md", markdown(content))
    complain(f"ablation of {config.name}", failed)
    return content


def markdown(content: dict) -> str:
    """One table: a row per step; per pair of widths the loss of top-1 (or mAP50) in points, and the task's own figure."""
    rows = content["rows"]
    pairs = list(dict.fromkeys((r["weight_bits"], r["activation_bits"]) for r in rows))
    own = next((title_of(r["metric"]) for r in rows if "metric" in r), "agreement")
    lines = ["| step | " + " | ".join(f"{width_label(p)} bits: loss, {own}" for p in pairs) + " |"]
    lines.append("|---|" + "---|" * len(pairs))
    for step in dict.fromkeys(r["step"] for r in rows):
        cells = []
        for pair in pairs:
            row = next(r for r in rows if r["step"] == step and (r["weight_bits"], r["activation_bits"]) == pair)
            cells.append(cell(row))
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(row: dict) -> str:
    """The loss against the ground truth, where there is one, and the figure; or that it failed."""
    if "figure" not in row:
        return "failed"
    truth, figure = truth_of(row), own_text(row, 1)
    return figure if truth is None else f"{100 * (truth[1] - truth[2]):+.2f}, {figure}"
