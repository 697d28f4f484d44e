"""How a command ends when it is interrupted: everything closed, the usual exit status, no traceback."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable


class Terminated(BaseException):
    """SIGTERM came. As KeyboardInterrupt, it passes through every block that closes something."""


def run_to_the_end(work: Callable[[], int]) -> int:
    """Call ``work`` and return its exit status: 130 where SIGINT came and 143 where SIGTERM did, as shells do."""
    before = None
    if threading.current_thread() is threading.main_thread():  # no other one gets signals
        before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return work()
    except KeyboardInterrupt:
        return _told("interrupted", signal.SIGINT)
    except Terminated:
        return _told("terminated", signal.SIGTERM)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: object) -> None:
    raise Terminated


def _told(word: str, number: signal.Signals) -> int:
    print(f"{word}: the engine is stopped and its memory is free", file=sys.stderr)
    return 128 + number
