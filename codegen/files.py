"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Write through a temporary file and rename; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Like :func:`write_bytes`; a file that already says the same is left alone, so nothing is rebuilt for it."""
    if path.is_file() and path.read_text() == text:
        return
    write_bytes(path, text.encode())


def write_json(path: Path, data: dict) -> None:
    """Indented, keys in the order given."""
    write_text(path, json.dumps(data, indent=2) + "\n")
