"""A TOML file of several networks that go into one bitstream: which they are, and the engine that they share."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from bfp.deployment import verify_names
from bfp.errors import BfpError
from bfp.files import read_file
from bfp.names import NAME_WORDS, cut, is_name, printable, shown
from calib.config import MOST_BYTES, MOST_REASON, SHIPPED, find_network, load_config, resolve
from calib.section import Section

KEY = "networks"  # which no network's own file has
MISSING = "give the path of a .toml file"


@dataclass(frozen=True)
class TogetherConfig:
    """Several networks' file, validated.

    name: of all together. networks: file of each by its name, in the order of their layers. engine, board: as of a
    network's file, for all of them; what their own files say of the engine does not count here.
    """

    path: Path
    name: str
    networks: dict[str, Path]
    engine: dict[str, int] = field(default_factory=dict)
    board: str | None = None


def is_together(path: Path) -> bool:
    """Whether a file lists networks. One that cannot be read is taken for a network's own, whose reader says why."""
    try:
        return _lists_networks(read_file(path, "file", MISSING, MOST_BYTES))
    except (BfpError, ValueError, RecursionError):
        return False


@lru_cache
def _lists_networks(content: bytes) -> bool:
    """Whether a file of this content lists networks. Raises ValueError or RecursionError where it is no TOML."""
    return KEY in tomllib.loads(content.decode("utf-8-sig"))


def shipped_networks() -> list[Path]:
    """The files of the shipped networks, by name; without those that put several together."""
    return [path for path in sorted(SHIPPED.glob("*.toml")) if not is_together(path)]


def load_together(path: str | Path) -> TogetherConfig:
    """Read and check several networks' file, and theirs. Raises BfpError: file, section, key, and what it must be."""
    path = Path(path).resolve()
    raw = read_file(path, "the networks' file", MISSING, MOST_BYTES)
    try:
        table = tomllib.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BfpError(f"{path} is not valid TOML ({cut(printable(str(error)), MOST_REASON)}); correct it") from None
    top = Section(path, "", table)
    name = top.text("name", path.stem)
    if not is_name(name):
        raise top.fail("name", f"is {shown(name)}; it must be {NAME_WORDS} (it names a folder)")
    files = [_file_of(entry, path.parent) for entry in top.take(KEY, ..., _several, "an array of at least two files or names of shipped networks")]
    names = [load_config(file).name for file in files]
    try:
        verify_names(names, name)
    except BfpError as error:
        raise BfpError(f"{path}: {error}") from None
    engine = Section(path, "engine", top.take("engine", {}, _same, "a table"))
    numbers = {key: engine.integer(key, ..., 0) for key in engine.table if key != "board"}
    found = TogetherConfig(path, name, dict(zip(names, files)), numbers, engine.text("board", None))
    top.done()
    return found


def _file_of(entry: str, base: Path) -> Path:
    """The file of an entry: a path, from the folder of the list on, or the name of a shipped network."""
    path = Path(resolve(entry, base))
    return path.resolve() if path.is_file() else find_network(entry)


def _several(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(entry, str) and entry for entry in value):
        raise ValueError
    return value


def _same(value: object) -> object:
    return value
