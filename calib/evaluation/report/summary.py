"""``python -m calib.evaluation.report.summary BUILD_DIR``: what the main job found, in a few lines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def summary(folder: Path) -> list[str]:
    """Lines about a build folder that holds evaluation.json, csim.json and board.json."""
    read = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("evaluation", "csim", "board")}
    e, c, b = read["evaluation"], read["csim"], read["board"]
    agreement = f"{e['metric']} {e['figure']:.3f} on {e['images']} images"
    if e["agreement"] is not None:
        agreement = f"{100 * e['agreement']:.1f} % of {e['images']} images like the float network"
    widths = f"{e['weight_bits']}-bit weights, {e['activation_bits']}-bit activations"
    return [
        "",
        f"{folder.name}: {widths}, method {e['method']}",
        f"  accuracy         {agreement}, output SQNR {e['sqnr_db']:.1f} dB",
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
