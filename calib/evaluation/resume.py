"""The state of a long evaluation, on disk after every batch, so that an interruption costs one batch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from bfp.files import write_json
from calib.network.float_network import FloatNetwork
from calib.data.images import ImageSet


@dataclass
class Tally:
    """Sums over the images done so far.

    done: images. float_hits, bfp_hits: right classes, where labels are known;
    same: images with the same class in both. signal, noise: sums of squares
    of the float network's outputs, and of the differences. seconds: spent.
    """

    done: int = 0
    float_hits: int = 0
    bfp_hits: int = 0
    same: int = 0
    signal: float = 0.0
    noise: float = 0.0
    seconds: float = 0.0


def evaluation_key(artifact_digest: str, network: FloatNetwork, images: ImageSet, batch: int, device: str) -> dict:
    """What must be equal for sums to go on: artifact, float weights, images, and how they were added up."""
    return {
        "artifact": artifact_digest,
        "weights": weights_digest(network),
        "images": images_digest(images),
        "batch": batch,
        "device": device,
    }


def weights_digest(network: FloatNetwork) -> str:
    """SHA-256 over the names, shapes and values of all float weights, hex."""
    digest = hashlib.sha256()
    for name in sorted(network.weights):
        w = network.weights[name]
        digest.update(f"{name} {w.weight.shape}\n".encode())
        digest.update(np.ascontiguousarray(w.weight).data)
        digest.update(np.ascontiguousarray(w.bias).data)
    return digest.hexdigest()


def images_digest(images: ImageSet) -> str:
    """SHA-256 over the list of images, hex: names, labels, the files' sizes and times, augmentation, preprocessing."""
    digest = hashlib.sha256(f"{images.augment} {images.seed} {images.pre}\n".encode())
    stamps: dict[str, str] = {}
    for item in images.items:
        file = re.sub(r"\[\d+\]$", "", item.name)  # the archive of an image inside one
        if file not in stamps:
            try:
                found = os.stat(file)
                stamps[file] = f"{found.st_size} {found.st_mtime_ns}"
            except OSError:
                stamps[file] = ""  # made, not read; or missing, and then opening it says so
        digest.update(f"{item.name} {item.label} {stamps[file]}\n".encode())
    return digest.hexdigest()


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
        tally = Tally(**{f.name: type(f.default)(values[f.name]) for f in fields(Tally)})
        if not 1 <= tally.done <= images or not np.isfinite([tally.signal, tally.noise, tally.seconds]).all():
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
