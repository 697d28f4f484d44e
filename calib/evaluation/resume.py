"""The state of a long evaluation, on disk after every batch, so that an interruption costs one batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from bfp.files import write_json
from calib.data.images import ImageSet
from calib.evaluation.average_precision import checked_box
from calib.evaluation.tally import Tally
from calib.judge import Judge
from calib.network.float_network import FloatNetwork
from calib.state import weights_digest
from calib.used_files import images_digest


def evaluation_key(artifact_digest: str, network: FloatNetwork, images: ImageSet, judge: Judge, words: dict) -> dict:
    """What must be equal for sums to go on: artifact, float weights, images, judge, and in words how they were added up."""
    return {
        "artifact": artifact_digest,
        "weights": weights_digest(network),
        "images": images_digest(images),
        "judge": f"{judge.task.name} {judge.measure.name} {judge.threshold} {judge.detection}"
        + ("" if judge.maps is None else f" {judge.maps.name}"),
        "output": judge.output,
        "columns": {judge.output: judge.columns},
        **words,
    }


def load_tallies(path: Path, key: dict, outputs: Iterable[str], images: int) -> tuple[dict[str, Tally], str]:
    """The tallies kept for this key, of every output by name and ``images`` at most, and how they were found, one sentence.

    Empty ones where there is nothing to use.
    """
    empty = {name: Tally() for name in outputs}
    if not path.is_file():
        return empty, ""
    fresh = "starting from the first image"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, values = content["key"], content["tallies"]
        tallies = {name: read_tally(values[name], images) for name in empty}
        if len({tally.done for tally in tallies.values()}) > 1:
            raise ValueError("outputs of several numbers of images")
        if any(len(tallies[name].rows) != count for name, count in key["columns"].items()):
            raise ValueError("figures of another kind")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return empty, f"{path} is damaged ({error}); {fresh}"
    changed = [name for name in key if found.get(name) != key[name]] if isinstance(found, dict) else list(key)
    if changed:
        return empty, f"{path} is of an evaluation with other {', '.join(changed)}; {fresh}"
    done = max(tally.done for tally in tallies.values())
    return tallies, f"going on after {done} images that {path} has"


def read_tally(values: dict, images: int) -> Tally:
    """A tally from its JSON. Raises ValueError, KeyError or TypeError for what is none of ``images`` at most."""
    tally = Tally(**{f.name: type(getattr(Tally(), f.name))(values[f.name]) for f in fields(Tally)})
    numbers = [tally.signal, tally.noise, tally.seconds, *tally.rows, *tally.wanted, *tally.float_maps, *tally.bfp_maps]
    for boxes in (tally.float_boxes, tally.bfp_boxes):
        numbers += [number for box in boxes for number in checked_box(box)]
    if not 1 <= tally.done <= images or not np.isfinite(numbers).all():
        raise ValueError(f"{tally.done} images")
    return tally


def save_tallies(path: Path, key: dict, tallies: Mapping[str, Tally]) -> None:
    """Replace the file whole or not at all. Raises BfpError where it cannot be written."""
    write_json(path, {"key": key, "tallies": {name: asdict(tally) for name, tally in tallies.items()}}, indent=None)
