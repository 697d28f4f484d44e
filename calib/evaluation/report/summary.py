"""``python -m calib.evaluation.report.summary BUILD_DIR``: what the main job found, in a few lines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from calib.evaluation.shown import figure_text, own_text, title_of
from calib.measures import AGREEMENT, SHARE


def summary(folder: Path) -> list[str]:
    """Lines about a build folder that holds evaluation.json, csim.json and board.json."""
    read = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("evaluation", "csim", "board")}
    e, c, b = read["evaluation"], read["csim"], read["board"]
    agreement = f"{title_of(e['metric'])} {own_text(e)} on {e['images']} images"
    if e["metric"] == AGREEMENT.name:
        agreement = f"{figure_text(e['agreement'], SHARE, 1)} of {e['images']} images like the float network"
    sqnr = "lossless" if e["sqnr_db"] is None else f"{e['sqnr_db']:.1f} dB"
    widths = f"{e['weight_bits']}-bit weights, {e['activation_bits']}-bit activations"
    return [
        "",
        f"{folder.name}: {widths}, method {e['method']}",
        f"  accuracy         {agreement}, output SQNR {sqnr}",
        *(
            f"  {what:16} {r['images']} images, {r['values_compared']} values, {r['mismatches']} mismatches"
            for what, r in (("C simulation", c), ("simulated board", b))
        ),
        f"  C simulation ran at {c['macs'] / c['seconds'] / 1e9:.1f} billion multiply-accumulates a second",
        f"  files            {folder}/: artifact.npz, generated/, deploy/, report.html",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m calib.evaluation.report.summary", description=__doc__)
    parser.add_argument("folder", type=Path, help="build folder of a network")
    print(*summary(parser.parse_args().folder), sep="\n")
