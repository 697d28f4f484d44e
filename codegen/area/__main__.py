"""``python -m codegen.area [BUILD_DIR]``: LUTs and DSPs of the functions of the engine's control, and its operators.

Each function by itself, as logic that does all of it in one cycle: at the widths of the types in the
sources, and at those that the values need (codegen/area/cases.py). Registers are not counted, nor what an
HLS compiler saves where one operator serves several functions in turn; dividers by variables are counted
and left out of the rest. Without a folder, with the headers of a small network. Where a tool is
missing, one sentence says so, and the exit status is 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.names import COMMAND, printable
from codegen.area.cases import CASES
from codegen.area.compiled import find_clang, missing_clang
from codegen.area.measure import Area, area, as_declared, missing_yosys, module, yosys_version
from codegen.area.operators import ARRAY, Operators, operators, outside
from codegen.generate import generate
from codegen.lint.artifacts import widest_artifact
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, load_board


def area_row(name: str, areas: Iterable[Area]) -> str:
    return f"{name:32}" + "   ".join(f"{a.luts:>7}{a.dsps:>5}{a.dividers:>5}" for a in areas)


def area_table(generated: Path) -> Iterator[str]:
    """Rows of all cases, at the widths of the types and at those that are needed. Raises BfpError naming the case."""
    yield f"{'':32}{'as declared':>17}{'as needed':>20}"
    yield f"{'function':32}{'LUT':>7}{'DSP':>5}{'div':>5}{'LUT':>10}{'DSP':>5}{'div':>5}"
    for case in CASES:
        try:
            yield area_row(case.name, [area(module(c, generated)[0]) for c in (as_declared(case), case)])
        except BfpError as error:
            raise BfpError(f"{case.name}: {error}") from None


def operator_table(found: dict[str, Operators]) -> str:
    rows = [f"{'function':32}{'multiplications':>17}{'divisions':>11}"]
    rows += [f"{name:32}{n.multiplications:>17}{n.divisions:>11}" for name, n in found.items()]
    total = outside(found)
    rows.append(f"{'outside ' + ', '.join(ARRAY):32}{total.multiplications:>17}{total.divisions:>11}")
    return "\n".join(rows)


def report(generated: Path) -> None:
    print(f"{find_clang()}, {yosys_version()}, UltraScale+; one cycle each, no registers")
    print("div: dividers by variables, left out of LUT and DSP")
    for row in area_table(generated):
        print(row, flush=True)
    print("\noperators of the whole engine, as the sources have them (divisions: none by a power of two)")
    print(operator_table(operators(generated)))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m codegen.area", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="build folder that holds generated/")
    folder = parser.parse_args(argv).folder
    missing = missing_clang() or missing_yosys()
    if missing:
        print(f"skipped: {missing}")
        return 0
    try:
        if folder is None:
            with tempfile.TemporaryDirectory() as temporary:
                generate([widest_artifact()], EngineOptions(), load_board(DEFAULT_BOARD), Path(temporary))
                report(Path(temporary, "generated"))
        elif not (folder / "generated").is_dir():
            raise BfpError(f"{folder} has no folder generated; run `{COMMAND} codegen` first")
        else:
            report(folder / "generated")
    except (BfpError, OSError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
