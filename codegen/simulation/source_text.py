"""C++ source as text: comments blanked, HLS pragmas read. Compilers' syntax trees do not keep pragmas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pragma:
    """One ``#pragma HLS`` line. options: name to value; a word without a value maps to None."""

    file: str
    line: int
    name: str
    options: tuple[tuple[str, str | None], ...]
    text: str

    def get(self, option: str) -> str | None:
        return dict(self.options).get(option)

    def has(self, option: str) -> bool:
        return option in dict(self.options)


def blank_comments(text: str) -> str:
    """The text with comments and string contents replaced by blanks, lines kept."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'

    def blank(match: re.Match) -> str:
        found = match.group()
        if found.startswith('"'):
            return '"' + " " * (len(found) - 2) + '"'
        return re.sub(r"[^\n]", " ", found)

    return re.sub(pattern, blank, text, flags=re.DOTALL)


def scan(file: str, text: str) -> Iterator[Pragma]:
    """Every ``#pragma HLS`` line of a source. The name is in capitals, as this project writes it."""
    for number, line in enumerate(blank_comments(text).split("\n"), 1):
        match = re.match(r"\s*#\s*pragma\s+HLS\b\s*(\w*)\s*(.*)$", line, re.IGNORECASE)
        if match:
            words = re.sub(r"\s*=\s*", "=", match.group(2)).split()
            pairs = [w.split("=", 1) if "=" in w else [w, None] for w in words]
            options = tuple((key, value) for key, value in pairs)
            yield Pragma(file, number, match.group(1).upper(), options, line.strip())
