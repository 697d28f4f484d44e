"""``python -m calib.evaluation.benchmark.few_images NETWORK --out FOLDER``: the same network, calibrated on less and less.

The file's calibration images are the half that is chosen from, its evaluation images the half that is reported, by the
bit-exact integers. Rows: so many images, evenly spread (one image three times, from the beginning, the middle and the end),
images of few classes (``--classes 151-268``, which are then not evaluated), uniform noise. Each with ``auto`` and with
the plain maximum in groups of 16 channels. A row that is done is kept, as a JSON file of its own, until the folder is removed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bfp import golden
from bfp.errors import BfpError, sentence
from bfp.files import check_folder, write_json, write_text
from bfp.names import printable
from calib import pipeline
from calib.config import NetworkConfig, find_network, load_config
from calib.data.images import open_images
from calib.evaluation.evaluate import CHECKED, check
from calib.evaluation.integer_model import IntegerModel
from calib.evaluation.intervals import loss_interval, share_interval
from calib.network import float_model
from calib.observers.observer import batch_size
from calib.options import AUTO
from calib.user_model import load_classes

NOISE = 64  # images of it
GROUP = 16  # channels that share an exponent, of the plain maximum
METHODS = {AUTO: {"method": AUTO}, "max": {"method": "max", "weight_group": GROUP, "activation_group": GROUP}}
SAID = ("method", "held_out", "sqnr_db", "ranges", "notes")  # of an artifact's provenance: what its user was told


@dataclass(frozen=True)
class Row:
    """What calibrates. name: of its file and for people; calibration: the ``[calibration]`` section; left_out: first and last
    class that is not evaluated, or None."""

    name: str
    calibration: dict
    left_out: tuple[int, int] | None = None


def figures(reference: np.ndarray, outputs: np.ndarray, labels: np.ndarray) -> dict:
    """Loss of top-1 in points with half its interval of 95 %, agreement in percent with its interval, SQNR in dB.

    reference, outputs: [N, classes] of the float and of the quantised network; labels: [N].
    """
    theirs, ours = reference.argmax(1), outputs.argmax(1)
    right, kept = theirs == labels, ours == labels
    lost, won = int((right & ~kept).sum()), int((kept & ~right).sum())
    half = loss_interval(lost, won, len(labels))
    noise = float(((reference - outputs) ** 2).sum())
    return {
        "images": len(labels),
        "top1_float": 100 * float((theirs == labels).mean()),
        "loss": 100 * (lost - won) / len(labels),
        "loss_interval": None if half is None else 100 * half,
        "agreement": 100 * float((theirs == ours).mean()),
        "agreement_interval": [100 * end for end in share_interval(int((theirs == ours).sum()), len(labels))],
        "sqnr_db": 10 * float(np.log10((reference**2).sum() / noise)) if noise else None,
    }


def rows(config: NetworkConfig, counts: list[int], classes: tuple[int, int] | None, folder: Path) -> list[Row]:
    """What is measured. Pictures that no file holds are written below ``folder``. Raises BfpError for classes without images."""
    images = config.calibration
    known = load_classes(config)
    pool = open_images(images, config.input, config.seed, known)
    given = {"images": list(images.images)}

    def spread(count: int, first: int = 0) -> dict:
        step = max(1, len(pool) // count)
        return {**given, "skip": images.skip + images.stride * first, "stride": images.stride * step, "limit": count}

    found = []
    for count in counts:
        if count > 1:
            there = min(count, len(pool))
            found.append(Row(f"{there} images", spread(there)))
        else:
            found += [Row(f"1 image, number {first}", spread(1, first)) for first in (0, len(pool) // 2, len(pool) - 1)]
    if classes is not None:
        others = open_images(config.evaluation, config.input, config.seed, known)
        labelled = [item for part in (pool, others) for item in part.items if item.label is not None]
        chosen = [item for item in labelled if classes[0] <= item.label <= classes[1]]
        if not chosen:
            raise BfpError(f"{config.path}: no image has a label from {classes[0]} to {classes[1]}; give others to --classes")
        place = folder / "few_classes"
        place.mkdir(parents=True, exist_ok=True)
        for i, item in enumerate(chosen[:: max(1, len(chosen) // NOISE)][:NOISE]):
            item.open().convert("RGB").save(place / f"{i:04}.png")
        count = len(list(place.glob("*.png")))
        found.append(Row(f"{count} images of classes {classes[0]} to {classes[1]}", {"images": [str(place)]}, classes))
    shape = (NOISE, *config.input.size, 3)
    noise = folder / "noise.npz"
    np.savez(noise, images=np.random.default_rng(config.seed).integers(0, 256, shape, dtype=np.uint8))
    return [*found, Row(f"{NOISE} of uniform noise", {"images": [str(noise)]})]


def measure(path: Path, row: Row, bfp: dict) -> dict:
    """Calibrate as the row says, and compare over the file's evaluation images. Raises BfpError, among others where an image has no label."""
    prepared = pipeline.prepare(load_config(path, {"calibration": row.calibration, "bfp": bfp}))
    artifact = pipeline.make_artifact(prepared)
    images = prepared.evaluation
    if images.labels is None:
        raise BfpError(f"{path}: [evaluation] images have no labels; losses are counted with them")
    first, last = row.left_out or (-1, -1)
    images = replace(images, items=tuple(item for item in images.items if not first <= item.label <= last))
    model, reference, outputs = IntegerModel(artifact, torch.device("cpu")), [], []
    for batch in images.batches(batch_size(prepared.network)):
        mantissas = golden.quantise_input(artifact, batch)
        if not outputs:
            check(model, mantissas[:CHECKED])
        outputs.append(np.asarray(model.logits(mantissas), np.float64))
        reference.append(float_model.logits(prepared.network, torch.from_numpy(batch)).double().numpy())
    found = figures(np.concatenate(reference), np.concatenate(outputs), images.labels)
    said = {key: artifact.provenance[key] for key in SAID if key in artifact.provenance}
    return {**found, "calibration_images": len(prepared.calibration), "bfp": bfp, "said": said}


def markdown(content: list[dict]) -> str:
    """A line for each row, a column for each method."""
    lines = ["| calibration | " + " | ".join(METHODS) + " |", "|---" * (1 + len(METHODS)) + "|"]
    for name in dict.fromkeys(entry["name"] for entry in content):
        of = {entry["method"]: entry for entry in content if entry["name"] == name}
        lines.append(f"| {name} | " + " | ".join(cell(of[m]) if m in of else "-" for m in METHODS) + " |")
    return "\n".join(lines) + "\n"


def cell(entry: dict) -> str:
    low, high = entry["agreement_interval"]
    noise = "none lost" if entry["sqnr_db"] is None else f"{entry['sqnr_db']:.1f} dB"
    loss = f"{entry['loss']:+.2f} ± {entry['loss_interval']:.2f}"
    return f"{loss}, {entry['agreement']:.1f} % ({low:.1f} to {high:.1f}), {noise}"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 after one line on stderr about bad input."""
    parser = argparse.ArgumentParser(prog="python -m calib.evaluation.benchmark.few_images", description=__doc__)
    parser.add_argument("network", help="a network's .toml file, or the name of a shipped network")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--counts", default="256,64,16,4,1", help="calibration images, with commas between")
    parser.add_argument("--classes", help="FIRST-LAST: a row that is calibrated on these classes alone")
    parser.add_argument("--methods", default=",".join(METHODS), help="with commas between (default: all)")
    arguments = parser.parse_args(argv)
    try:
        check_folder(arguments.out, "--out")
        path, out = find_network(arguments.network), arguments.out.resolve()
        counts, classes = numbers(arguments.counts, ",", "--counts"), None
        if arguments.classes:
            classes = tuple(numbers(arguments.classes, "-", "--classes"))
            if len(classes) != 2:
                raise BfpError("--classes must be FIRST-LAST, such as 151-268")
        methods = arguments.methods.split(",")
        for method in methods:
            if method not in METHODS:
                raise BfpError(f"--methods {method} is not known; known are {', '.join(METHODS)}")
        out.mkdir(parents=True, exist_ok=True)
        content = []
        for row in rows(load_config(path), counts, classes, out):
            for method in methods:
                file = out / f"{row.name.replace(' ', '_').replace(',', '')}_{method}.json"
                if not file.is_file():
                    write_json(file, {"name": row.name, "method": method, **measure(path, row, METHODS[method])})
                content.append(json.loads(file.read_text(encoding="utf-8")))
                write_text(out / "few_images.md", markdown(content))
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    print(markdown(content))
    return 0


def numbers(text: str, between: str, option: str) -> list[int]:
    """Raises BfpError where there is something else."""
    try:
        return [int(word) for word in text.split(between)]
    except ValueError:
        raise BfpError(f"{option} {text!r} must be whole numbers with {between!r} between") from None


if __name__ == "__main__":
    sys.exit(main())
