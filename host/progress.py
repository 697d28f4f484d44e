"""How far long work is, on one line of a terminal."""

from __future__ import annotations

import sys
import time

EVERY_S = 0.2


class Progress:
    """Shows ``what: done of total`` while work goes on, on stderr and only where that is a terminal.

    A context manager. hidden: show nothing.
    """

    def __init__(self, what: str, total: int, hidden: bool = False):
        self._what, self._total, self._next = what, total, 0.0
        self._hidden = hidden or not sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def step(self, done: int, more: str = "") -> None:
        """``done`` of all are done; more: what else is to be said."""
        now = time.monotonic()
        if not self._hidden and (now >= self._next or done == self._total):
            print(f"\r\x1b[K{self._what}: {done} of {self._total}{more}", end="", file=sys.stderr, flush=True)
            self._next, self._shown = now + EVERY_S, True

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(file=sys.stderr)
