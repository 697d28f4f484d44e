"""Which of the vendor's programs are there, and of which version.

Programs are found by probing PATH. A version is read for one reason alone: what is older than FLOOR is refused.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from bfp.errors import BfpError
from bfp.names import printable
from codegen.vendor.process import ask

# vitis_hls exists up to 2024.2, vitis-run and v++ --mode hls from 2023.1 on
HLS_PROGRAMS = ("vitis_hls", "vitis-run", "v++")
VERSION_OPTION = {"vitis_hls": "-version", "vitis-run": "--version", "v++": "--version", "vivado": "-version"}
# mode= of INTERFACE and type= of DEPENDENCE are unknown to earlier ones, and they export no IP without AMD's AR76960
FLOOR = (2022, 1)
VERSION_TIMEOUT_S = 120
INSTALL = "install Vitis and source its settings64.sh, or use the simulated board"


@dataclass(frozen=True)
class Tool:
    """A program; kind is its name, path where it lies. version: as it says itself, empty where it was not asked."""

    kind: str
    path: str
    version: str = ""

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return f"{self.kind} {self.version}".strip()


def find_hls(wanted: str | None = None) -> Tool:
    """The HLS compiler on PATH: the one that is wanted, otherwise the first of HLS_PROGRAMS.

    Raises BfpError where there is none, or where its version is too old or cannot be read.
    """
    return _find((check_wanted(wanted),) if wanted else HLS_PROGRAMS, "Vitis HLS")


def find_vivado() -> Tool:
    """Vivado on PATH. Raises BfpError as ``find_hls`` does."""
    return _find(("vivado",), "Vivado")


def find_simulator() -> Tool:
    """What co-simulates a component that v++ has compiled. Raises BfpError as ``find_hls`` does."""
    return _find(("vitis-run",), "The co-simulation of Vitis HLS")


def check_wanted(name: str) -> str:
    """The name, where it is one of HLS_PROGRAMS. Raises BfpError otherwise."""
    if name not in HLS_PROGRAMS:
        raise BfpError(f"tool {name!r} is not known; give one of {', '.join(HLS_PROGRAMS)}")
    return name


def _find(programs: tuple[str, ...], what: str) -> Tool:
    for program in programs:
        path = shutil.which(program)
        if path:
            return Tool(program, path, read_version(program, path))
    raise BfpError(f"{what} is not installed or not on PATH (looked for {', '.join(programs)}); {INSTALL}")


def read_version(kind: str, path: str) -> str:
    """The version that a program says it has, such as 2022.1. Raises BfpError for none, and for one below FLOOR."""
    option = VERSION_OPTION[kind]
    said = ask([path, option], VERSION_TIMEOUT_S)
    if said is None:
        raise BfpError(f"`{path} {option}` did not end within {VERSION_TIMEOUT_S} s; try it by hand")
    found = re.search(r"(?<![\d.])(20\d\d)\.(\d)(?:\.\d+)?(?!\d)", said)
    if not found:
        first = next((line for line in said.splitlines() if line.strip()), "nothing")
        raise BfpError(f"`{path} {option}` names no version, it says {printable(first)!r}; try it by hand")
    if (int(found[1]), int(found[2])) < FLOOR:
        least = ".".join(map(str, FLOOR))
        raise BfpError(f"{kind} {found[0]} is too old: the sources need {least} or later; install that")
    return found[0]
