"""``python -m codegen.vendor csynth|cosim|bitstream BUILD_DIR``: the vendor's tools on a generated network."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.names import printable
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.networks import read_networks
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, Board, board_at
from codegen.performance.resources import area
from codegen.simulation.csim import write_golden
from codegen.vendor.build import build_bitstream, cosim, csynth
from codegen.vendor.checks import modelled
from codegen.vendor.request import FlowOptions
from codegen.vendor.results import FILE, TABLE, Modelled, read_results, table


def model_of(folder: Path, options: EngineOptions, board: Board) -> Modelled:
    """What the project's model says of a network's engine."""
    artifacts = read_networks(folder).artifacts
    return modelled(area(build(artifacts, options, board, with_weights=False), board))


def golden_of(folder: Path, options: EngineOptions, board: Board, path: Path) -> None:
    """Write the golden model's tensors of each network's first sample image."""
    found = read_networks(folder)
    # generating again costs little and makes sure that sources and golden model belong together
    program, identity = generate(found.artifacts, options, board, folder, name=found.name)
    write_golden(path, program, identity, found.mantissas(1))


def run(arguments: argparse.Namespace) -> None:
    """Run a command. Raises BfpError, one sentence, for whatever stops it."""
    folder, engine = arguments.folder, EngineOptions.from_words(arguments.engine)
    board = board_at(arguments.board, arguments.clock)
    flow = FlowOptions(
        arguments.tool, arguments.dry_run, arguments.force, arguments.strict, arguments.minimal,
        hours(arguments.timeout), count(arguments.jobs), arguments.rebuild,
    )  # fmt: skip
    if arguments.command == "cosim":
        done = cosim(folder, board, flow, lambda path: golden_of(folder, engine, board, path))
    else:
        steps = {"csynth": csynth, "bitstream": build_bitstream}
        try:
            done = steps[arguments.command](folder, board, flow, lambda: model_of(folder, engine, board))
        except BfpError:
            show_findings(folder)
            raise
    if done is None:
        print("dry run: nothing was run")
        return
    show_findings(folder)
    reported = f"; see {folder / TABLE} and {folder / FILE}" if read_results(folder.resolve()) else ""
    print(f"{folder.name}: {arguments.command} done{reported}")


def show_findings(folder: Path) -> None:
    """Print what the tools reported so far, without the table of loops."""
    results = read_results(folder.resolve())
    for line in table(results) if results and (results.csynth or results.cosim) else ():
        if line.startswith("| loop"):
            break
        if line:
            print(line)


def hours(word: str | None) -> float | None:
    """A time limit as a command line gives it. Raises BfpError for anything but a positive number."""
    if word is None:
        return None
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise BfpError(f"timeout {word!r} is no time; give a number of hours, for instance timeout=12")
    return value


def count(word: str) -> int:
    """A number of processes as a command line gives it. Raises BfpError for anything but one from 1 to 64."""
    if not word.isdecimal() or not 1 <= int(word) <= 64:
        raise BfpError(f"jobs {word!r} is no number of processes; give 1 to 64, for instance jobs=4")
    return int(word)


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m codegen.vendor", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    for name, text in (
        ("csynth", "synthesise to RTL, export the IP, check what was reported"),
        ("cosim", "simulate the RTL of one image against the golden model"),
        ("bitstream", "synthesise, implement, and complete the package for the board"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path, help="build folder of a network")
        command.add_argument("--engine", nargs="*", default=[], metavar="NAME=NUMBER", help="engine options")
        command.add_argument("--board", default=DEFAULT_BOARD, help="a file of codegen/boards (default %(default)s)")
        command.add_argument("--clock", metavar="MHZ", help="of the engine (default: the board's)")
        command.add_argument("--tool", help="vitis_hls, vitis-run or v++ (default: the first that is on PATH)")
        command.add_argument("--dry-run", action="store_true", help="write and show what would run, run nothing")
        command.add_argument("--force", action="store_true", help="go on whatever synthesis showed")
        command.add_argument("--strict", action="store_true", help="refuse a bitstream that needs a lower clock")
        command.add_argument("--minimal", action="store_true", help="no artifact and no samples in the package")
        command.add_argument("--rebuild", action="store_true", help="implement although a bitstream is there")
        command.add_argument("--timeout", metavar="HOURS", help="of each program")
        command.add_argument("--jobs", default="2", metavar="N", help="processes of Vivado (default %(default)s)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 for whatever stops a step, 130 where somebody does."""
    arguments = parser().parse_args(argv)
    try:
        run(arguments)
        return 0
    except (BfpError, OSError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"error: {arguments.command} was stopped; run it again", file=sys.stderr)
        return 130


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that what is half written goes, as for Ctrl-C
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, signal.default_int_handler)
    sys.exit(main())
