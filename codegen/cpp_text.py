"""Names in generated C++: any text becomes a harmless literal or comment."""

from __future__ import annotations

import re

from bfp.errors import BfpError
from bfp.names import shown

# two of these characters could open or close a block comment, or be a part of a trigraph
PAIRS = re.compile(r"(?<=/)(?=\*)|(?<=\*)(?=/)|(?<=\?)(?=\?)")
# neither has a meaning inside a string literal; a question mark may begin a trigraph
PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - frozenset('"\\?')


def cpp_string(text: str) -> str:
    """A C++ string literal, quotes included, whose value is ``text`` in UTF-8.

    Raises BfpError for a zero byte, with which a C string would end.
    """
    if "\0" in text:
        raise BfpError(f"the name {shown(text)} holds a zero byte, which no C++ string can; give it another name")
    # octal escapes have three digits at most, so that none swallows the digit behind it
    found = (chr(b) if chr(b) in PLAIN else f"\\{b:03o}" for b in text.encode("utf-8", "backslashreplace"))
    return f'"{"".join(found)}"'


def cpp_comment(text: str) -> str:
    """``text`` for one line of a C++ comment of either kind.

    Backslashes and what cannot be printed become <U+005C> and the like, and pairs of characters that mean something
    to a compiler are taken apart.
    """
    printable = (c if c.isprintable() and c != "\\" else f"<U+{ord(c):04X}>" for c in text)
    return PAIRS.sub(" ", "".join(printable))


def upper_snake(name: str) -> str:
    """``ENGINE_OPERATOR`` for ``EngineOperator``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
