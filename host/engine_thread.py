"""The simulated engine's own thread: always there, as an engine is, so that a run begins when it is asked for.

A new thread for each run waits for its first turn on a processor, which took up to 4 ms where others were busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

LINGER_S = 1.0  # after which a thread without work ends, and lets go of the board


class Job:
    """One run. work: done in the engine's thread. end: called there with what work returned, and with the job."""

    def __init__(self, work: Callable[[], Any], end: Callable[[Job, Any], None]):
        self.work, self.end = work, end
        self.ended = threading.Event()

    def join(self) -> None:
        """Wait until the job has ended."""
        self.ended.wait()


class EngineThread:
    """Does jobs one after the other in the same thread; one that comes while an older one still works has a new thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._free = 0  # threads that wait for a job, or will at once
        self._next: Job | None = None

    def start(self, job: Job) -> None:
        """Begin a job, and return at once."""
        with self._changed:
            if self._free and self._next is None:
                self._next = job
                self._changed.notify()
                return
        threading.Thread(target=self._serve, args=(job,), daemon=True).start()

    def _serve(self, job: Job | None) -> None:
        while job is not None:
            result = job.work()
            with self._changed:
                self._free += 1  # before the end is seen, after which the next job may come
            job.end(job, result)
            job.ended.set()
            del result
            job = self._await()

    def _await(self) -> Job | None:
        """The next job; None where none came for long."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None, LINGER_S)
            self._free -= 1
            job, self._next = self._next, None
            return job
