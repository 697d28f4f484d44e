"""Multiplications and divisions of a whole generated engine, counted in what clang makes of it.

Loops stay loops, so that an operator of a loop that hardware unrolls counts once; functions that are inlined at several
places count at each. Operators are counted for the function of the sources in which they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codegen.area.compiled import HLS, compiled

ROLLED = ("-O2", "-gline-tables-only", "-fno-vectorize", "-fno-slp-vectorize", "-fno-unroll-loops", "-fno-exceptions")
ROLLED += ("-mllvm", "-unroll-threshold=0")
COUNTED = re.compile(r"  %\S+ = (mul|[su]div|[su]rem) [^%]*?(%\w+|-?\d+), (%\w+|-?\d+).*!dbg (!\d+)")
SCOPE = re.compile(r"(!\d+) = (?:distinct )?!DI(\w+)\((.*)\)")
# the functions that are the array of multipliers, or what every lane multiplies
ARRAY = ("packed_products", "products", "mean")


@dataclass(frozen=True)
class Operators:
    """multiplications: of two variables. divisions, remainders too: by what is no power of two."""

    multiplications: int = 0
    divisions: int = 0

    def __add__(self, other: Operators) -> Operators:
        return Operators(self.multiplications + other.multiplications, self.divisions + other.divisions)


def operators(generated: Path) -> dict[str, Operators]:
    """By function, those that have any. generated: folder of an engine's headers. Raises BfpError without clang."""
    text = compiled(f'#include "{HLS / "engine.cpp"}"\n', generated, ROLLED)
    scopes = {found[1]: (found[2], found[3]) for found in map(SCOPE.match, text.splitlines()) if found}
    found: dict[str, Operators] = {}
    for opcode, a, b, location in counted(text):
        name = function_of(location, scopes)
        variables = a.startswith("%") and b.startswith("%")
        one = Operators(int(variables), 0) if opcode == "mul" else Operators(0, int(not power_of_two(b)))
        if one != Operators():
            found[name] = found.get(name, Operators()) + one
    return dict(sorted(found.items()))


def outside(found: dict[str, Operators], array: tuple[str, ...] = ARRAY) -> Operators:
    """All that control and addresses take: those of other functions than the array's."""
    return sum((n for name, n in found.items() if name not in array), Operators())


def counted(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Opcode, operands and location of every multiplication and division."""
    for line in text.splitlines():
        if found := COUNTED.match(line):
            yield found.groups()


def power_of_two(text: str) -> bool:
    return not text.startswith("%") and abs(int(text)).bit_count() == 1


def function_of(location: str, scopes: dict[str, tuple[str, str]]) -> str:
    """The name of the function in which a location stands."""
    while True:
        kind, text = scopes[location]
        if kind == "Subprogram":
            return re.search(r'name: "([^"<]+)', text)[1]
        location = re.search(r"scope: (!\d+)", text)[1]
