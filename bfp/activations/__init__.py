"""All activations, one file each."""

from __future__ import annotations

from bfp.activations.none import NONE
from bfp.activations.record import Activation
from bfp.activations.relu import RELU
from bfp.activations.relu6 import RELU6
from bfp.errors import BfpError

ACTIVATIONS: dict[str, Activation] = {a.name: a for a in (NONE, RELU, RELU6)}

__all__ = ["ACTIVATIONS", "Activation", "activation", "composed"]


def activation(name: str, where: str) -> Activation:
    """The record of an activation. Raises BfpError, which begins with ``where``, for one that there is not."""
    if name not in ACTIVATIONS:
        raise BfpError(f"{where}: activation {name!r} is not supported; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def composed(first: Activation, second: Activation) -> Activation | None:
    """The activation that does what ``second`` does behind ``first``; None where there is none.

    Both limit to ranges. Behind one another they limit to what both leave, as long as the ranges overlap.
    """
    lows = [a.low for a in (first, second) if a.low is not None]
    highs = [a.high for a in (first, second) if a.high is not None]
    wanted = (max(lows, default=None), min(highs, default=None))
    if lows and highs and wanted[0] > wanted[1]:
        return None
    return next((a for a in ACTIVATIONS.values() if (a.low, a.high) == wanted), None)
