"""Names that reach generated sources, files and pages: which ones there may be."""

from __future__ import annotations

import re

from bfp.errors import BfpError

MOST = 200  # characters
PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_name(name: object, what: str, where: str) -> str:
    """The name of a network, node or tensor. Raises BfpError, which begins with ``where``, where it cannot be one."""
    if not isinstance(name, str) or len(name) > MOST or not PATTERN.fullmatch(name):
        shown = repr(name) if len(repr(name)) <= 60 else f"{repr(name)[:60]}..."
        raise BfpError(
            f"{where}: {shown} cannot name a {what}; use letters, digits, '_', '-' and '.', at most {MOST} of them"
        )
    return name


def check_text(text: object, what: str, where: str) -> str:
    """A text for people, such as a class name: one line without control characters. Raises BfpError otherwise."""
    if not isinstance(text, str) or not text.isprintable() or len(text) > 5 * MOST:
        raise BfpError(f"{where}: {what} {str(text)[:60]!r} is no printable text of at most {5 * MOST} characters")
    return text
