"""Boards: small files of checked numbers, codegen/boards/*.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

from bfp.errors import BfpError
from codegen.clocks import attainable, clock_word

FOLDER = Path(__file__).parents[1] / "boards"
DEFAULT_BOARD = "ultra96v2"  # where neither the command line nor the network's file names one
KINDS = {"str": (str,), "int": (int,), "float": (float,), "int | float": (int, float)}


@dataclass(frozen=True)
class Board:
    """Resources of the chip, clock of the engine, what the memory sustains, and what the block design is made of.

    word: what ``board=`` takes, the name of its file; name: for people.
    board_part: of Vivado's board files, without their version; several words where
    their vendor was renamed, each a name that they bear in some version of the tools.
    board_connections: of a module to its carrier, as Vivado names them, empty where
    there is none.
    processing_system: Vivado's IP of it; memory_ports: its ports for the engine's
    bursts, memory_port_bits: bits of each. multiplier_bits, narrow_multiplier_bits: of
    the operands of a DSP's multiplier, both signed. bram36: 36-kbit block RAMs. clock_source_mhz: what the
    processing system divides, by two whole numbers, to make the engine's clock;
    clock_mhz: that clock, as it will be.
    memory_gb_s: likely sustained, 10**9 bytes per second, all ports together;
    memory_gb_s_low, memory_gb_s_high: the least and the most that it may well be.
    memory_mb: size of the external memory, 2**20 bytes.
    """

    word: str
    name: str
    part: str
    board_part: str
    board_connections: str
    processing_system: str
    memory_ports: int
    memory_port_bits: int
    dsp: int
    multiplier_bits: int
    narrow_multiplier_bits: int
    bram36: int
    uram: int
    lut: int
    clock_source_mhz: int
    clock_mhz: int | float
    memory_gb_s: float
    memory_gb_s_low: float
    memory_gb_s_high: float
    memory_mb: int

    @property
    def bytes_per_cycle(self) -> float:
        return self.memory_gb_s * 1e3 / self.clock_mhz

    @property
    def memories(self) -> tuple[Board, Board, Board]:
        """The board with its memory at the fastest that it may be, as it likely is, and at the slowest."""
        return (
            replace(self, memory_gb_s=self.memory_gb_s_high),
            self,
            replace(self, memory_gb_s=self.memory_gb_s_low),
        )


def board_names() -> list[str]:
    """The words that ``board=`` takes: names of the files."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


@lru_cache
def _table(text: str) -> dict:
    """A board file's text, parsed once for all who ask for the board; not to be changed."""
    return tomllib.loads(text)


def load_board(name: str, clock_mhz: float | None = None) -> Board:
    """A board by the name of its file, its engine at another clock than the file's where one is given.

    The board's ``clock_mhz`` is the one that its processing system can make, within 1 % of what is asked for.
    Raises BfpError listing the known boards, or with the nearest clocks on both sides.
    """
    if name not in board_names():
        raise BfpError(f"board {name!r} is not known; give one of {', '.join(board_names())}")
    path = FOLDER / f"{name}.toml"
    data = dict(_table(path.read_text(encoding="utf-8")))
    kinds = {f.name: f.type for f in fields(Board) if f.name != "word"}
    if set(data) != set(kinds):
        raise BfpError(f"board file {path} must have exactly the keys {', '.join(sorted(kinds))}")
    for key, kind in kinds.items():
        if type(data[key]) not in KINDS[kind]:
            raise BfpError(f"board file {path}: {key} is {data[key]!r}; it must be of type {kind}")
    low, likely, high = (data[f"memory_gb_s{end}"] for end in ("_low", "", "_high"))
    if not 0 < low <= likely <= high:
        raise BfpError(f"board file {path}: memory_gb_s is {likely}; it must lie between its ends {low} and {high}")
    wanted = data["clock_mhz"] if clock_mhz is None else clock_mhz
    data["clock_mhz"] = attainable(data["clock_source_mhz"], wanted, data["name"])
    return Board(word=name, **data)


def board_at(name: str, clock: str | None) -> Board:
    """A board as a command line names it, and its clock in MHz, if any. Raises BfpError as load_board does."""
    return load_board(name, None if clock is None else clock_word(clock))
