"""``python -m codegen.lint``: lints the engine, exit status 1 with findings.

Without arguments the engine is lint-checked with headers generated for small
networks at several sizes of the array; with a build folder, with the headers
generated there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.names import COMMAND, printable
from codegen.generate import generate
from codegen.lint.artifacts import smallest_artifact, widest_artifact
from codegen.lint.kernel import Finding
from codegen.lint.run import lint, lint_engine
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, load_board

# the smallest array, the default one, and one that takes mantissas of these networks as digits
ENGINES = (EngineOptions(2, 2, 1), EngineOptions(16, 8, 5), EngineOptions(4, 2, 1, products=4))
CHIP_WORDS = 64  # of maps that stay on chip, in the network that has any
QUEUE_WORDS = (64, 64, 0)  # and of the queue of weights, of each engine


def lint_project() -> list[Finding]:
    """Findings on all ENGINES, with constants of a layer stored and not, each once."""
    found: set[Finding] = set()
    board = load_board(DEFAULT_BOARD)  # any would do: the engine is the same for all
    for (options, queue), artifact in product(zip(ENGINES, QUEUE_WORDS), (smallest_artifact(), widest_artifact())):
        with tempfile.TemporaryDirectory() as folder:
            made = replace(options, chip_words=CHIP_WORDS, weights_ahead=queue)
            generate([artifact], made, board, Path(folder))
            found |= set(lint_engine(Path(folder, "generated")))
    return sorted(found)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m codegen.lint", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="build folder that holds generated/")
    parser.add_argument("--source", type=Path, help="lint this kernel instead of the engine")
    parser.add_argument("--top", help="top function of --source")
    parser.add_argument("--include", type=Path, nargs="*", default=[], help="include folders of --source")
    arguments = parser.parse_args(argv)
    try:
        if arguments.source:
            if not arguments.top:
                raise BfpError("--source needs the name of its top function; add --top NAME")
            findings = lint(arguments.source, arguments.include, arguments.top)
        elif arguments.folder:
            if not (arguments.folder / "generated").is_dir():
                raise BfpError(f"{arguments.folder} has no folder generated; run `{COMMAND} codegen` first")
            findings = lint_engine(arguments.folder / "generated")
        else:
            findings = lint_project()
    except (BfpError, OSError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding)
    print(f"lint: {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
