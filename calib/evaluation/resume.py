"""The state of a long evaluation, on disk after every batch, so that an interruption costs one batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from bfp.files import write_json
from calib.data.images import ImageSet
from calib.evaluation.tally import Tally
from calib.network.float_network import FloatNetwork
from calib.state import weights_digest
from calib.used_files import images_digest


def evaluation_key(artifact_digest: str, network: FloatNetwork, images: ImageSet, batch: int, device: str) -> dict:
    """What must be equal for sums to go on: artifact, float weights, images, and how they were added up."""
    return {
        "artifact": artifact_digest,
        "weights": weights_digest(network),
        "images": images_digest(images),
        "batch": batch,
        "device": device,
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
    except (OSError, ValueError, KeyError, TypeError) as error:
        return empty, f"{path} is damaged ({error}); {fresh}"
    changed = [name for name in key if found.get(name) != key[name]] if isinstance(found, dict) else list(key)
    if changed:
        return empty, f"{path} is of an evaluation with other {', '.join(changed)}; {fresh}"
    done = max(tally.done for tally in tallies.values())
    return tallies, f"going on after {done} images that {path} has"


def read_tally(values: dict, images: int) -> Tally:
    """A tally from its JSON. Raises ValueError, KeyError or TypeError for what is none of ``images`` at most."""
    tally = Tally(**{f.name: type(f.default)(values[f.name]) for f in fields(Tally)})
    if not 1 <= tally.done <= images or not np.isfinite([tally.signal, tally.noise, tally.seconds]).all():
        raise ValueError(f"{tally.done} images")
    return tally


def save_tallies(path: Path, key: dict, tallies: Mapping[str, Tally]) -> None:
    """Replace the file whole or not at all. Raises BfpError where it cannot be written."""
    write_json(path, {"key": key, "tallies": {name: asdict(tally) for name, tally in tallies.items()}}, indent=None)
