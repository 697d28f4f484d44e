"""Activations on accumulators, in place."""

from __future__ import annotations

import numpy as np

from bfp.tables import activation_table


def none(values: np.ndarray, high: np.ndarray | None) -> None:
    """The sum as it is."""


def relu(values: np.ndarray, high: np.ndarray | None) -> None:
    """Nothing below zero."""
    np.maximum(values, 0, out=values)


def relu6(values: np.ndarray, high: np.ndarray | None) -> None:
    """Nothing below zero, nothing above each channel's limit."""
    np.maximum(values, 0, out=values)
    np.minimum(values, high, out=values)


# values: accumulators int32 [C, H, W]; high: upper limits, int32 [C, 1, 1], where the activation has one
ACTIVATE = activation_table("the golden model", {"none": none, "relu": relu, "relu6": relu6})
