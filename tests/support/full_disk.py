"""A disk that takes no more, for a block of a test."""

from __future__ import annotations

import resource
import signal
from contextlib import contextmanager


@contextmanager
def full_disk():
    """No file can grow beyond 64 bytes: the system's own refusal, as on a full disk.

    For the block alone: whoever runs the tests may be writing what it says into a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
