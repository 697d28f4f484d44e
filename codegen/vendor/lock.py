"""One step of the vendor's tools at a time in a network's folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bfp.errors import BfpError
from bfp.names import printable

FILE = ".lock"  # of the folder of what the tools write; it stays, and the system frees it with the process that holds it


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder of what the tools write, and make it.

    Raises BfpError where another process holds it, or where the system refuses.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise BfpError(f"{path} cannot be written ({error.strerror}); make room, or write to another folder") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = printable(os.read(handle, 20).decode("utf-8", "replace").strip()) or "unknown"
            raise BfpError(
                f"another step of the vendor's tools is at work in {folder} (process {holder}); wait for it, or end it"
            ) from None
        except OSError as error:
            raise BfpError(f"{path} cannot be locked ({error.strerror}); build on a local disk") from None
        with suppress(OSError):  # a full disk: the number is for people alone
            os.truncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def check_free(folder: Path) -> None:
    """Raise BfpError where another process holds the folder of what the tools write; there may be none."""
    if (folder / FILE).is_file():
        with held(folder):
            pass
