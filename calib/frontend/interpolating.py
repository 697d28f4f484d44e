"""Maps of another size by linear interpolation. Where every row or column has a share of its own, every pixel is repeated, then
moved towards the one before it or behind it; where rows or columns become fewer, means of the nearest ones remain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from torch.fx import Node as FxNode

from bfp.limits import MAX_FACTOR, SHARE_BITS
from bfp.operators.upsample_bilinear import FACTORS
from bfp.window import Window
from calib.frontend.enlarging import INTERPOLATE, REPEAT, larger

if TYPE_CHECKING:
    from calib.frontend.translation import Translation


def places(size: int, count: int, corners: bool, scale: float | None = None) -> list[Fraction]:
    """Where each of ``count`` pixels along an axis takes its value among ``size``, counted from the centre of the first.

    corners: the centres of the outermost pixels stay where they are (``align_corners``); otherwise pixels are squares, of which
    ``scale``, or else count / size, become of one, and beyond the edge lies the edge again.
    """
    if corners:
        return [Fraction(n * (size - 1), max(count - 1, 1)) for n in range(count)]
    step = 1 / Fraction(scale) if scale else Fraction(size, count)
    half = Fraction(1, 2)
    return [min(max((n + half) * step - half, Fraction(0)), Fraction(size - 1)) for n in range(count)]


@dataclass(frozen=True)
class Axis:
    """How an axis grows: every pixel ``factor`` times, ``count`` of these with those that are zero behind them, then so far
    behind its own place each takes its value, in pixels of the smaller map, from -1 to 1."""

    factor: int
    count: int
    offsets: tuple[Fraction, ...]

    @property
    def still(self) -> bool:
        """Whether every pixel takes its own place's value."""
        return not any(self.offsets)


def growth(size: int, taken: list[Fraction]) -> Axis | None:
    """How an axis of so many pixels grows to those that take their values at these places, None where it does not so.

    Nothing is further than a pixel away from where it is taken, and where there is no own pixel the last one is taken.
    """
    for factor in range(max(1, len(taken) // size), min(-(-len(taken) // size), MAX_FACTOR) + 1):
        offsets = [place - n // factor for n, place in enumerate(taken)]
        beyond = [o for n, o in enumerate(offsets) if n // factor >= size]
        if max(map(abs, offsets)) <= 1 and all(o == -1 for o in beyond):
            count = max(factor * size, len(taken))
            return Axis(factor, count, (*offsets, *[Fraction(0)] * (count - len(taken))))
    return None


def share(offset: Fraction) -> int:
    """A part of the way from one pixel to the next, as a whole number of 2**-SHARE_BITS, half up; none for less than 0."""
    return max(0, int((offset * 2 ** (SHARE_BITS + 1) + 1) // 2))


def resized(
    t: Translation, fx: FxNode, source: str, size: Sequence[int], corners: bool, scales: Sequence[float | None]
) -> str | None:
    """The map in another size; None where it cannot be computed. corners, scales (of rows and columns): as of ``places``."""
    old = t.draft.shapes[source][1:]
    if tuple(size) == old:
        return source
    taken = [places(n, m, corners, scale) for n, m, scale in zip(old, size, scales)]
    if (smaller := reduction(old, taken)) is not None:
        return t.node(fx, "slice_pad" if smaller.kernel == (1, 1) else "avg_pool", (source,), window=smaller)
    axes = [growth(n, line) for n, line in zip(old, taken)]
    if None in axes:
        return None
    factors = axes[0].factor, axes[1].factor
    # weights that are whole numbers, the same for all pixels that one becomes: one rounding, with no shares
    if not corners and all(f in FACTORS and f * n == m and plain(line, f) for f, n, m, line in zip(factors, old, size, taken)):
        return larger(t, fx, INTERPOLATE, source, factors)
    return moved(t, fx, source, axes, size)


def plain(taken: list[Fraction], factor: int) -> bool:
    """Whether values are taken where pixels are squares, of which each becomes ``factor``."""
    return taken == places(len(taken) // factor, len(taken), False)


def reduction(old: Sequence[int], taken: list[list[Fraction]]) -> Window | None:
    """The window of means where each axis takes single pixels, or the middle between two, at one stride; None elsewhere."""
    kernel, stride, padding = [], [], []
    for size, line in zip(old, taken):
        step = line[1] - line[0] if len(line) > 1 else Fraction(size)
        even = all(b - a == step for a, b in zip(line, line[1:]))
        if not even or step.denominator != 1 or step < 1 or (2 * line[0]).denominator != 1:
            return None
        first, last = int(line[0]), -(-line[-1] // 1)
        kernel.append(line[0].denominator)
        stride.append(int(step))
        padding.append((-first, last + 1 - size))
    (top, bottom), (left, right) = padding
    return Window((kernel[0], kernel[1]), (stride[0], stride[1]), (top, left, bottom, right))


def moved(t: Translation, fx: FxNode, source: str, axes: Sequence[Axis], size: Sequence[int]) -> str:
    """The map whose pixels are repeated, then moved: along columns first, then along rows."""
    old, factors = t.draft.shapes[source][1:], (axes[0].factor, axes[1].factor)
    tensor = larger(t, fx, REPEAT, source, factors) if factors != (1, 1) else source
    tensor = fitted(t, fx, tensor, [a.count - a.factor * n for a, n in zip(axes, old)])
    for number, axis in enumerate(axes):
        main = tensor
        for back in (True, False):
            shares = tuple(share(-offset if back else offset) for offset in axis.offsets)
            if any(shares):
                window = towards(number, axis.factor, back)
                tensor = t.node(fx, "interpolate", (main, tensor), window=window, shares=shares)
    return fitted(t, fx, tensor, [m - a.count for a, m in zip(axes, size)])


def fitted(t: Translation, fx: FxNode, tensor: str, more: Sequence[int]) -> str:
    """A map with so many rows and columns more behind its last ones, which are zero, or fewer."""
    return t.node(fx, "slice_pad", (tensor,), window=Window(padding=(0, 0, more[0], more[1]))) if any(more) else tensor


def towards(axis: int, away: int, back: bool) -> Window:
    """The window of a pixel and the one that lies so many rows (axis 0) or columns (1) before it, or behind it."""
    padding = tuple(away if side == axis + 2 * (not back) else 0 for side in range(4))
    kernel, dilation = ((2, 1), (away, 1)) if axis == 0 else ((1, 2), (1, away))
    return Window(kernel, (1, 1), padding, dilation)
