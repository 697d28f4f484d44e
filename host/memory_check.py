"""Whether the memory that the processor sees is the memory that the engine sees.

A cache that is not written back gives the engine the image before, one that is not discarded gives the caller the
result before: both look like answers. A few bytes tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bfp.errors import BfpError

LINE = 64  # bytes of a cache line
TRIES = 3  # a line that leaves the cache by itself between two steps looks like a flush


class Guard:
    """A buffer of its own that nobody else uses: uint8 [words, lanes], with PYNQ's flush() and invalidate()."""

    def __init__(self, buffer: Any):
        self._buffer = buffer
        self._mark = 0

    @staticmethod
    def words(lanes: int) -> int:
        """How many words hold a cache line."""
        return -(-LINE // lanes)

    def check(self) -> None:
        """Raise BfpError where a flush does not reach the memory, or an invalidation does not show what is there."""
        if getattr(self._buffer, "coherent", False):  # memory that no cache is in front of
            return
        for _ in range(TRIES):
            self._mark = self._mark % 127 + 1
            self._buffer[:] = self._mark
            self._buffer.flush()
            self._buffer[:] = self._mark | 0x80  # in the cache alone
            self._buffer.invalidate()
            if (self._buffer == self._mark).all():
                return
        raise BfpError(
            "the board's memory and its caches do not agree: what is flushed or invalidated does not take effect; "
            "restart the board, and see whether another version of XRT or PYNQ was installed"
        )


class ResultCheck:
    """Whether the engine has written a result. parts: the parts of a buffer that hold it.

    What lies there before a run is overwritten with a filling. A result may look like one filling, but not like both.
    """

    FILLINGS = (0xA5, 0x5A)

    def __init__(self, parts: list):
        self._parts = parts

    def fill(self, filling: int) -> None:
        """Overwrite the result before, in the memory as well."""
        for part in self._parts:
            part[:] = filling
            part.flush()

    def written(self, filling: int) -> bool:
        """Whether anything is there that was not before the run."""
        for part in self._parts:
            part.invalidate()
        return any((np.asarray(part) != filling).any() for part in self._parts)
