"""How a command ends when it is interrupted: everything closed, the usual exit status, no traceback."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# what is said of each signal; a hang-up is what a lost ssh connection sends
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}

IMPORTING = "<frozen importlib._bootstrap>"  # where Python's frames say that they are while a module is imported
AGAIN_S = 0.05  # after which a signal that came during an import is looked at again
CLOSING_S = 5  # after a signal in which others wait for what it ends: it may not have begun to close yet


class Ended(BaseException):
    """One of the signals came. As KeyboardInterrupt, it passes through every block that closes something."""


def run_to_the_end(work: Callable[[], int]) -> int:
    """Call ``work`` and return its exit status: 128 and the signal's number where one of WORDS came, as shells do.

    Signals that are ignored, as SIGHUP under nohup, stay so. An impatient second one does not end the closing that the
    first one has begun; after CLOSING_S seconds, where something has swallowed the first, it acts.
    """
    came: list[int] = []
    raised: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGALRM:
            came.append(number)
        if _importing(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        elif not raised or time.monotonic() - raised[-1] > CLOSING_S:
            raised.append(time.monotonic())
            raise Ended

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other one gets signals
        ours = [n for n in WORDS if signal.getsignal(n) != signal.SIG_IGN]
        before = {n: signal.signal(n, end) for n in (*ours, signal.SIGALRM)}
    try:
        return work()
    except BaseException:
        if not came:
            raise
        with suppress(OSError):  # the terminal may be what has gone
            print(f"{WORDS[came[0]]}: the engine is stopped and its memory is free", file=sys.stderr, flush=True)
        return 128 + came[0]
    finally:
        if before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: compiled ones swallow what is raised meanwhile, or make an error of their own of it."""
    while frame is not None and frame.f_code.co_filename != IMPORTING:
        frame = frame.f_back
    return frame is not None


@contextmanager
def later_signals() -> Iterator[None]:
    """In the block, the signals of WORDS wait, so that freeing is not left half done; after it they act as ever.

    Only the main thread gets signals in Python; in others the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    ours = [number for number in WORDS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])
