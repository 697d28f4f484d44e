"""What the board computes on its own, as digests: run by two Pythons, the lines must be the same.

    python tests/support/board_work.py FOLDER      (artifact.npz, deploy/ and pictures of every kind lie there)
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from bfp import golden, layout
from bfp.artifact_file import load
from bfp.deployment import read_deployment, read_weights
from bfp.format import dequantise, quantise
from host.image import INTERPOLATIONS, load_image, normalise
from bfp.artifact import Preprocessing


def digest(array: np.ndarray) -> str:
    array = np.ascontiguousarray(array)
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def pictures(folder: Path) -> None:
    """Every picture by every interpolation, to pixels and to the network's input."""
    for path in sorted(p for kind in ("png", "tiff") for p in folder.glob(f"*.{kind}")):
        for interpolation in INTERPOLATIONS:
            for channels, count in (("rgb", 3), ("bgr", 3), ("gray", 1)):
                pre = Preprocessing((20, 24), (127.0, 1.5, 2.5)[:count], (3.0, 5.0, 7.0)[:count], 28, interpolation, channels)
                pixels = load_image(path, pre)
                print(path.name, interpolation, channels, digest(pixels), digest(normalise(pixels[None], pre)))


def integers(folder: Path) -> None:
    """The golden model, and how its tensors lie in memory."""
    artifact, deployment = load(folder / "artifact.npz"), read_deployment(folder / "deploy")
    print(digest(read_weights(deployment, folder / "deploy")))
    shape = deployment.tensor(deployment.input.tensor).shape
    image = np.random.default_rng(7).normal(size=(1, *shape)).astype(np.float32) * 3
    tensors = golden.run(artifact, golden.quantise_input(artifact, image))
    arena = np.zeros((deployment.fmap_words, deployment.lanes), np.uint8)
    for tensor in deployment.tensors:
        mantissas = tensors[tensor.name][0]
        layout.pack(tensor, mantissas, arena)
        values = dequantise(layout.unpack(tensor, arena), tensor.format)
        assert np.array_equal(quantise(values, tensor.format), mantissas)
        print(tensor.name, digest(mantissas), digest(values))
    print(digest(arena))


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
    integers(Path(sys.argv[1]))
