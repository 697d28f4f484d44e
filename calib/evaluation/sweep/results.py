"""What a sweep found: sweep.json, sweep.csv and the picture."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_json, write_text
from calib.config import load_config
from calib.evaluation.sweep.engine import run_points
from calib.evaluation.shown import FIGURES, SIDES, TRUTHS
from calib.evaluation.sweep.modelled import target_of
from calib.evaluation.sweep.picture import page
from calib.evaluation.sweep.points import Point, sweep_points

SCHEMA = 4
TRUTH_KEYS = tuple(key + side for key in TRUTHS for side in SIDES)
COLUMNS = (
    *("name", "curve", "method", "weight_bits", "activation_bits", "weight_group", "activation_group", "images"),
    *("task", "metric", "figure", "top1_float", "top1_bfp", "loss_interval", "map50_float", "map50_bfp", "miou_float", "miou_bfp", "target_psnr_float", "target_psnr_bfp", "agreement", "agreement_low", "agreement_high", "sqnr_db"),
    *("chosen", "board", "frames_per_second", "frames_per_second_low", "frames_per_second_high", "bytes_per_frame", "error"),
)


def sweep(
    path: Path,
    folder: Path,
    scheduler: str | None = None,
    workers: int | None = None,
    board: str | None = None,
    clock: str | None = None,
) -> dict:
    """Run the ``[sweep]`` of a network's file; write sweep.json, sweep.csv and sweep.html to ``folder``.

    board, clock: that engines are modelled on, instead of the file's or the default board and its own clock. Points already in ``folder/points`` are kept. Returns the content of
    sweep.json, which is the same whatever the order and the number of workers.
    Raises BfpError, after everything is written, naming the points that failed.
    """
    config = load_config(path)
    points = sweep_points(config, target_of(board or config.board, clock))
    results, failures = run_points(points, folder / "points", f"sweep of {config.name}", scheduler, workers)
    content = summary(config.name, points, results, failures)
    write_json(folder / "sweep.json", content)
    write_text(folder / "sweep.csv", table(content["points"]))
    write_text(folder / "sweep.html", page(content))
    complain(f"sweep of {config.name}", failures)
    return content


def complain(what: str, failures: dict[str, str]) -> None:
    """Name every failure on stderr, and raise BfpError if there was one."""
    for name, reason in failures.items():
        print(f"{what}: {name} failed: {reason}", file=sys.stderr)
    if failures:
        raise BfpError(
            f"{what}: {len(failures)} failed ({'; '.join(failures)}); what is done is kept, "
            "correct the cause and run it again"
        )


def summary(network: str, points: list[Point], results: list[dict | None], failures: dict[str, str]) -> dict:
    """The content of sweep.json."""
    rows, notes, weights = [], {}, None
    for point, result in zip(points, results):
        found = result or {}
        notes |= dict.fromkeys(found.get("notes", []))
        weights = weights or found.get("weights")
        rows.append(
            {
                "name": point.name,
                "curve": point.curve,
                "method": point.method,
                "weight_bits": point.widths[0],
                "activation_bits": point.widths[1],
                "weight_group": point.groups[0],
                "activation_group": point.groups[1],
                **{k: found.get(k) for k in (*FIGURES, *TRUTH_KEYS)},
                "chosen": found.get("chosen"),
                "modelled": found.get("modelled"),
                "calibration_images": found.get("calibration_images"),
                "error": failures.get(point.name),
            }
        )
    return {"schema": SCHEMA, "network": network, "weights": weights, "notes": list(notes), "points": rows}


def table(rows: list[dict]) -> str:
    """The points as CSV, COLUMNS in its first line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **ends(row), **speed(row)} for row in rows)
    return text.getvalue()


def ends(row: dict) -> dict:
    """The ends of the agreement's interval, in the columns of the table; nothing where there is none."""
    return dict(zip(("agreement_low", "agreement_high"), row.get("agreement_interval") or ()))


def speed(row: dict) -> dict:
    """What is modelled of a point, in the columns of the table; nothing where nothing is."""
    found = row["modelled"]
    if found is None or "refused" in found:
        return {}
    frames = found["frames_per_second"]
    ends = {"frames_per_second_low": frames["low"], "frames_per_second_high": frames["high"]}
    return {"board": found["board"], "frames_per_second": frames["likely"], **ends, "bytes_per_frame": found["bytes_per_frame"]}
