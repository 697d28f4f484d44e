"""A sliding window over the rows and columns of a map."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.fields import checked, fixed, whole
from bfp.limits import MAX_SIDE

SIDE, STEP = whole(1, MAX_SIDE), whole(-MAX_SIDE, MAX_SIDE)


@dataclass(frozen=True)
class Window:
    """Sliding window geometry. ``padding`` is (top, left, bottom, right).

    Padding is zero (or never wins, for max pooling). Negative padding crops. Kernel positions are ``dilation`` rows and
    columns apart.
    """

    kernel: tuple[int, int] = checked(fixed(SIDE, 2), default=(1, 1))
    stride: tuple[int, int] = checked(fixed(SIDE, 2), default=(1, 1))
    padding: tuple[int, int, int, int] = checked(fixed(STEP, 4), default=(0, 0, 0, 0))
    dilation: tuple[int, int] = checked(fixed(SIDE, 2), omitted=True, default=(1, 1))

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns from a kernel's first to its last, both included."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the result over a map of ``height`` x ``width``."""
        top, left, bottom, right = self.padding
        return (
            (height + top + bottom - self.extent[0]) // self.stride[0] + 1,
            (width + left + right - self.extent[1]) // self.stride[1] + 1,
        )

    def rows_seen(self, size: int, axis: int) -> list[range]:
        """For each window, which kernel rows (axis 0) or columns (1) lie on a map of so many."""
        extent, step = self.extent[axis], self.dilation[axis]
        count = (size + self.padding[axis] + self.padding[axis + 2] - extent) // self.stride[axis] + 1
        starts = [n * self.stride[axis] - self.padding[axis] for n in range(count)]
        return [range(max(0, -(s // step)), min(self.kernel[axis], (size - 1 - s) // step + 1)) for s in starts]
