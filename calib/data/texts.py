"""Text files of other programs: UTF-8, with or without a byte-order mark."""

from __future__ import annotations

from pathlib import Path

from bfp.errors import BfpError
from bfp.files import read_file


def read_text(path: str | Path, what: str, advice: str) -> str:
    """The text of a file. what: begins the refusal; advice: ends it. Raises BfpError for what cannot be read as UTF-8."""
    try:
        return read_file(path, what, advice).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BfpError(f"{what} {path} cannot be read (no UTF-8 at byte {error.start}); {advice}") from None


def read_lines(path: str | Path, what: str, advice: str) -> list[str]:
    """Its lines, without their ends. Raises BfpError as ``read_text`` does."""
    return read_text(path, what, advice).splitlines()
