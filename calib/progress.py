"""Progress of long work on stderr: one line that is overwritten, or one per step where stderr is a file."""

from __future__ import annotations

import sys
import time


class Progress:
    """``with Progress("calibrating", 64) as p: p.step(8)``; total None: only texts are shown."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what, self.total, self.done = what, total, 0
        self.start = time.perf_counter()
        self.shown = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._write(f"done in {time.perf_counter() - self.start:.1f} s", last=True)
        elif sys.stderr.isatty():
            print(file=sys.stderr)

    def step(self, count: int = 1) -> None:
        self.done += count
        self.text(f"{self.done} of {self.total}")

    def text(self, text: str) -> None:
        now = time.perf_counter()
        # a log file gets a line every ten seconds, a terminal ten a second
        if now - self.shown >= (0.1 if sys.stderr.isatty() else 10.0):
            self.shown = now
            self._write(text, last=not sys.stderr.isatty())

    def _write(self, text: str, last: bool) -> None:
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{start}{self.what}: {text}", end="\n" if last else "", file=sys.stderr, flush=True)
