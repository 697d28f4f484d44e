"""Boards: small files of checked numbers, codegen/boards/*.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from bfp.errors import BfpError

FOLDER = Path(__file__).parents[1] / "boards"


@dataclass(frozen=True)
class Board:
    """Resources of the chip, clock of the engine, and what the memory sustains.

    bram36: 36-kbit block RAMs; memory_gb_s: 10**9 bytes per second, all ports
    together; memory_mb: size of the external memory, 2**20 bytes.
    """

    name: str
    part: str
    board_part: str
    dsp: int
    bram36: int
    uram: int
    lut: int
    clock_mhz: int
    memory_gb_s: float
    memory_mb: int

    @property
    def bytes_per_cycle(self) -> float:
        return self.memory_gb_s * 1e3 / self.clock_mhz


def load_board(name: str) -> Board:
    """A board by the name of its file. Raises BfpError listing the known ones."""
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise BfpError(f"board {name!r} is not known; give one of {known}")
    data = tomllib.loads(path.read_text())
    names = {f.name for f in fields(Board)}
    if set(data) != names:
        raise BfpError(f"board file {path} must have exactly the keys {', '.join(sorted(names))}")
    return Board(**data)
