"""The user's own figure: a callable that a network's file names, called for one image after the other.

    def metric(output, reference, label) -> float

output, reference: what the quantised and what the float network return of one image, float64 arrays without the axis of
the batch ([classes], or [C, H, W] of maps; of a detector bfp.boxes.Boxes). label: what is known of the image, an int, of
a detector the Boxes of the ground truth; None where nothing is, as during calibration. The result is one finite number,
the larger, the better, also where both outputs are the same; the figure is its mean over the images. What it is called
with is its own, to change as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from numbers import Real

import numpy as np

from bfp.errors import BfpError
from bfp.names import cut, printable, shown
from calib.measures import NUMBER, Measure, counted, mean

REASON = 150  # characters of what the user's own code says


class UserMetric:
    """A callable by its name, ``module:callable``; the figure has that name. where: begins refusals."""

    def __init__(self, name: str, function: Callable, where: str) -> None:
        self.name, self.function, self.where = name, function, where
        self.measure = Measure(name, self.rows, mean, "the mean over the images; the larger, the better", unit=NUMBER)

    def rows(self, reference: Sequence, quantised: Sequence, known: Sequence, first: int = 0) -> np.ndarray:
        """Rows [N, 2] of bfp's and the float network's answers of N images.

        known: of each image, or None; first: number of the first image, for refusals. Raises BfpError where the callable
        fails, or returns anything but a finite number.
        """
        found = [self.number(*one, first + n) for n, one in enumerate(zip(quantised, reference, known))]
        return counted(np.array(found, np.float64))

    def number(self, output: object, reference: object, label: object, index: int) -> float:
        """The figure of one image."""
        where = f"{self.where} {self.name!r}, image {index}{' without a label' if label is None else ''}"
        try:
            value = self.function(*deepcopy((output, reference, label)))
        except SystemExit as error:
            raise BfpError(f"{where}: it ends the program (exit status {shown(error.code)}); return a number instead") from None
        except Exception as error:  # the user's own code may raise anything
            reason = cut(printable(str(error).strip().split("\n")[0]), REASON)
            raise BfpError(f"{where}: it fails ({type(error).__name__}: {reason}); correct it") from None
        number = plain(value)
        if number is None or not np.isfinite(number):
            raise BfpError(
                f"{where}: it returns {shown(value)}; it must return one finite number, also where both outputs are the same"
            )
        return number


def plain(value: object) -> float | None:
    """A number, or the one number of an array or tensor, as float; None for anything else."""
    try:
        one = value.item() if getattr(value, "shape", None) in ((), (1,)) else value
        return float(one) if isinstance(one, Real) else None
    except (TypeError, ValueError, OverflowError, AttributeError, RuntimeError):
        return None
