"""A few preprocessed images, kept beside the artifact to be pushed through simulations and boards."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp.errors import BfpError


@dataclass(frozen=True)
class Samples:
    """images: float32 [N, C, H, W], normalised; labels: int64 [N], -1 where unknown; names: file names, [N].

    logits: float32 [N, outputs] of the float network, for comparison.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    logits: np.ndarray


def save_samples(samples: Samples, path: Path) -> None:
    """Write an .npz file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as f:
        np.savez(
            f,
            images=samples.images.astype(np.float32),
            labels=samples.labels.astype(np.int64),
            names=np.array(samples.names, dtype=np.str_),
            logits=samples.logits.astype(np.float32),
        )
    os.replace(temporary, path)


def load_samples(path: Path) -> Samples:
    """Read what save_samples wrote. Raises BfpError for a missing or damaged file."""
    if not path.is_file():
        raise BfpError(f"sample images {path} do not exist; run `doit calibrate` first")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = tuple(str(n) for n in archive["names"])
            return Samples(archive["images"], archive["labels"], names, archive["logits"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BfpError(f"sample images {path} are damaged ({error}); run `doit calibrate` again") from None
