"""A device belongs to one accelerator: of one process, by a lock file, and within it, by a table."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from bfp.errors import BfpError

LOCKS = Path("/run/lock")
_guard = threading.Lock()
_owners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # device: weak reference to its Ownership


class Ownership:
    """Holds a device until release(), or until the process ends, however it ends.

    device: PYNQ's; its tag names it. network: for the refusal of the next one. Raises BfpError where the device has an
    owner.
    """

    def __init__(self, device: Any, network: str):
        self.network, self.process = network, os.getpid()
        self._device = device
        self._handle = -1
        with _guard:
            owner = _owner(device)
            if owner is not None:
                raise BfpError(
                    f"device {device.tag} is in use by the accelerator for {owner.network} of this process; "
                    "close that first"
                )
            self._handle = _lock(lock_file(device), device.tag, network)
            _owners[device] = weakref.ref(self)

    def __del__(self) -> None:
        self._unlock()

    def inherited(self) -> bool:
        """Whether this process was forked from the owner."""
        return os.getpid() != self.process

    def check(self) -> None:
        """Raise BfpError in a process that was forked from the owner: both would drive one engine."""
        if self.inherited():
            raise BfpError(
                f"the accelerator for {self.network} was opened by process {self.process} and cannot be used by its "
                f"child {os.getpid()}; open it in the process that uses it"
            )

    def release(self) -> None:
        """Let others have the device. A second call does nothing."""
        with _guard:
            if _owner(self._device) is self:
                del _owners[self._device]
            self._unlock()

    def _unlock(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)  # and with it the lock


def lock_file(device: Any) -> Path | None:
    """The file that a device is locked by, None for one that no other process can have: it says so itself."""
    own = getattr(device, "lock_file", False)
    if own is not False:
        return own
    folder = LOCKS if os.access(LOCKS, os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"static-bfp-{device.tag}.lock"


def _owner(device: Any) -> Ownership | None:
    reference = _owners.get(device)
    return reference() if reference is not None else None


def _lock(path: Path | None, device: str, network: str) -> int:
    """Handle of the locked file, which says who holds it; -1 where there is none to lock."""
    if path is None:
        return -1
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BfpError(
            f"lock file {path} of device {device} cannot be opened ({error.strerror}); run as root, or remove it"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = _text(handle)
        os.close(handle)
        raise BfpError(f"device {device} is in use by {holder}; end that first (lock file {path})") from None
    with suppress(OSError):  # for people only
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()}, network {network}\n".encode())
    return handle


def _text(handle: int) -> str:
    """Who a lock file says that holds it."""
    try:
        text = os.pread(handle, 200, 0).decode("utf-8", "replace").split("\n")[0]
    except OSError:
        text = ""
    return text or "another process"
