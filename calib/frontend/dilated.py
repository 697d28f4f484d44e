"""Windows whose kernel positions lie apart: what of them meets the map at all."""

from __future__ import annotations

from dataclasses import replace

from bfp.graph import Window


def trimmed(window: Window, size: tuple[int, int]) -> tuple[Window, tuple[slice, slice]]:
    """A dilated window without the kernel rows and columns at its edges that only see padding, and which are left.

    Where only one row or column is left, nothing lies apart. A kernel that sees no pixel at all keeps its first position.
    """
    kept = []
    for axis in (0, 1):
        # of a kernel whose positions are neighbours, all are kept
        seen = range(window.kernel[axis])
        if window.dilation[axis] > 1:
            seen = {k for places in window.rows_seen(size[axis], axis) for k in places}
        first, stop = (min(seen), max(seen) + 1) if seen else (0, 1)
        kept.append(slice(first, stop))
        before, behind, dilation = list(window.padding[:2]), list(window.padding[2:]), list(window.dilation)
        before[axis] -= first * window.dilation[axis]
        behind[axis] -= (window.kernel[axis] - stop) * window.dilation[axis]
        kernel = list(window.kernel)
        kernel[axis] = stop - first
        dilation[axis] = 1 if kernel[axis] == 1 else dilation[axis]
        window = replace(
            window,
            kernel=(kernel[0], kernel[1]),
            padding=(before[0], before[1], behind[0], behind[1]),
            dilation=(dilation[0], dilation[1]),
        )
    return window, (kept[0], kept[1])
