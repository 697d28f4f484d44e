"""The state of a long evaluation, on disk after every batch, so that an interruption costs one batch."""

from __future__ import annotations

import json
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
    empty = np.zeros((0, judge.outputs))
    return {
        "artifact": artifact_digest,
        "weights": weights_digest(network),
        "images": images_digest(images),
        "judge": f"{judge.task.name} {judge.measure.name} {judge.threshold} {judge.detection}",
        "columns": judge.rows(empty, empty).shape[1],
        **words,
    }


def load_tally(path: Path, key: dict, images: int) -> tuple[Tally, str]:
    """The tally kept for this key, of ``images`` at most, and how it was found, one sentence.

    An empty tally where there is nothing to use.
    """
    if not path.is_file():
        return Tally(), ""
    fresh = "starting from the first image"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, values = content["key"], content["tally"]
        tally = Tally(**{f.name: type(getattr(Tally(), f.name))(values[f.name]) for f in fields(Tally)})
        numbers = [tally.signal, tally.noise, tally.seconds, *tally.rows, *tally.wanted]
        for boxes in (tally.float_boxes, tally.bfp_boxes):
            numbers += [number for box in boxes for number in checked_box(box)]
        if not 1 <= tally.done <= images or not np.isfinite(numbers).all() or len(tally.rows) != key["columns"]:
            raise ValueError(f"{tally.done} images")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Tally(), f"{path} is damaged ({error}); {fresh}"
    changed = [name for name in key if found.get(name) != key[name]] if isinstance(found, dict) else list(key)
    if changed:
        return Tally(), f"{path} is of an evaluation with other {', '.join(changed)}; {fresh}"
    return tally, f"going on after {tally.done} images that {path} has"


def save_tally(path: Path, key: dict, tally: Tally) -> None:
    """Replace the file whole or not at all. Raises BfpError where it cannot be written."""
    write_json(path, {"key": key, "tally": asdict(tally)}, indent=None)
