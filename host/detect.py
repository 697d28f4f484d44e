"""What a detector's outputs are in a picture: boxes in its own pixels; and ``python -m host run`` of a detector."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bfp.deployment import Deployment
from bfp.detection import detect
from bfp.errors import BfpError
from bfp.files import write_json, write_text
from bfp.names import printable
from bfp.placement import Placement
from host.progress import Progress
from host.sources import find_pictures

if TYPE_CHECKING:
    from host.driver import Accelerator

COLUMNS = ("file", "rank", "index", "name", "score", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Box:
    """One object: index and name of its class, score 0..1, and its corners in pixels of the upright picture."""

    index: int
    name: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


def boxes_in(deployment: Deployment, returned: Mapping[str, np.ndarray], place: Placement) -> list[Box]:
    """The objects in one picture, the most certain first.

    returned: what the network returns for it, without the axis of the batch, by the names of the outputs. Raises BfpError where the network is
    no detector.
    """
    detection = deployment.detection
    if detection is None:
        raise BfpError(f"network {deployment.network} is no detector; call run or classify")
    batch = {name: values[None] for name, values in returned.items()}
    (found,) = detect(batch, detection, deployment.inputs[0].preprocessing.size)
    corners = place.to_picture(found.corners)
    return [
        Box(int(c), detection.name(int(c)), float(s), *map(float, sides))
        for c, s, sides in zip(found.classes, found.scores, corners)
    ]


def detect_all(
    accelerator: Accelerator, names: list[str], draft: bool = False, to_csv: Path | None = None, to_json: Path | None = None
) -> None:
    """Print the objects in every picture.

    to_csv, to_json: files for the same, written whole at the end. Raises BfpError where a picture cannot be read.
    """
    paths = [source.path for source in find_pictures(names)]
    found: list[tuple[Path, list[Box]]] = []
    started = time.perf_counter()
    # on a terminal the objects themselves show how far it is
    with Progress("images", len(paths), hidden=sys.stdout.isatty()) as progress:
        for path, output in zip(paths, accelerator.run_many(paths, draft=draft)):
            found.append((path, accelerator.boxes(output, path)))
            print("\n".join([printable(str(path)), *lines(found[-1][1])]))
            progress.step(len(found))
    seconds = time.perf_counter() - started
    print(f"{len(found)} images in {seconds:.2f} s, {len(found) / seconds:.1f} a second", file=sys.stderr)
    if to_csv:
        write_text(to_csv, table(found))
    if to_json:
        images = [{"file": str(path), "boxes": [asdict(box) for box in boxes]} for path, boxes in found]
        write_json(to_json, {"network": accelerator.deployment.network, "seconds": seconds, "images": images})


def lines(boxes: list[Box]) -> list[str]:
    """Objects for people, one a line."""
    found = [f"  {100 * b.score:6.2f} %  {b.name}  {b.left:.1f} {b.top:.1f} {b.right:.1f} {b.bottom:.1f}" for b in boxes]
    return found or ["  nothing"]


def table(found: list[tuple[Path, list[Box]]]) -> str:
    """The same as CSV, COLUMNS in its first line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path, boxes in found:
        for rank, b in enumerate(boxes, 1):
            sides = (f"{side:.2f}" for side in (b.left, b.top, b.right, b.bottom))
            writer.writerow([path, rank, b.index, b.name, f"{b.score:.6f}", *sides])
    return text.getvalue()
