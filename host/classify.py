"""``python -m host run``: pictures through the accelerator, and what is in them, as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bfp.files import write_json, write_text
from bfp.names import printable
from host.driver import Accelerator
from host.predictions import Prediction
from host.progress import Progress
from host.sources import Source

COLUMNS = ("file", "label", "rank", "index", "name", "probability")


def classify_all(
    accelerator: Accelerator,
    pictures: list[Source],
    top: int,
    draft: bool = False,
    to_csv: Path | None = None,
    to_json: Path | None = None,
    output: str | None = None,
) -> None:
    """Print the most likely classes of every picture, then the share of labelled ones that were right.

    pictures: of host.sources. output: whose values the classes are, as of ``Accelerator.predictions``. to_csv, to_json: files for the same, written whole at the end. Raises BfpError where a picture cannot be read.
    """
    accelerator.output(output)
    found: list[tuple[Source, list[Prediction]]] = []
    started = time.perf_counter()
    # on a terminal the classes themselves show how far it is
    with Progress("images", len(pictures), hidden=sys.stdout.isatty()) as progress:
        for picture, values in zip(pictures, accelerator.run_many((p.image for p in pictures), draft=draft)):
            found.append((picture, accelerator.predictions(values, top, output)))
            _print_one(*found[-1])
            progress.step(len(found))
    seconds = time.perf_counter() - started
    labelled = [(source, best) for source, best in found if source.label is not None]
    right = sum(best[0].index == source.label for source, best in labelled)
    if labelled:
        print(f"top-1: {right} of {len(labelled)} labelled images, {100 * right / len(labelled):.2f} %")
    print(f"{len(found)} images in {seconds:.2f} s, {len(found) / seconds:.1f} a second", file=sys.stderr)
    if to_csv:
        write_text(to_csv, _csv(found))
    if to_json:
        top1 = {"labelled": len(labelled), "right": right, "top1": right / len(labelled)} if labelled else {}
        images = [
            {"file": s.name, "label": s.label, "predictions": [asdict(p) for p in best]} for s, best in found
        ]
        write_json(to_json, {"network": accelerator.deployment.network, "seconds": seconds, **top1, "images": images})


def _print_one(picture: Source, best: list[Prediction]) -> None:
    print(printable(picture.name))
    for prediction in best:
        print(f"  {100 * prediction.probability:6.2f} %  {prediction.name}")


def _csv(found: list[tuple[Source, list[Prediction]]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for picture, best in found:
        label = "" if picture.label is None else picture.label
        for rank, p in enumerate(best, 1):
            writer.writerow([picture.name, label, rank, p.index, p.name, f"{p.probability:.6f}"])
    return text.getvalue()
