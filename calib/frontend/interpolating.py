"""Maps made larger by linear interpolation, of which each row and each column has shares of its own: every pixel repeated,
then moved towards the one before it or behind it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from torch.fx import Node as FxNode

from bfp.limits import SHARE_BITS
from bfp.window import Window
from calib.frontend.enlarging import REPEAT, larger

if TYPE_CHECKING:
    from calib.frontend.translation import Translation


def offsets(size: int, factor: int, corners: bool) -> list[Fraction]:
    """For each of the ``size * factor`` pixels along an axis, how far behind the pixel that it repeats its value is taken.

    corners: the first and the last pixel's centres stay where they are (``align_corners``); otherwise pixels are squares,
    whose outer edges stay, and beyond the edge lies the edge again.
    """
    count = size * factor
    if corners:
        at = [Fraction(n * (size - 1), max(count - 1, 1)) for n in range(count)]
    else:
        at = [min(max(Fraction(2 * n + 1 - factor, 2 * factor), Fraction(0)), Fraction(size - 1)) for n in range(count)]
    return [place - n // factor for n, place in enumerate(at)]


def share(offset: Fraction) -> int:
    """A part of the way from one pixel to the next, as a whole number of 2**-SHARE_BITS, half up; none for less than 0."""
    return max(0, int((offset * 2 ** (SHARE_BITS + 1) + 1) // 2))


def interpolated(t: Translation, fx: FxNode, source: str, factors: Sequence[int], corners: bool) -> str:
    """The map with rows and columns so many times as many; rows first. corners: as of ``offsets``."""
    sizes = t.draft.shapes[source][1:]
    tensor = larger(t, fx, REPEAT, source, (factors[0], factors[1]))
    for axis, (size, factor) in enumerate(zip(sizes, factors)):
        steps, main = offsets(size, factor, corners), tensor
        for back in (True, False):
            shares = tuple(share(-step if back else step) for step in steps)
            if any(shares):
                window = towards(axis, factor, back)
                tensor = t.node(fx, "interpolate", (main, tensor), window=window, shares=shares)
    return tensor


def towards(axis: int, away: int, back: bool) -> Window:
    """The window of a pixel and the one that lies so many rows (axis 0) or columns (1) before it, or behind it."""
    padding = tuple(away if side == axis + 2 * (not back) else 0 for side in range(4))
    kernel, dilation = ((2, 1), (away, 1)) if axis == 0 else ((1, 2), (1, away))
    return Window(kernel, (1, 1), padding, dilation)
