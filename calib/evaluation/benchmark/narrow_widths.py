"""``python -m calib.evaluation.benchmark.narrow_widths NETWORK --out FOLDER``: what narrow mantissas cost and what they give.

For each width (``--widths 4,4`` is of weights, then of activations): calibrated with ``sensitive = 8`` and otherwise as the
file's ``[bfp]`` says, on its calibration images, and compared with the float network over its evaluation images by the
bit-exact integers. A row is all of these images, or every second one from
the first or from the second on, of the same outputs. Frames a second are modelled, of the very artifact, on the file's
engine and board. A width that is done is kept, as an artifact and a JSON file, until the folder is removed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import torch

from bfp import artifact_file, golden
from bfp.artifact import Artifact
from bfp.errors import BfpError, sentence
from bfp.files import check_folder, write_json, write_text
from bfp.names import printable
from calib import pipeline
from calib.config import find_network, load_config
from calib.data.images import ImageSet
from calib.evaluation.benchmark.few_images import cell, figures, numbers
from calib.evaluation.evaluate import CHECKED, check
from calib.evaluation.integer_model import IntegerModel
from calib.evaluation.sweep.modelled import modelled, target_of
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.observers.observer import batch_size

SENSITIVE = 8  # bits of what ``sensitive`` keeps wide
PARTS = {"all": slice(None), "first, third, ...": slice(0, None, 2), "second, fourth, ...": slice(1, None, 2)}


def exact_outputs(network: FloatNetwork, artifact: Artifact, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Of the float network and of the artifact's integers, float64 [N, values]. Raises BfpError where torch computes other integers."""
    model, reference, outputs = IntegerModel(artifact, torch.device("cpu")), [], []
    for batch in images.batches(batch_size(network)):
        mantissas = golden.quantise_input(artifact, batch)
        if not outputs:
            check(model, mantissas[:CHECKED])
        outputs.append(np.asarray(model.logits(mantissas), np.float64))
        reference.append(float_model.logits(network, torch.from_numpy(batch)).double().numpy())
    return np.concatenate(reference), np.concatenate(outputs)


def measure(path: Path, widths: tuple[int, int], folder: Path) -> dict:
    """Calibrate with these widths of weights and activations, compare, model; the artifact goes to ``folder``.

    Raises BfpError, among others where an image has no label.
    """
    weights, activations = widths
    load_config(path)  # whatever is wrong in the file is told here
    own = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("bfp", {})
    config = load_config(path, {"bfp": {**own, "weights": weights, "activations": activations, "sensitive": SENSITIVE}})
    prepared = pipeline.prepare(config)
    images = prepared.evaluation
    if images.labels is None:
        raise BfpError(f"{path}: [evaluation] images have no labels; losses are counted with them")
    artifact = artifact_file.save(pipeline.make_artifact(prepared), folder / "artifact.npz")
    reference, outputs = exact_outputs(prepared.network, artifact, images)
    return {
        "network": config.name,
        "widths": list(widths),
        "artifact": artifact.digest,
        "parts": {name: figures(reference[part], outputs[part], images.labels[part]) for name, part in PARTS.items()},
        "modelled": modelled(artifact, config.engine, target_of(config.board, None)),
    }


def markdown(content: list[dict]) -> str:
    """A line for each width and part of the images."""
    lines = ["| network, weights and activations | images | top-1 loss, agreement, SQNR | frames/s |", "|---|---|---|---|"]
    for entry in content:
        name, engine = "{network}, {widths[0]} and {widths[1]}".format(**entry), entry["modelled"]
        frames = engine["refused"] if "refused" in engine else f"{engine['frames_per_second']['likely']:,.0f}"
        for part, found in entry["parts"].items():
            lines.append(f"| {name} | {part}: {found['images']} | {cell(found)} | {frames} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 after one line on stderr about bad input."""
    parser = argparse.ArgumentParser(prog="python -m calib.evaluation.benchmark.narrow_widths", description=__doc__)
    parser.add_argument("network", help="a network's .toml file, or the name of a shipped network")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--widths", nargs="+", default=["4,4", "3,8"], help="weights,activations (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        check_folder(arguments.out, "--out")
        path, out, content = find_network(arguments.network), arguments.out.resolve(), []
        for word in arguments.widths:
            widths = tuple(numbers(word, ",", "--widths"))
            if len(widths) != 2:
                raise BfpError(f"--widths {word} must be of weights and of activations, such as 4,4")
            folder = out / f"weights{widths[0]}_activations{widths[1]}"
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / "figures.json"
            if not file.is_file():
                write_json(file, measure(path, widths, folder))
            content.append(json.loads(file.read_text(encoding="utf-8")))
            write_text(out / "narrow_widths.md", markdown(content))
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    print(markdown(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
