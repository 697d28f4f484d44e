"""One table of a network's TOML file, and what is wrong with it in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from bfp.errors import BfpError
from bfp.names import SHOWN, cut, printable, shown


class Section:
    """One table of the file: hands out checked values, then refuses what nobody asked for."""

    def __init__(self, path: Path, name: str, table: object) -> None:
        self.path, self.name, self.known = path, name, []
        if not isinstance(table, dict):
            raise BfpError(f"{path}: {name} must be a table")
        self.table = table

    def fail(self, key: str, problem: str) -> BfpError:
        key = cut(printable(key), SHOWN)
        where = f"[{self.name}] {key}" if self.name else key
        return BfpError(f"{self.path}: {where} {problem}")

    def take(self, key: str, default: object, check: Callable[[object], object], expected: str):
        """The value after ``check``; the default (``...``: required) where it is absent."""
        self.known.append(key)
        if key not in self.table:
            if default is ...:
                unknown = [k for k in self.table if k not in self.known]
                near = difflib.get_close_matches(key, unknown, 1)
                if near:
                    raise self.fail(near[0], f"is not a known key; did you mean {key!r}?")
                raise self.fail(key, f"is missing; give {expected}")
            return default
        try:
            return check(self.table[key])
        except (TypeError, ValueError):
            raise self.fail(key, f"is {shown(self.table[key])}; it must be {expected}") from None

    def integer(self, key: str, default: object, low: int, high: int | None = None):
        def check(value: object) -> int:
            if type(value) is not int or value < low or (high is not None and value > high):
                raise ValueError
            return value

        limits = f"a whole number from {low}" + (f" to {high}" if high is not None else " up")
        return self.take(key, default, check, limits)

    def text(self, key: str, default: object, choices: tuple[str, ...] = ()):
        def check(value: object) -> str:
            if not isinstance(value, str) or not value or (choices and value not in choices):
                raise ValueError
            return value

        return self.take(key, default, check, f"one of {', '.join(choices)}" if choices else "a text")

    def done(self) -> None:
        for key in self.table:
            if key not in self.known:
                near = difflib.get_close_matches(key, self.known, 1, 0.0)
                raise self.fail(key, f"is not a known key; did you mean {near[0]!r}?")
