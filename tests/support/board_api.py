"""Which names of other people's modules bfp/ and host/ use, and which of them this Python has.

Run by the board's Python it writes the table that the static check compares with:

    build/board_python_*/bin/python tests/support/board_api.py
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for part in ("bfp", "host") for p in (ROOT / part).rglob("*.py"))
TABLE = Path(__file__).with_suffix(".json")
OWN = ("bfp", "host", "__future__")


def used(path: Path) -> set[str]:
    """Dotted names that a file takes from modules not its own: what it imports, and attributes of what it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bound: dict[str, str] = {}  # local name to dotted name
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
                found.add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                found.add(f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            if dotted and dotted[0] in bound:
                found.add(".".join([bound[dotted[0]], *dotted[1:]]))
    return {name for name in found if name.split(".")[0] not in OWN}


def _dotted(node: ast.expr) -> list[str]:
    """``a.b.c`` as its parts; empty for what does not begin with a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        left = _dotted(node.value)
        return left and [*left, node.attr]
    return []


def exists(name: str) -> bool:
    """Whether this Python has a module, or an attribute of one, of this dotted name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if part.startswith("_"):  # made at run time, as are the attributes of PYNQ's metaclasses
                return True
            if part not in dir(found) and part not in dir(type(found)):
                return False
            if part != parts[-1]:
                found = getattr(found, part)
        return True
    return False


def everything() -> list[str]:
    return sorted(set().union(*map(used, SOURCES)))


if __name__ == "__main__":
    names = everything()
    TABLE.write_text(json.dumps([n for n in names if exists(n)], indent=0) + "\n", encoding="utf-8")
    print("\n".join(n for n in names if not exists(n)))
    sys.exit(not all(map(exists, names)))
