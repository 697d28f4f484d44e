"""Names and texts that reach generated sources, files, pages and messages: which ones there may be, and how they are shown."""

from __future__ import annotations

import os
import re
import reprlib

from bfp.errors import BfpError

COMMAND = os.environ.get("SBFP_COMMAND", "doit")  # what runs the project's tasks, as messages say it
MOST = 200  # characters of a name
MOST_TEXT = 5 * MOST  # of a text for people
SHOWN = 60  # of a value in a message
PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
NAME_WORDS = f"letters, digits, '_', '-' and '.', at most {MOST} of them"
TEXT_WORDS = f"printable text of at most {MOST_TEXT} characters"

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 2 * SHOWN
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = SHOWN // 4


def is_name(value: object) -> bool:
    """Whether it can name a network, node or tensor: safe in a path, a C++ comment, a shell, a URL and a page."""
    return isinstance(value, str) and len(value) <= MOST and PATTERN.fullmatch(value) is not None


def is_file_name(value: object) -> bool:
    """Whether it can name a file: a name, with an extension beyond a name's length."""
    return isinstance(value, str) and len(value) <= MOST + 8 and PATTERN.fullmatch(value) is not None


def is_text(value: object) -> bool:
    """Whether it is one line for people, such as a class name, without control characters or lone surrogates."""
    return isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable()


def shown(value: object, most: int = SHOWN) -> str:
    """A value as a message shows it: its repr, printable, cut to ``most`` characters."""
    text = _SHORT.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def cut(text: str, most: int) -> str:
    """The text, at most so many characters of it; what is left out shows as three dots."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def printable(text: str) -> str:
    """A text that ``is_text``: what no line can show, control characters and lone surrogates, is written as escapes."""
    return cut("".join(c if c.isprintable() else repr(c)[1:-1] for c in text), MOST_TEXT)


def check_name(name: object, what: str, where: str) -> str:
    """The name of a network, node or tensor. Raises BfpError, which begins with ``where``, where it cannot be one."""
    if not is_name(name):
        raise BfpError(f"{where}: {shown(name)} cannot name a {what}; use {NAME_WORDS}")
    return name


def check_text(text: object, what: str, where: str) -> str:
    """A text for people, such as a class name: one line without control characters. Raises BfpError otherwise."""
    if not is_text(text):
        raise BfpError(f"{where}: {what} {shown(text)} is no {TEXT_WORDS}")
    return text
