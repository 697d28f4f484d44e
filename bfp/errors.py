"""The one exception that users are meant to read, and what is said of the others that the system raises."""

from __future__ import annotations


class BfpError(Exception):
    """Bad input: one clear sentence that says what, where, and what to do."""


def sentence(error: BfpError | OSError | MemoryError) -> str:
    """What a command says of an error that ends it: of a full disk, for instance, where nobody else has said so."""
    if isinstance(error, BfpError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory; give smaller images ([input] size), or fewer of them"
    what = "a file" if error.filename is None else error.filename
    return f"{what} cannot be read or written ({error.strerror or error}); make room, or correct the path"
