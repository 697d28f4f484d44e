"""Files that are written whole or not at all, by any number of processes at once."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bfp.errors import BfpError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of which no other writer knows; renamed to it when the block ends well.

    Makes the folder. Whatever the block leaves where it fails, a file or a folder, is removed. Raises BfpError where
    the system refuses to write.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise BfpError(f"{path} cannot be written ({reason}); make room, or write to another folder") from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        elif temporary.exists():
            temporary.unlink()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace a file. Raises BfpError where the system refuses."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by UTF-8 text; one that already says the same is left alone, so nothing is rebuilt for it."""
    path, data = Path(path), text.encode("utf-8")
    try:
        if path.is_file() and path.read_bytes() == data:
            return
    except OSError:
        pass  # what cannot be read may still be replaced
    write_bytes(path, data)


def write_json(path: str | Path, data: object, indent: int = 2) -> None:
    """Indented JSON, keys in the order given, numbers that JSON has. Raises BfpError where the system refuses."""
    write_text(path, json.dumps(data, indent=indent, allow_nan=False) + "\n")
