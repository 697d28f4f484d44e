"""What a classifier's outputs say of an image: its most likely classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfp.errors import BfpError


@dataclass(frozen=True)
class Prediction:
    """One class: index of the output, its name, softmax probability 0..1."""

    index: int
    name: str
    probability: float


def likeliest(logits: np.ndarray, names: Sequence[str], top: int) -> list[Prediction]:
    """Softmax over logits [classes], the ``top`` largest first; ties in the order of the outputs. names: or none.

    Raises BfpError where ``top`` is none at all.
    """
    if top < 1:
        raise BfpError(f"top {top} classes cannot be shown; ask for at least 1")
    exponentials = np.exp(logits - logits.max())
    probability = exponentials / exponentials.sum()
    order = np.argsort(-logits, kind="stable")[:top]
    return [Prediction(int(i), names[i] if names else f"class {i}", float(probability[i])) for i in order]
