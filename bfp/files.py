"""Files that are written whole or not at all, by any number of processes at once, and read without surprises."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bfp.errors import BfpError

LEAST_FREE = 2**20  # bytes of disk, without which no result of any kind can be written
MOST_TEXT = 2**28  # bytes of a file that is read as text


def _beside(path: Path) -> Path:
    """A hidden path beside ``path``, of which no other process knows."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of which no other writer knows; renamed to it when the block ends well.

    Makes the folder. Whatever the block leaves where it fails, a file or a folder, is removed. Raises BfpError where
    the system refuses to write, and where a device or a pipe is there, such as /dev/null, which root could replace.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise BfpError(f"{path} cannot be written (it is no ordinary file); name another")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise BfpError(f"{path} cannot be written ({reason}); make room, or write to another folder") from None
    finally:
        with suppress(OSError):  # what is to be told has been told
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink(missing_ok=True)


def _replace_folder(temporary: Path, path: Path) -> None:
    """Rename a folder to one that may exist: the older one steps aside first, since no rename replaces a full folder."""
    while True:
        older = _beside(path)
        try:
            os.rename(path, older)
        except FileNotFoundError:
            older = None
        try:
            os.rename(temporary, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another writer was faster: once more
                raise
        finally:
            if older is not None:
                shutil.rmtree(older, ignore_errors=True)


def check_folder(folder: str | Path, option: str = "") -> None:
    """Raise BfpError where no results could be written to a folder, before anything is computed.

    option: of the command line, that names another folder.
    """
    folder = Path(folder)
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(p))
    if not os.path.isdir(there):
        reason = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = f"{there} may not be written"
    elif shutil.disk_usage(there).free < LEAST_FREE:
        reason = f"the disk of {there} is full"
    else:
        return
    raise BfpError(f"results cannot be written to {folder} ({reason}); make room, or name another folder{option and f' with {option}'}")


def check_result(path: str | Path | None) -> None:
    """Raise BfpError where no result could be written to a file, before anything is computed; None: none is wanted."""
    if path is None:
        return
    if os.path.isdir(path):
        raise BfpError(f"{path} is a folder, and no file can replace it; name a file in it")
    check_folder(Path(path).absolute().parent)


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Replace a file. Raises BfpError where the system refuses."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def copy_file(source: str | Path, path: str | Path) -> None:
    """Replace a file by a copy of another. Raises BfpError where the system refuses."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by UTF-8 text; one that already says the same is left alone, so nothing is rebuilt for it.

    What UTF-8 cannot hold, as of a file name that is no text, is written as an escape.
    """
    path, data = Path(path), text.encode("utf-8", "backslashreplace")
    try:
        if path.is_file() and path.read_bytes() == data:
            return
    except OSError:
        pass  # what cannot be read may still be replaced
    write_bytes(path, data)


def json_text(data: object, indent: int | None = 2) -> str:
    """Indented JSON, keys in the order given, numbers that JSON has. Raises ValueError for others."""
    return json.dumps(data, indent=indent, allow_nan=False) + "\n"


def write_json(path: str | Path, data: object, indent: int | None = 2) -> None:
    """Replace a file by the JSON of ``data``. Raises BfpError where the system refuses."""
    write_text(path, json_text(data, indent))


def open_file(path: str | Path, what: str, advice: str) -> BinaryIO:
    """An ordinary file, open to be read. what: begins the refusal; advice: ends it.

    Raises BfpError where there is none, or what there is is a folder, a pipe or a device; never waits for one.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise BfpError(f"{what} {path} does not exist; {advice}") from None
    except OSError as error:
        raise BfpError(f"{what} {path} cannot be read ({error.strerror}); {advice}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BfpError(f"{what} {path} is no ordinary file; remove it, and {advice}")
    return os.fdopen(handle, "rb")


def read_file(path: str | Path, what: str, advice: str, most: int = MOST_TEXT) -> bytes:
    """The content of an ordinary file of at most ``most`` bytes. Raises BfpError as ``open_file`` does, and where it is larger."""
    with open_file(path, what, advice) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise BfpError(f"{what} {path} has {size} bytes, more than the {most} that it may have; {advice}")
        try:
            return file.read(size)
        except OSError as error:
            raise BfpError(f"{what} {path} cannot be read ({error.strerror}); {advice}") from None


def file_digest(path: str | Path, what: str, advice: str) -> str:
    """SHA-256 of an ordinary file's bytes, hex. Raises BfpError where it cannot be read."""
    digest = hashlib.sha256()
    with open_file(path, what, advice) as file:
        try:
            while block := file.read(1 << 20):
                digest.update(block)
        except OSError as error:
            raise BfpError(f"{what} {path} cannot be read ({error.strerror}); {advice}") from None
    return digest.hexdigest()
