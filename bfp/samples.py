"""A few preprocessed images, kept beside the artifact to be pushed through simulations and boards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp.archive import read_arrays, write_arrays
from bfp.errors import BfpError
from bfp.limits import MAX_VALUES
from bfp.names import COMMAND, TEXT_WORDS, is_text, shown

MISSING = f"run `{COMMAND} calibrate` first"
AGAIN = f"run `{COMMAND} calibrate` again"
MOST_SAMPLES = 2**16
# arrays of the file: type and number of axes; the first axis counts the images
ARRAYS = {"images": ("<f4", 4), "labels": ("<i8", 1), "names": ("<U", 1), "logits": ("<f4", 2)}


@dataclass(frozen=True)
class Samples:
    """images: float32 [N, C, H, W], normalised; labels: int64 [N], -1 where unknown; names: file names, [N].

    logits: float32 [N, outputs] of the float network, for comparison.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    logits: np.ndarray


def save_samples(samples: Samples, path: str | Path) -> None:
    """Write an .npz file whole or not at all. Raises BfpError where it could not be read again, or not be written."""
    arrays = {
        "images": samples.images.astype("<f4"),
        "labels": samples.labels.astype("<i8"),
        "names": np.array(samples.names, dtype="<U"),
        "logits": samples.logits.astype("<f4"),
    }
    _checked(arrays, f"sample images {path}", "correct them")
    write_arrays(path, arrays)


def load_samples(path: str | Path) -> Samples:
    """Read what save_samples wrote. Raises BfpError for a missing or damaged file, or for values that cannot be."""
    arrays = read_arrays(path, "sample images", MISSING, AGAIN)
    return _checked(arrays, f"sample images {path}", AGAIN)


def _checked(arrays: dict[str, np.ndarray], where: str, advice: str) -> Samples:
    """The samples of these arrays. Raises BfpError, from ``where`` to ``advice``, unless types, shapes and values fit."""
    if set(arrays) != set(ARRAYS):
        raise BfpError(f"{where} hold the arrays {shown(', '.join(sorted(arrays)))}, not {', '.join(ARRAYS)}; {advice}")
    count = arrays["labels"].size
    for name, (kind, axes) in ARRAYS.items():
        found = arrays[name]
        if not found.dtype.str.startswith(kind) or not found.dtype.itemsize or found.ndim != axes:
            raise BfpError(f"{where}: {name} is {found.dtype.str} with {found.ndim} axes, not {kind} with {axes}; {advice}")
        if len(found) != count or not 1 <= count <= MOST_SAMPLES or not 1 <= found.size <= MAX_VALUES:
            raise BfpError(f"{where}: {name} has shape {shown(found.shape)}, and there are {count} labels; {advice}")
        if kind == "<f4" and not np.isfinite(found).all():
            raise BfpError(f"{where}: {name} holds values that are not finite; {advice}")
    if arrays["labels"].min() < -1:
        raise BfpError(f"{where}: a label is {arrays['labels'].min()}, less than -1; {advice}")
    names = _texts(arrays["names"])
    for name in names:
        if not is_text(name):
            raise BfpError(f"{where}: a name is {shown(name)}, no {TEXT_WORDS}; {advice}")
    return Samples(arrays["images"], arrays["labels"], names, arrays["logits"])


def _texts(array: np.ndarray) -> tuple[str, ...]:
    """The texts of an array; a code that Unicode does not have becomes a control character, which no text may hold."""
    codes = np.ascontiguousarray(array).view("<u4")
    safe = np.where(codes > 0x10FFFF, 1, codes).astype("<u4")
    return tuple(str(text) for text in safe.view(array.dtype))
